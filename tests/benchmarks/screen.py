"""From the end of a level in the engine to its point on the screen, in JupyterLab in Chromium."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.benchmarks.figure import Figure
from tests.browser.lab import Lab, Notebook, launch_chromium

_TRIALS, _PER_S = 40, 1.3
_GOAL_S, _TASK_GOAL_MS = 0.5, 100.0
_CELL = f"""
import sys, tempfile
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import autotune_nb as at
from autotune_nb import events
from tests.benchmarks.feed import Feed
feed = Feed(Path(tempfile.mkdtemp()), trials={_TRIALS}, per_s={_PER_S})
ends = []
feed.subscribe(lambda event: ends.append(event.at) if isinstance(event, events.LevelMeasured) else None)
at.Monitor(feed)
"""
#: Notes when the number of points in the chart has grown, and how long the page was blocked.
_WATCH = """() => {
    window.seen = []; window.tasks = [0];
    new PerformanceObserver(list => list.getEntries().forEach(one => window.tasks.push(one.duration)))
        .observe({type: "longtask"});
    let before = 0;
    const count = () => {
        const node = document.querySelector(".at-chart-plot.js-plotly-plot");
        const traces = (node?._fullData ?? []).filter(trace => trace.customdata && trace.name !== "selected");
        const points = traces.reduce((sum, t) => sum + Array.from(t.x ?? []).filter(Number.isFinite).length, 0);
        if (points > before) { window.seen.push([Date.now() / 1000, points]); before = points; }
        requestAnimationFrame(count);
    };
    count();
}"""


def screen() -> list[Figure]:
    """Return the 95th percentile of the seconds, and the longest task that blocked the page meanwhile."""
    with (
        tempfile.TemporaryDirectory(prefix="at-bench-") as name,
        sync_playwright() as playwright,
        launch_chromium(playwright) as browser,
    ):
        lab = Lab(Path(name))
        try:
            notebook = Notebook(lab, browser.new_context())
            notebook.open([_CELL], width=1400)
            notebook.run(0)
            notebook.page.wait_for_function("() => globalThis.Plotly?.react", timeout=60_000)
            notebook.page.evaluate(_WATCH)
            notebook.execute("feed.start()")
            notebook.until(lambda: notebook.value("feed.ended"), "the end of the feed", timeout_s=120)
            ends: list[float] = notebook.value("ends")
            notebook.until(lambda: notebook.page.evaluate("seen.length && seen.at(-1)[1]") == len(ends), "every point")
            seen: list[tuple[float, int]] = notebook.page.evaluate("seen")
            task_ms: float = notebook.page.evaluate("Math.max(...tasks)")
            notebook.close()
        finally:
            lab.close()
    waits = sorted(next(at for at, points in seen if points > i) - end for i, end in enumerate(ends))
    p95 = waits[int(0.95 * len(waits))]
    note = f"of {len(ends)} levels of {_TRIALS} trials, {_PER_S} a second; median {waits[len(waits) // 2]:.2f} s"
    return [
        Figure("level_to_screen_p95", p95, _GOAL_S, note, "s"),
        Figure("longest_task", task_ms, _TASK_GOAL_MS, "of the page while the trials ended", "ms"),
    ]
