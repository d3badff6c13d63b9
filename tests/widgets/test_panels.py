"""The monitor's texts: counts, figures and edits, and that all values are escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.study.steering import ban_edit, enqueue_edit
from autotune_nb.task.task import Task
from autotune_nb.trial.formatting import duration_text
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets import _panels
from autotune_nb.widgets._header_text import header_html
from autotune_nb.widgets._running_text import Latest, running_html
from tests.widgets.stub_handle import LIMIT, NASTY, StubHandle, complete, working

MINIMIZE = "minimize ttft_p99_s"
NOON = datetime(2030, 1, 1, 12).timestamp()


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(limits=[LIMIT])


class _Read(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> _Read:
    found = _Read()
    found.feed(text)
    return found


def failure(**changes: Any) -> Trial:
    why = Failure(FailureKind.CRASH, "deploy", **{"message": "it ended", **changes})
    return Trial(7, {"threads": 2}, TrialState.FAILED, failure=why)


def every_panel(task: Task, tmp_path: Path) -> dict[str, str]:
    """Return each text with ``NASTY`` for every value that comes from outside."""
    trials = (complete(1, 50.0, flag=NASTY), failure(message=NASTY, log_lines=(NASTY,), hint=NASTY))
    running = working(complete(2, 5.0, flag=NASTY).with_(state=TrialState.RUNNING), phase=NASTY)
    error = StudyError(NASTY)
    error.__cause__ = OSError(NASTY)
    handle = StubHandle(task, tmp_path / "<b>", history=trials, state=NASTY)
    shown = StubHandle(task, tmp_path / "<b>", running=[running])
    edits = [enqueue_edit({"flag": NASTY}), ban_edit("flag", NASTY)]
    goal = task.goal
    return {
        "header": header_html(handle),
        "error": _panels.error_html(error),
        "message": _panels.message_html(NASTY),
        "running": running_html(shown, {2: Latest(NASTY)}),
        "skipped": _panels.skipped_html([NASTY, NASTY]),
        "notices": _panels.notices_html([(NOON, NASTY)]),
        "table": _panels.table_html(trials, trials, goal, [running]),
        "trial": _panels.trial_html(trials[0].with_(reason=NASTY), goal),
        "edits": _panels.edits_html(edits, handle.steering, 1),
    }


def test_all_values_are_escaped(task: Task, tmp_path: Path) -> None:
    for name, text in every_panel(task, tmp_path).items():
        found = read(text)
        assert not {"img", "script"} & found.tags, name
        assert "onerror" not in found.attributes, name
        assert "<img src=x onerror=alert(1)> &amp; \"'" in found.text, name
        assert "שלום 🎉" in found.text, name
        assert "\\u202eleft" in found.text, name
        assert not re.search("[\x00\x1b\u202e]", text), name
        # It can be sent as UTF-8.
        assert text.encode(), name


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (89.4, "89 s"), (120, "2 min"), (3 * 3600 + 300, "3 h 5 min")]
    + [(value, "over a year") for value in (1e12, 1e308, float("inf"), float("nan"))],
)
def test_a_duration_is_short(seconds: float, expected: str) -> None:
    assert duration_text(seconds) == expected


@pytest.mark.parametrize("at", [1e20, -1e20, float("inf"), float("nan")])
def test_a_time_out_of_range_is_a_question_mark(at: float) -> None:
    assert _panels.clock(at) == "?"


def test_an_error_is_shown_with_its_cause_and_a_message_without(task: Task) -> None:
    assert _panels.error_html(None) == _panels.message_html(None) == ""
    error = StudyError("the disk is full")
    error.__cause__ = OSError("no space")
    text = read(_panels.error_html(error)).text
    assert text == "The run ended with an error.the disk is fullcaused by OSError: no space"
    assert read(_panels.error_html(ValueError())).text.endswith("ValueError")
    assert read(_panels.message_html("busy")).text == "busy"


def cells(text: str) -> list[list[str]]:
    """The table's rows."""
    rows = re.findall(r"<tr.*?</tr>", text)
    return [[read(cell).text for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def test_the_table_has_figures_limits_parameters_and_failures(task: Task) -> None:
    out = Failure(FailureKind.OUT_OF_MEMORY, "deploy", "it ended", ("cuda: out of memory",), "less memory")
    trials = [
        complete(1, 50.0),
        complete(2, 90.0, violation=0.1),
        Trial(3, {"threads": 3}, TrialState.FAILED, failure=out),
        Trial(4, {"threads": 4}),
    ]
    text = _panels.table_html(trials, trials, task.goal, [working(trials[3], phase="deploy")])
    head, kept, first, broken, _, failed, expected, running, _ = cells(text)
    assert head == ["trial", "state", "output_tokens_per_s", "TTFT p99", "TPOT", "latency", LIMIT]
    assert kept == ["1", "complete", "50 tokens/s", "250 ms", "", "400 ms", "✓ kept by 250 ms"]
    assert broken == ["2", "breaks a limit", "90 tokens/s", "250 ms", "", "400 ms", "✗ broken by 100 ms"]
    assert failed == ["3", "failed", "", "", "", "", ""]
    assert running[:2] == ["4", "deploying"]
    assert first == ["", "threads=1"]
    for part in ("threads=3", "it ended", "try: less memory", "cuda: out of memory"):
        assert part in expected[1]
    # Of two complete trials the one that keeps the limit is the best.
    assert re.findall(r'<tr class="best"><td>(\d)', text) == ["1"]
    assert _panels.table_html([], [], task.goal) == ""


def test_trials_are_sorted_by_the_chosen_order(make_task: Callable[..., Task]) -> None:
    most, least = make_task(limits=[LIMIT]).goal, make_task(objective=MINIMIZE).goal
    trials = [complete(1, 50.0), complete(2, 90.0, violation=0.1), failure(), complete(8, 70.0), Trial(9, {})]

    def numbers(order: str, goal: Any) -> list[int]:
        return [t.number for t in _panels.sorted_trials(trials, order, goal)]

    assert numbers("latest first", most) == [9, 8, 7, 2, 1]
    assert numbers("best first", most) == [8, 1, 2]
    assert numbers("best first", least) == [1, 8, 2]
    assert numbers("failed", most) == [7]


def test_a_configuration_of_hundreds_of_parameters_is_shortened(task: Task) -> None:
    params: dict[str, Any] = {f"parameter_{n}": "v" * 50 for n in range(300)}
    trial = complete(1, 50.0, **params)
    assert len(_panels.table_html([trial], [trial], task.goal)) < 2500
    assert ".trials has all of it" in _panels.table_html([trial], [trial], task.goal)
    assert len(_panels.trial_html(trial, task.goal)) < 6000


def test_only_the_latest_notices_are_shown() -> None:
    text = read(_panels.notices_html([(NOON, f"notice {n};") for n in range(30)])).text
    assert re.findall(r"notice \d+;", text) == [f"notice {n};" for n in range(24, 30)]
    assert _panels.notices_html([]) == ""


def test_edits_are_listed_with_the_restrictions_in_force(task: Task, tmp_path: Path) -> None:
    handle = StubHandle(task, tmp_path)
    assert "No edits yet" in _panels.edits_html((), handle.steering, 0)
    handle.pin("threads", 2)
    handle.narrow("batch_size", 64)
    text = read(_panels.edits_html(handle.edits, handle.steering, 2)).text
    for part in ("pin threads to 2", "narrow batch_size", "In force: threads pinned to 2;", "configurations: 2"):
        assert part in text
