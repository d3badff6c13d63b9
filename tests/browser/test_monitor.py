"""The monitor in JupyterLab, with real runs of llama.cpp and with stub engines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from autotune_nb.task.task import Task
from tests.stubs import World

from .lab import KERNELS, Lab, Notebook, in_both_front_ends, plot_points, until

pytestmark = pytest.mark.browser
CURVES = ("older trials", "breaks a limit", "other trials", "running", "engine's default", "best")


def measured(notebook: Notebook) -> int:
    """Return the number of measured levels in the page's chart."""
    if not notebook.page.locator(".js-plotly-plot").count():
        return 0
    drawn = [t for t in plot_points(notebook.page) if t["name"] in CURVES]
    return sum(1 for trace in drawn for x in trace["x"] or [] if x is not None)


def engines(lab: Lab) -> list[psutil.Process]:
    """Return the inference servers that kernels of this JupyterLab have started."""
    found = []
    for process in lab.processes():
        try:
            if any("llama_server" in part or "llama-server" in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def click(notebook: Notebook, name: str) -> None:
    notebook.page.locator(f".at-monitor .at-monitor-{name}").first.click()


def text_of(notebook: Notebook, part: str) -> str:
    """Return the text of a part of the monitor."""
    return notebook.page.locator(f".at-monitor-{part}").first.inner_text()


def start(task: Path, study: Path) -> str:
    return f"import autotune_nb as at\nrun = at.tune({str(task)!r}, study={str(study)!r})\nat.Monitor(run)"


# The oldest and the newest version; the harness's tests run on every version.
@pytest.mark.parametrize("kernel", (pytest.param(KERNELS[0], marks=pytest.mark.slow), KERNELS[-1]))
def test_points_appear_through_a_blocking_cell_a_reload_a_stop_and_a_restart(
    notebook: Notebook, lab: Lab, real_task: Callable[..., Path], tmp_path: Path, kernel: str
) -> None:
    study = tmp_path / "study"
    release = tmp_path / "release"
    block = f"import os, time\nprint('blocked')\nwhile not os.path.exists({str(release)!r}):\n    time.sleep(0.1)"
    notebook.open([start(real_task(), study), block], kernel=kernel)
    notebook.run(0)
    notebook.until(lambda: measured(notebook) >= 1, "the first level", timeout_s=90)

    # New levels are drawn during a blocking cell.
    notebook.run(1, wait=False)
    notebook.until(lambda: "blocked" in notebook.text(1), "the blocking cell")
    before = measured(notebook)
    notebook.until(lambda: measured(notebook) > before, "a level during a blocking cell")
    release.touch()
    notebook.wait(1)

    # A page that is reloaded during the run shows the same chart and is updated.
    before = measured(notebook)
    notebook.reload(lambda: measured(notebook) >= before, "the points after a reload")
    before = measured(notebook)
    notebook.until(lambda: measured(notebook) > before, "a level after the reload", timeout_s=90)
    notebook.until(
        lambda: re.search(r"benchmarking level \d of 2", text_of(notebook, "running")), "the phase of a trial"
    )

    # A stop reports what it takes down, and then that everything is taken down.
    notebook.until(lambda: engines(lab), "a running engine")
    click(notebook, "stop")
    notebook.until(lambda: "everything is taken down" in text_of(notebook, "notices"), "the end of the stop")
    assert re.search(r"taking down the engine and the benchmark of trial \d+", text_of(notebook, "notices"))
    notebook.until(lambda: "stopped" in text_of(notebook, "progress"), "the state")
    assert engines(lab) == []
    complete = [t for t in json.loads((study / "results.json").read_text())["trials"] if t["state"] == "complete"]
    kept = sum(len(trial["measurements"]) for trial in complete)

    # After a restart of the kernel, the opened study has the same view.
    notebook.restart_kernel()
    opened = notebook.add_and_run(f"import autotune_nb as at\nat.open({str(study)!r})")
    assert notebook.output(opened).locator(".at-monitor").count() == 1
    plot = notebook.output(opened).locator(".js-plotly-plot")
    notebook.until(plot.count, "the chart of the opened study")
    notebook.until(lambda: measured_in(notebook, opened) >= kept, "every kept level")
    # The chart is as wide as its cell, also without a redraw.
    widths = "node => Math.abs(node._fullLayout.width - node.clientWidth)"
    notebook.until(lambda: plot.first.evaluate(widths) <= 2, "the chart's width")
    assert "stopped" in notebook.output(opened).locator(".at-monitor-progress").inner_text()
    assert notebook.errors == []


def measured_in(notebook: Notebook, index: int) -> int:
    """Return the number of levels in the chart of a cell's output."""
    plot = notebook.output(index).locator(".js-plotly-plot")
    if not plot.count():
        return 0
    drawn: list[list[float | None]] = plot.first.evaluate(
        """(node, curves) => (node._fullData ?? []).filter(t => curves.includes(t.name))
            .map(t => Array.from(t.x ?? [], x => Number.isFinite(x) ? x : null))""",
        list(CURVES),
    )
    return sum(1 for xs in drawn for x in xs if x is not None)


PARAMETERS = {"threads": [1, 2], "parallel": [1, 2, 4], "batch_size": [64, 128, 256, 512]}


@in_both_front_ends
def test_a_run_as_the_last_line_is_steered_paused_and_resumed_by_hand(
    world: World, notebook: Notebook, tmp_path: Path
) -> None:
    steered = tmp_path / "steered"
    wait = f'until [ -e "{steered}" ]; do sleep 0.05; done'
    task = world.task(trials=20, parameters=PARAMETERS, before=wait).save(tmp_path / "task.yaml")
    notebook.open([start(task, world.folder).replace("at.Monitor(run)", "run")])
    notebook.run(0)
    page = notebook.page
    page.locator(".at-monitor-budget").get_by_role("button", name="Budget and edits").click()
    # With the keyboard only: the menu of a parameter without a column.
    ban_threads(notebook, 2)
    notebook.until(lambda: "ban threads = 2" in text_of(notebook, "edits"), "the edit in the monitor")
    notebook.press("button.at-try-open")
    for name, value in {"threads": 1, "parallel": 4, "batch_size": 64}.items():
        fields = page.locator(".at-try-fields > *").filter(has=page.get_by_text(name, exact=True))
        fields.locator("input").fill(str(value))
    notebook.until(page.locator("button.at-try-enqueue").is_enabled, "a whole configuration")
    notebook.press("button.at-try-enqueue")
    notebook.until(lambda: "Enqueued: 1" in page.locator(".at-try-queue").inner_text(), "the queue")
    page.locator(".at-budget-trials input").fill("4")
    notebook.press("button.at-budget-change")
    notebook.until(lambda: "trials 4" in text_of(notebook, "edits"), "the budget's edit")
    # An invalid edit is reported.
    ban_threads(notebook, 1)
    notebook.until(lambda: "leaves no value" in page.locator(".at-trial-message").inner_text(), "the refusal")

    notebook.press("button.at-monitor-pause")
    steered.touch()
    notebook.until(lambda: "paused" in text_of(notebook, "progress"), "the pause")
    notebook.press("button.at-monitor-resume")
    notebook.until(lambda: "finished" in text_of(notebook, "progress"), "the end", timeout_s=120)
    trials = notebook.value("[dict(t.params) for t in run.history]")
    assert len(trials) == 4
    assert {"threads": 1, "parallel": 4, "batch_size": 64} in trials
    # The trial that was running when the value was banned may have it.
    assert all(params["threads"] == 1 for params in trials[1:])
    assert notebook.value("[e.kind.value for e in run.edits]") == ["ban", "enqueue", "budget"]
    assert "the budget of 4 trials is spent" in text_of(notebook, "notices")
    # With the keyboard alone: the table's filter, then a row, whose page is shown.
    page.locator(".at-table input[type=search]").press_sequentially("not best")
    rows = page.locator(".at-table tbody tr[data-place]")
    notebook.until(lambda: rows.count() == 3, "the rows that are not the best")
    rows.first.press("ArrowDown")
    page.keyboard.press("Enter")
    notebook.until(lambda: re.search(r"[Tt]rial \d", text_of(notebook, "trial")), "the page of the trial")
    # What is saved is the last table, which the live monitor hides.
    saved = notebook.page.locator("[class^=at-saved]")
    assert (saved.count(), saved.first.is_visible()) == (1, False)
    notebook.until(lambda: "finished (4 complete)" in str(notebook.outputs(0)), "the last table in the outputs")
    assert notebook.errors == []


def ban_threads(notebook: Notebook, value: int) -> None:
    """Exclude a value of threads from the menu of parameters above the table, with the keyboard."""
    page = notebook.page
    notebook.press(".at-table-bar button:text('steer')")
    page.get_by_role("dialog").get_by_role("button", name="threads").press("Enter")
    menu = page.get_by_role("dialog", name="steer threads")
    menu.get_by_label(str(value), exact=True).press("Space")
    menu.get_by_role("button", name="Ban the others").press("Enter")


MARKUP = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"


# Without a browser: test_trial_page.py, test_trial_table.py and test_panels.py in tests/widgets, and tests/test_run.py.
@pytest.mark.slow
@in_both_front_ends
def test_an_engine_that_does_not_start_is_shown_with_its_log_and_the_await_raises(
    world: World, notebook: Notebook, tmp_path: Path
) -> None:
    script = tmp_path / "engine.py"
    script.write_text(f"import sys\nprint('error: {MARKUP}')\nsys.exit(3)\n")
    engine = {"kind": "command", "command": [sys.executable, str(script), "{port}"]}
    quick = world.task(name="<b>markup<i>", trials=2)
    task = Task.parse({**quick.model_dump(), "engine": engine}).save(tmp_path / "task.yaml")
    notebook.open([start(task, world.folder), "await run"])
    notebook.run(0)
    notebook.until(lambda: "2 failed" in text_of(notebook, "progress"), "two failed trials", timeout_s=90)
    # With the keyboard alone: the filter, then a row, whose page has the log.
    search = notebook.page.locator(".at-table input[type=search]")
    search.press_sequentially("failed and not best")
    rows = notebook.page.locator(".at-table tbody tr[data-place]")
    notebook.until(lambda: rows.count() == 2, "two rows")
    assert "code 3" in rows.first.inner_text()
    rows.first.press("ArrowDown")
    notebook.page.keyboard.press("Enter")
    # The markup is shown as text.
    notebook.until(lambda: MARKUP in text_of(notebook, "trial"), "the page of the trial")
    notebook.page.keyboard.press("Home")
    notebook.page.keyboard.press("Space")
    notebook.until(lambda: "2 trials side by side" in text_of(notebook, "trial"), "two trials side by side")
    assert "<b>markup<i>" in text_of(notebook, "progress")
    assert notebook.page.evaluate("() => window.pwned") is None
    notebook.run(1, check=False)
    assert "RunError" in notebook.text(1)
    assert "no trial completed" in notebook.text(1)


@pytest.mark.slow  # tests/test_opened.py follows, pauses and steers such a study without a browser.
def test_a_study_that_another_process_runs_is_shown_and_steered(
    world: World, notebook: Notebook, tmp_path: Path
) -> None:
    study, steered = world.folder, tmp_path / "steered"
    between = f'{world.first_level}; until [ -e "{steered}" ]; do sleep 0.05; done'
    task = world.task(trials=20, parameters=PARAMETERS, before=between).save(tmp_path / "task.yaml")
    argv = [sys.executable, "-m", "autotune_nb.cli.main", "run", str(task), "--study", str(study)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            until(lambda: (study / "live.json").exists(), "the other process's first word", timeout_s=60)
            notebook.open([f"import autotune_nb as at\nstudy = at.open({str(study)!r})\nstudy"])
            notebook.run(0)
            notebook.until(lambda: measured(notebook) == 1, "a level of the other process", timeout_s=90)
            assert f"pid {other.pid}" in text_of(notebook, "notices")
            assert notebook.page.locator("button.at-monitor-start").is_disabled()
            notebook.execute("study.set_budget(trials=1)")
            steered.touch()
            assert other.wait(60) == 0
        finally:
            other.kill()
    notebook.until(lambda: measured(notebook) == 2, "the next level, and no other trial")
    notebook.until(lambda: "finished" in text_of(notebook, "progress"), "the end of the other process")
    assert notebook.errors == []


#: The contrast (WCAG 2) between every text below a selector and its background, the charts' texts included.
CONTRASTS = """selector => {
    const rgb = c => (c.match(/[\\d.]+/g) ?? []).map(Number);
    const srgb = c => c.startsWith('color(srgb') ? rgb(c).slice(0, 3).map(v => v * 255) : rgb(c);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = node => {
        for (let n = node; n; n = n.parentElement) {
            const c = rgb(getComputedStyle(n).backgroundColor);
            if (c.length === 3 || (c.length === 4 && c[3] > 0.9)) return c;
        }
        return [255, 255, 255];
    };
    const found = {};
    const root = document.querySelector(selector);
    for (const node of root.querySelectorAll('*')) {
        const svg = node instanceof SVGElement;
        if (svg && node.tagName !== 'text') continue;
        const own = [...node.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
        if (!own || node.tagName === 'STYLE' || node.disabled || node.closest('button:disabled')) continue;
        if (!node.getClientRects().length) continue;
        const style = getComputedStyle(node);
        const [a, b] = [light(srgb(svg ? style.fill : style.color)), light(ground(node))];
        found[`${node.tagName} ${own.slice(0, 40)}`] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }
    return found;
}"""


@in_both_front_ends
def test_every_monitor_has_charts_of_its_own_in_which_a_click_selects_a_trial(
    world: World, notebook: Notebook, tmp_path: Path
) -> None:
    task = world.task(trials=1).save(tmp_path / "task.yaml")
    one, two = world.folder, tmp_path / "two"
    notebook.open([start(task, one), "at.Monitor(run)", start(task, two).replace("run", "other")])
    notebook.run(0)
    notebook.until(lambda: "finished" in text_of(notebook, "progress"), "the end", timeout_s=90)
    notebook.run(1)
    notebook.until(lambda: measured_in(notebook, 1) == measured_in(notebook, 0) == 2, "the same in both")
    # A cell that is run again shows a new view; the previous one is removed, and the others are still updated.
    notebook.execute("run.set_budget(trials=2)")
    notebook.run(0)
    notebook.until(lambda: measured_in(notebook, 1) == measured_in(notebook, 0) == 4, "the next trial", timeout_s=90)
    notebook.run(2)
    notebook.until(lambda: measured_in(notebook, 2) == 2, "the levels of the other study", timeout_s=90)
    assert measured_in(notebook, 0) == measured_in(notebook, 1) == 4
    # The script is in the page once, and a click on a point selects its trial in the views of its study alone.
    assert notebook.page.evaluate("[...document.scripts].filter(s => s.text.includes('plotly.js v')).length") == 1
    point = notebook.output(0).locator(".at-chart-plot .scatterlayer .point").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    notebook.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    notebook.until(lambda: notebook.value("list(at.Monitor(run)._view.selection.trials)"), "the selected trial")
    assert notebook.value("list(at.Monitor(other)._view.selection.trials)") == []
    ring = "node => node._fullData.some(trace => trace.name === 'selected')"
    plots = notebook.page.locator(".at-chart-plot.js-plotly-plot")
    notebook.until(lambda: plots.nth(0).evaluate(ring) and plots.nth(1).evaluate(ring), "its mark in both views")
    assert not plots.nth(2).evaluate(ring)
    # Another tab draws its chart, and the first chart leaves the page's memory.
    notebook.output(2).get_by_role("tab", name="Timeline").click()
    notebook.until(lambda: "start of the engine" in notebook.output(2).inner_text(), "the timeline")
    assert notebook.errors == []
