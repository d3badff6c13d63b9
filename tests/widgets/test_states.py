"""What the monitor says in the states that nobody designs a screen for; tests/browser/test_states.py shows them."""

from __future__ import annotations

import html
import re
from typing import Any

import ipywidgets
import pytest

from autotune_nb.reports.configuration_page import table_message
from autotune_nb.results.configurations import configuration_table
from autotune_nb.runner.runner import RunState
from autotune_nb.widgets._disclosure import Disclosure
from autotune_nb.widgets._header_text import header_html
from autotune_nb.widgets._panels import error_html
from autotune_nb.widgets._running_text import running_html
from autotune_nb.widgets._state_announcer import StateAnnouncer, state_lines
from autotune_nb.widgets.form import TaskForm
from tests.browser.states import STATES, long_names


def seen(handle: Any) -> str:
    """The texts of the header, the strip and the error as they are seen."""
    whole = header_html(handle) + error_html(handle.error) + running_html(handle, {})
    return html.unescape(re.sub("<[^>]*>", " ", whole))


def test_a_failure_of_all_trials_is_said_once_and_not_in_the_colour_of_success() -> None:
    handle = STATES["all_failed"]()
    assert seen(handle).count("the engine ended with code 1") == 1
    assert "all 5 trials failed" in seen(handle)
    assert '<span class="at-error">finished</span>' in header_html(handle)
    assert '<span class="at-ok">finished</span>' in header_html(STATES["finished"]())
    # While the run goes on, no other line has it.
    assert seen(STATES["failing"]()).count("the engine ended with code 1") == 1


@pytest.mark.parametrize("name", ["all_failed", "failing"])
def test_until_a_trial_is_measured_the_table_says_first_why_trials_failed(name: str) -> None:
    handle = STATES[name]()
    table = configuration_table(handle.history, handle.task.goal)
    shown = [column.key for column in table.columns if column.shown]
    assert shown[:3] == ["trial", "state", "failure"]
    assert not {"limits", "level", "starts"} & set(shown)
    usual = STATES["running"]()
    keys = [c.key for c in configuration_table(usual.history, usual.task.goal).columns if c.shown]
    assert keys.index("failure") > keys.index("starts") > keys.index("limits") > keys.index("max_num_seqs")
    assert table_message(table)["columns"][2]["key"] == "failure"


def test_the_report_of_failures_has_no_medians_of_nothing() -> None:
    text = STATES["all_failed"]().report().to_html()
    assert "What each parameter did" not in text and "What failed, and why" in text
    assert "What each parameter did" in STATES["one"]().report()._parameters


def test_a_changed_budget_is_what_counts() -> None:
    assert "5 of 12 trials" in seen(STATES["raised"]())
    assert "6 trials, the budget is 5" in seen(STATES["lowered"]())


def test_the_default_is_described_once_and_a_wait_is_marked() -> None:
    assert seen(STATES["first"]()).count("the engine's default configuration") == 1
    waiting = running_html(STATES["waiting"](), {})
    assert '<span class="at-warn">waiting for the cluster, the disk or a service to respond' in waiting


def test_what_is_cut_off_in_a_narrow_page_is_a_tooltip() -> None:
    best = STATES["finished"]().best_trial
    (tip,) = re.findall(r'title="(max_num_seqs=[^"]*)"', header_html(STATES["finished"]()))
    assert best is not None and f"scheduling_policy={best.params['scheduling_policy']}" in tip
    assert re.search(r'title="max_num_seqs=[^"]*scheduling_policy=', running_html(STATES["running"](), {}))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("new", "not started yet; Start begins with the engine's default"),
        ("starting", "the run starts; the first trial is next"),
        ("first", "running"),
        ("paused", "paused: no trial runs; Resume continues"),
        ("waiting", "waiting for the cluster, the disk or a service to respond"),
        ("finished", "finished: the budget of 30 trials is spent"),
        ("broken", "failed: trial 13 could not continue within 900 s"),
    ],
)
def test_a_screen_reader_reads_out_the_state(name: str, said: str) -> None:
    assert state_lines(STATES[name]())[0].startswith(f"qwen3-8b on H100: {said}")


def test_notices_are_read_out_and_figures_are_not() -> None:
    handle = STATES["running"]()
    announcer = StateAnnouncer()
    assert announcer.update(handle) > 0
    handle.history = handle.history[:-2]
    assert announcer.update(handle) == 0
    # Between two trials.
    handle.running = ()
    assert announcer.update(handle) == 0
    handle.notices = ((1.0, "trial 13 is retried"),)
    assert announcer.update(handle) > 0 and announcer.box.lines[1] == "trial 13 is retried"
    handle.state = RunState.PAUSED
    assert announcer.update(handle) > 0 and "paused" in announcer.box.lines[0]


def test_what_is_folded_is_behind_a_button() -> None:
    toggled: list[bool] = []
    inside = ipywidgets.HTML("lines")
    folded = Disclosure("Log", inside, "at-log", lambda: toggled.append(folded.open))
    assert inside not in folded.box.children and folded.button.icon == "caret-right"
    folded.button.click()
    assert folded.box.children == (folded.button, inside) and folded.button.tooltip == "hide"
    folded.button.click()
    assert inside not in folded.box.children
    assert toggled == [True, False]


def test_parameters_with_long_names_have_a_wider_column() -> None:
    form = TaskForm(long_names().task)
    rows = form._fields.parameters.rows
    wide = {row.name.value for row in rows if "at-form-long-name" in row._line._dom_classes}
    assert wide == {f"kv_cache_eviction_watermark_percentage_{letter}" for letter in "abcd"}
    (row,) = (row for row in rows if row.name.value == "block_size")
    row.name.widget.value = "a_name_of_more_than_22_characters"
    assert "at-form-long-name" in row._line._dom_classes
