"""The monitor and the form by clicks, in JupyterLab and in Notebook 7: what each part shows and does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import autotune_nb as at
from tests.stubs import World

from .lab import Notebook, in_both_front_ends
from .test_form import FORM, field
from .test_monitor import click, measured_in, start, text_of

# tests/widgets holds what each click sends to the kernel, and what the kernel sends back.
pytestmark = [pytest.mark.browser, pytest.mark.slow]

EIGHT = {
    "threads": [1, 2],
    "parallel": [1, 2, 4],
    "batch_size": [64, 128, 256, 512],
    "ubatch_size": [32, 64],
    "threads_http": [1, 2],
    "threads_batch": [1, 2],
    "poll": [0, 50],
    "flash_attn": ["on", "off"],
}
TABS = {
    "Progress": ", by trial",
    "Parameters": "threads_batch",
    "Slices": "threads_batch",
    "Timeline": "start of the engine",
    "Engine metrics": "no metrics of its engine",
}


#: A trial with a place of the page at a third between two axes on its line, far from every other line and from every
#: point, and a place without a line.
LINES = """node => {
    const {xaxis, yaxis} = node._fullLayout, own = node.getBoundingClientRect(), lines = [];
    for (const {customdata, x, y, mode} of node._fullData) {
        if (!customdata || !/lines/.test(mode)) continue;
        for (let i = 1; i < x.length; i++)
            if (x[i] !== null && x[i - 1] !== null) lines.push([customdata[i], x[i - 1], y[i - 1], y[i]]);
    }
    const px = (x, y) => [own.left + xaxis._offset + xaxis.d2p(x), own.top + yaxis._offset + yaxis.d2p(y)];
    for (let axis = 0; axis < 8; axis++) {
        const here = lines.filter(([, x]) => x === axis).map(([n, x, y, z]) => [n, ...px(x + 1 / 3, y + (z - y) / 3)]);
        const apart = here.find(([n, , y]) => here.every(([m, , other]) => m === n || Math.abs(other - y) > 15));
        const rows = [...Array(40).keys()].map(i => px(axis + 1 / 3, i / 40));
        const empty = rows.find(([, y]) => here.every(([, , other]) => Math.abs(other - y) > 25));
        if (apart && empty) return [...apart, ...empty];
    }
    return null;
}"""


@pytest.fixture
def recorded(world: World, tmp_path: Path) -> Path:
    """A finished study of six trials of eight parameters."""
    study = tmp_path / "recorded"
    at.tune(world.task(trials=6, parameters=EIGHT, limits=["requests_per_s >= 1"]), study=study).wait()
    return study


def open_monitor(notebook: Notebook, study: Path, *, width: int = 1400) -> None:
    source = f"import autotune_nb as at\nstudy = at.open({str(study)!r})\nstudy"
    notebook.open([source], width=width, height=900)
    notebook.run(0)
    notebook.until(lambda: measured_in(notebook, 0) == 12, "every level")
    notebook.until(lambda: len(trials_in(notebook)) == 6, "every row")


def trials_in(notebook: Notebook, column: str = "trial") -> list[str]:
    """Return the texts of a column of the table, from the top."""
    texts: list[str] = notebook.page.locator(".at-table").first.evaluate(
        """(table, key) => {
            const heads = [...table.querySelectorAll('thead th')];
            const place = heads.findIndex(head => head.querySelector('.sort')?.dataset.key === key);
            return [...table.querySelectorAll('tbody tr[data-place]')].map(row => row.cells[place].innerText.trim());
        }""",
        column,
    )
    return texts


def buttons(notebook: Notebook) -> list[str]:
    """Return the buttons of the header that are shown."""
    shown = notebook.page.locator(".at-monitor-buttons").first.locator("button:visible")
    return [text.strip() for text in shown.all_inner_texts()]


@in_both_front_ends
def test_the_monitor_is_one_screen_whose_tabs_and_table_are_used_by_clicks(notebook: Notebook, recorded: Path) -> None:
    open_monitor(notebook, recorded)
    page = notebook.page
    # Eight parameters are on one screen, from the header to the last row.
    top, bottom = (page.locator(name).first.bounding_box() for name in (".at-monitor-header", ".at-table"))
    assert top is not None and bottom is not None
    assert top["y"] > 0 and bottom["y"] + bottom["height"] < 900
    assert buttons(notebook) == []
    for title, text in TABS.items():
        notebook.output(0).get_by_role("tab", name=title).click()
        charts = page.locator(".at-monitor-charts").first
        notebook.until(lambda text=text, charts=charts: text in charts.inner_text(), title)

    # Sorting, in both directions.
    for order in (sorted, lambda values: sorted(values, reverse=True)):
        page.locator(".at-table button.sort[data-key=batch_size]").click()
        sizes = [int(text) for text in trials_in(notebook, "batch_size")]
        assert sizes == order(sizes)
    assert len(set(sizes)) > 1
    # Columns.
    assert page.locator(".at-table button.sort[data-key=poll]").count() == 1
    page.locator(".at-table-bar button", has_text="columns").click()
    page.get_by_role("dialog", name="columns").locator("label").filter(has_text=re.compile(r"^\s*poll\s*$")).locator(
        "input"
    ).uncheck()
    page.keyboard.press("Escape")
    assert page.locator(".at-table button.sort[data-key=poll]").count() == 0
    assert page.get_by_role("dialog").count() == 0
    # The filter.
    page.locator(".at-table input[type=search]").fill("threads = 2 and complete")
    shown = trials_in(notebook, "threads")
    assert set(shown) == {"2"}
    assert page.locator(".at-table [role=status]").first.inner_text() == (
        "6 configurations" if len(shown) == 6 else f"{len(shown)} of 6 configurations"
    )
    assert notebook.errors == []


@in_both_front_ends
def test_a_row_opens_its_trial_with_a_note_and_several_are_side_by_side(notebook: Notebook, recorded: Path) -> None:
    open_monitor(notebook, recorded)
    page = notebook.page
    rows = page.locator(".at-table tbody tr[data-place]")
    rows.nth(2).click()
    notebook.until(lambda: "Trial 3: complete" in text_of(notebook, "trial"), "the page of the trial")
    ring = "node => node._fullData.some(trace => trace.name === 'selected')"
    plot = page.locator(".at-chart-plot.js-plotly-plot").first
    notebook.until(lambda: plot.evaluate(ring), "its mark in the chart")
    page.locator(".at-trial-note input").fill("slow disk")
    page.locator(".at-trial-tags input").fill("production, eu")
    page.locator(".at-trial-tags input").press("Enter")
    notebook.until(lambda: notebook.value("list(study.trial(3).tags)") == ["production", "eu"], "the stored tags")
    assert notebook.value("study.trial(3).note") == "slow disk"
    rows.nth(4).click(modifiers=["ControlOrMeta"])
    notebook.until(lambda: "2 trials side by side" in text_of(notebook, "trial"), "two side by side")
    assert notebook.value("list(at.Monitor(study)._view.selection.trials)") == [3, 1]
    # The note is of one trial.
    assert not page.locator(".at-trial-note input").is_visible()
    assert notebook.errors == []


@in_both_front_ends
def test_a_click_on_a_line_of_the_parallel_coordinates_selects_its_trial(notebook: Notebook, recorded: Path) -> None:
    open_monitor(notebook, recorded)
    page = notebook.page
    notebook.output(0).get_by_role("tab", name="Parameters").click()
    plot = page.locator(".at-chart:not(.lm-mod-hidden) .at-chart-plot.js-plotly-plot").first
    notebook.until(lambda: plot.evaluate(LINES), "the lines")
    number, x, y, empty_x, empty_y = plot.evaluate(LINES)
    page.mouse.click(empty_x, empty_y)
    page.mouse.click(x, y)
    notebook.until(lambda: f"Trial {number}: " in text_of(notebook, "trial"), "the page of the line's trial")
    assert notebook.value("list(at.Monitor(study)._view.selection.trials)") == [number]
    ring = "node => node._fullData.some(trace => trace.name === 'selected')"
    notebook.until(lambda: plot.evaluate(ring), "its mark in the chart")
    assert page.locator(".at-table tbody tr[aria-selected=true]").count() == 1
    assert notebook.errors == []


@in_both_front_ends
def test_a_study_is_steered_from_a_head_a_row_and_the_queue(notebook: Notebook, recorded: Path) -> None:
    open_monitor(notebook, recorded)
    page = notebook.page

    def steer(action: str) -> None:
        page.locator("button.steer[aria-label='steer threads']").click()
        if action != "Free":
            value = (
                page.get_by_role("dialog", name="steer threads")
                .locator("label")
                .filter(has_text=re.compile(r"^\s*1\s*$"))
            )
            value.locator("input").uncheck()
        page.get_by_role("dialog", name="steer threads").get_by_role("button", name=action).click()

    def says(text: str) -> None:
        notebook.until(lambda: text in page.locator(".at-trial-message").first.inner_text(), text)

    steer("Ban the others")
    says("ban threads = 1: applies once the budget is raised")
    steer("Free")
    says("free threads")
    steer("Free")
    says("there is nothing to free")

    # From a row: a neighbour, and its own configuration with a field left empty.
    page.locator(".at-table tbody tr[data-place]").nth(1).click()
    notebook.until(lambda: "Trial 4: complete" in text_of(notebook, "trial"), "the page of the trial")
    page.locator(".at-trial-try").click()
    preview = page.locator(".at-try-preview")
    notebook.until(lambda: "changed: " in preview.inner_text(), "what the neighbour changes")
    page.locator(".at-try-enqueue").click()
    queue = page.locator(".at-try-queue")
    notebook.until(lambda: "Enqueued: 1" in queue.inner_text(), "the queue")
    page.locator(".at-trial-edit").click()
    page.locator(".at-try-fields > *").filter(has_text="flash_attn").locator("input").fill("")
    notebook.until(lambda: "from the best: flash_attn" in preview.inner_text(), "what is filled up")
    page.locator(".at-try-enqueue").click()
    notebook.until(lambda: "Enqueued: 2" in queue.inner_text(), "both in the queue")
    queued = notebook.value("[dict(point) for point in study.queue]")
    # Ordered and removed.
    before = queue.inner_text()
    page.locator(".at-try-arrow-down:enabled").click()
    notebook.until(lambda: notebook.value("[dict(p) for p in study.queue]") == queued[::-1], "the other order")
    notebook.until(lambda: queue.inner_text() not in ("", before), "the queue drawn again")
    page.locator(".at-try-times").first.click()
    notebook.until(lambda: notebook.value("[dict(p) for p in study.queue]") == queued[:1], "one of them removed")
    # Without a row: from the best configuration.
    page.locator(".at-try-open").click()
    notebook.until(lambda: "will try: " in preview.inner_text(), "the editor")
    assert "The best configuration" in page.locator(".at-try-editor").inner_text()
    page.locator(".at-try-editor").get_by_role("button", name="Cancel").click()
    page.locator(".at-monitor-budget").get_by_role("button", name="Budget and edits").click()
    notebook.until(lambda: "ban threads = 1" in text_of(notebook, "edits"), "the list of edits")
    page.locator(".at-budget-trials input").fill("9")
    page.locator(".at-budget-change").click()
    notebook.until(lambda: "6 of 9 trials" in text_of(notebook, "progress"), "the budget")
    assert notebook.errors == []


@in_both_front_ends
def test_states_are_words_the_buttons_follow_and_a_study_is_shown_again_after_a_reload_and_a_restart(
    world: World, notebook: Notebook, recorded: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    task = world.task(trials=2, before=f'until [ -e "{gate}" ]; do sleep 0.05; done').save(tmp_path / "task.yaml")
    notebook.open([start(task, world.folder), f"at.open({str(recorded)!r})"])
    notebook.run(0)
    page = notebook.page
    # Before the first level there are words and no axes.
    announced = page.locator(".at-chart-announced").first
    notebook.until(lambda: "when the first level has ended" in announced.inner_text(), "what will be shown")
    assert page.locator(".at-monitor .main-svg:visible").count() == 0
    notebook.until(lambda: buttons(notebook) == ["Pause", "Stop"], "the buttons of a run")
    page.locator(".at-monitor-logs").get_by_text("Log of the engine").click()
    notebook.until(lambda: "the last 200 lines" in page.locator(".at-monitor-log").first.inner_text(), "the log")
    click(notebook, "pause")
    gate.touch()
    notebook.until(lambda: "paused: no trial runs" in text_of(notebook, "running"), "the pause")
    notebook.until(lambda: buttons(notebook) == ["Resume", "Stop"], "the buttons of a pause")
    click(notebook, "resume")
    notebook.until(lambda: "2 of 2 trials" in text_of(notebook, "progress"), "the end")
    # A finished study has nothing to start until its budget is raised.
    notebook.until(lambda: "finished" in text_of(notebook, "progress") and not buttons(notebook), "no button")
    notebook.execute("run.set_budget(trials=3)")
    notebook.until(lambda: buttons(notebook) == ["Start"], "the budget's button")
    click(notebook, "start")
    notebook.until(lambda: "3 of 3 trials" in text_of(notebook, "progress"), "one more trial")

    # Another study beside it has its own chart, also after a reload.
    notebook.run(1)
    both = lambda: (measured_in(notebook, 0), measured_in(notebook, 1)) == (6, 12)  # noqa: E731
    notebook.until(both, "a chart of each study")
    notebook.reload(both, "both charts after the reload")
    # Without its kernel, a monitor is one line that says how to get it back.
    notebook.restart_kernel()
    gone = "node => getComputedStyle(node, '::after').content"
    old = notebook.output(1).locator(".at-monitor")
    notebook.until(lambda: "The kernel of this monitor is gone: at.open(" in old.evaluate(gone), "how to get it back")
    box = old.bounding_box()
    assert box is not None and box["height"] < 60
    assert notebook.errors == []
    notebook.save()
    page.reload()
    notebook.wait_ready()
    notebook.until(lambda: "shows the study live" in notebook.text(0), "the saved table")
    shown = notebook.add_and_run(f"import autotune_nb as at\nat.open({str(recorded)!r})")
    notebook.until(lambda: measured_in(notebook, shown) == 12, "the chart of the opened study")


@in_both_front_ends
def test_a_forms_edits_are_undone_and_saved_after_a_question(notebook: Notebook, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: another\n")
    notebook.open([FORM.replace("llama_cpp", "quickstart")], width=1400)
    notebook.run(0)
    page = notebook.page
    trials = page.locator(field("budget-trials"))
    before = trials.input_value()
    trials.fill("0")
    state = page.locator(".at-form-estimate")
    notebook.until(lambda: "Start is off, 1 error" in state.inner_text(), "the error")
    notebook.until(page.locator(".at-form-start").is_disabled, "Start off")
    assert "0" in page.locator(".at-error-budget-trials").inner_text()
    page.locator(".at-form-undo").click()
    notebook.until(lambda: trials.input_value() == before, "the undone edit")
    notebook.until(lambda: "ready to start" in state.inner_text(), "no error")
    page.locator(".at-form-redo").click()
    notebook.until(lambda: trials.input_value() == "0", "the edit again")
    trials.fill("7")
    notebook.until(lambda: "ready to start" in state.inner_text(), "no error again")
    notebook.until(lambda: notebook.value("form.task.budget.trials") == 7, "the new budget")
    page.locator(".at-form-file input").fill(str(file))
    page.locator(".at-form-save").click()
    question = page.locator(".at-form-question")
    notebook.until(lambda: "Replace it?" in question.inner_text(), "the question")
    page.locator(".at-form-keep").click()
    notebook.until(lambda: not question.inner_text().strip(), "the answer")
    assert file.read_text() == "name: another\n"
    page.locator(".at-form-save").click()
    page.locator(".at-form-overwrite").click()
    notebook.until(lambda: "saved as" in page.locator(".at-form-filed").inner_text(), "the saved file")
    assert at.Task.load(file).budget.trials == 7
    # Another engine to start from replaces the task.
    page.locator(".at-form-from input").fill("vllm")
    page.locator(".at-form-load").click()
    engine = page.locator(".at-field-engine-kind select")
    notebook.until(lambda: engine.evaluate("node => node.selectedOptions[0].text") == "vLLM", "the other engine")
    assert notebook.errors == []
