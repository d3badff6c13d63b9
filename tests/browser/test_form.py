"""The form in JupyterLab: filling it in, errors next to fields, starting a run; its colours, and the monitor's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stubs import World

from .lab import Notebook, in_both_front_ends
from .test_monitor import CONTRASTS, click, measured, start, text_of

pytestmark = pytest.mark.browser
FORM = "import autotune_nb as at\nform = at.TaskForm('llama_cpp')\nform"


def field(name: str) -> str:
    return f".at-form .at-field-{name} input"


@in_both_front_ends
def test_a_filled_in_form_starts_a_run_of_the_real_engine(
    notebook: Notebook, world: World, small_model: Path, tmp_path: Path
) -> None:
    # test_monitor.py has a run with the real genai-bench.
    later = 'case "$out" in */trial-0000/*) ;; *) sleep 60;; esac'
    executable = world.bench.write(world.bench.both_levels(), before=later)
    notebook.open([FORM])
    notebook.run(0)
    page = notebook.page
    page.locator(field("name")).fill("by hand")
    # A missing value is reported next to its field.
    wrong = page.locator(".at-error-model-id_or_path")
    # All texts: waiting for one element that is removed at that moment would take a minute.
    missing = "is needed: a file or folder"
    notebook.until(lambda: missing in "".join(wrong.all_inner_texts()), "what the model lacks")
    page.locator(field("model-id_or_path")).fill(str(small_model))
    notebook.until(lambda: not "".join(wrong.all_inner_texts()).strip(), "the model's error gone")
    # With one thread: several wait for one another actively, which takes seconds on a busy machine.
    notebook.press(".at-form-parameter:has(.at-field-parameters-threads-type) button.at-param-remove")
    notebook.press("button.at-more-model-and-engine")
    page.locator(field("engine-args")).fill("threads: 1")
    scenarios = page.locator(field("workload-scenarios"))
    scenarios.fill("D(16;8)")
    wrong = page.locator(".at-error-workload-scenarios")
    notebook.until(lambda: "D(16;8)" in "".join(wrong.all_inner_texts()), "the wrong scenario")
    scenarios.fill("D(16,8)")
    page.locator(field("workload-concurrency")).fill("1, 2")
    page.locator(field("workload-requests_per_level")).fill("4")
    page.locator(field("workload-seconds_per_level")).fill("90")
    page.locator(field("budget-trials")).fill("8")
    notebook.press("button.at-more-how-it-is-measured")
    page.locator(field("benchmark-executable")).fill(executable)
    notebook.until(
        lambda: re.search(r"8 trials and \d+ starts to confirm the best", page.locator(".at-form-facts").inner_text()),
        "the estimate",
    )
    page.locator(".at-form-study input").fill(str(tmp_path / "study"))
    notebook.press("button.at-form-start")
    notebook.until(lambda: measured(notebook) >= 2, "levels of the run", timeout_s=200)
    click(notebook, "stop")
    notebook.until(lambda: "everything is taken down" in text_of(notebook, "notices"), "the end of the stop")
    kept = json.loads((tmp_path / "study" / "results.json").read_text())["task"]
    assert kept["name"] == "by hand"
    assert kept["workload"] == {
        "scenarios": ["D(16,8)"],
        "concurrency": [1, 2],
        "seconds_per_level": 90,
        "requests_per_level": 4,
    }
    assert notebook.errors == []


@pytest.mark.slow  # tests/widgets/test_form.py edits parameters and rules, and reads the code, without a browser.
@in_both_front_ends
def test_parameters_are_edited_by_keyboard_and_the_code_creates_the_same_task(
    notebook: Notebook, real_task: Callable[..., Path]
) -> None:
    notebook.open([FORM.replace("'llama_cpp'", repr(str(real_task(rules=["parallel <= threads_http * 4"]))))])
    notebook.run(0)
    page = notebook.page
    page.locator(".at-param-name input").fill("poll")
    notebook.press("button.at-param-add")
    notebook.until(lambda: notebook.value("'poll' in form.task.parameters"), "the new parameter")
    page.locator(".at-field-parameters-poll-type select").select_option("choice")
    page.locator(".at-field-parameters-threads_http-values input").fill("1")
    notebook.until(lambda: notebook.value("form.task.parameters['threads_http'].values") == [1], "the edited parameter")
    # A rule that no point keeps is reported.
    notebook.press("button.at-more-rules")
    page.locator(".at-field-rules-0 input").fill("parallel > 99")
    notebook.until(lambda: "no point keeps 'parallel > 99'" in page.locator(".at-form").inner_text(), "the broken rule")
    page.locator(".at-field-rules-0 input").fill("parallel <= 2")
    notebook.press("button.at-form-code")
    notebook.until(lambda: notebook.value("not form.problems"), "a task without errors")
    assert notebook.value("(scope := {}, exec(form.code(), scope), scope['task'] == form.task)[2]")
    assert notebook.errors == []


@in_both_front_ends
def test_the_form_and_the_monitor_are_legible_in_both_themes_at_900_pixels(
    world: World, notebook: Notebook, tmp_path: Path
) -> None:
    # A broken limit and a failure (of the second trial) have other colours.
    second = f'[ "$(wc -l < "{world.stub.script.parent}/pids")" = 1 ] || exit 3'
    task = world.task(limits=["requests_per_s >= 1e9"], before=second).save(tmp_path / "task.yaml")
    notebook.open([FORM.replace("llama_cpp", "quickstart"), start(task, world.folder)], height=2400)
    notebook.run(0)
    notebook.run(1)
    notebook.until(lambda: "finished" in text_of(notebook, "progress"), "the end", timeout_s=90)
    assert re.search(r"1 complete \(1 break a limit\), 1 failed", text_of(notebook, "progress"))
    notebook.page.locator(".at-monitor-budget").get_by_role("button", name="Budget and edits").click()
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        notebook.theme(theme)
        for selector, at_least in ((".at-form", 31), (".at-monitor", 11)):
            ratios: dict[str, float] = notebook.page.evaluate(CONTRASTS, selector)
            assert len(ratios) >= at_least
            assert {text: ratio for text, ratio in ratios.items() if ratio < 4.0} == {}
            wide = notebook.page.locator(selector).first.evaluate("node => [node.scrollWidth, node.clientWidth]")
            assert wide[0] <= wide[1] + 1
        notebook.screenshot(tmp_path / f"{theme}.png")
    # What matters first is on one screen, and Start stays in view below it when the form is scrolled.
    notebook.page.set_viewport_size({"width": 1400, "height": 900})
    notebook.until(lambda: _in_view(notebook, ".at-form-from", ".at-field-budget-trials"), "the top of the form")
    bar = notebook.page.locator(".at-form-bar").bounding_box()
    assert bar is not None
    assert _in_view(notebook, ".at-form-from", ".at-field-budget-trials", above=bar["y"])
    assert _in_view(notebook, ".at-form-start")
    notebook.page.locator(".at-field-parameters-cache_type_v-values").scroll_into_view_if_needed()
    assert _in_view(notebook, ".at-form-start")


def _in_view(notebook: Notebook, *names: str, above: float = 900) -> bool:
    """Whether elements are on the screen, above a height."""
    boxes = [notebook.page.locator(name).first.bounding_box() for name in names]
    return all(box is not None and box["y"] > 0 and box["y"] + box["height"] <= above for box in boxes)
