"""From the end of a level in the engine to its point on the screen, in JupyterLab in Chromium."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

from tests.benchmarks.figure import Figure
from tests.browser.lab import Lab, Notebook, launch_chromium

_TRIALS, _PER_S = 40, 1.3
#: The trials of a new study, and those of one that has run for days.
_FEW, _MANY = _TRIALS, 1000
_GOAL_S, _TASK_GOAL_MS = 0.5, 100.0
_CELL = f"""
import sys, tempfile
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import autotune_nb as at
from autotune_nb import events
from tests.benchmarks.feed import Feed
feed = Feed(Path(tempfile.mkdtemp()), trials={{trials}}, per_s={_PER_S}, ended={{trials}} - {_TRIALS})
ends = []
feed.subscribe(lambda event: ends.append(event.at) if isinstance(event, events.LevelMeasured) else None)
at.Monitor(feed)
"""
#: Notes when the number of points in the chart has grown, and how long tasks blocked the page.
_WATCH = """() => {
    window.seen = []; window.tasks = []; window.drawn = null;
    new PerformanceObserver(list => list.getEntries().forEach(one => window.tasks.push([one.startTime, one.duration])))
        .observe({type: "longtask"});
    let data = null, found = 0;
    const points = () => {
        const now = document.querySelector(".at-chart-plot.js-plotly-plot")?._fullData ?? [];
        if (now === data) return found;
        data = now;
        const traces = data.filter(trace => trace.customdata && trace.name !== "selected");
        return found = traces.reduce((sum, t) => sum + Array.from(t.x ?? []).filter(Number.isFinite).length, 0);
    };
    window.before = points();
    let before = window.before;
    const count = () => {
        const now = points();
        if (now > before) { window.seen.push([Date.now() / 1000, now - window.before]); before = now; }
        // The page draws the first points in the frame before this one.
        if (now && window.drawn === null) requestAnimationFrame(() => { window.drawn = performance.now(); });
        requestAnimationFrame(count);
    };
    count();
}"""


@dataclass(frozen=True)
class _Watched:
    """The seconds from each level's end to its point, and the longest task: at the first points, and later."""

    waits: list[float]
    first_ms: float
    task_ms: float


def screen() -> list[Figure]:
    """Return the 95th percentile of the seconds, and the longest task that blocked the page meanwhile."""
    with (
        tempfile.TemporaryDirectory(prefix="at-bench-") as name,
        sync_playwright() as playwright,
        launch_chromium(playwright) as browser,
    ):
        lab = Lab(Path(name))
        try:
            watched = {trials: _watch(lab, browser.new_context(), trials) for trials in (_FEW, _MANY)}
        finally:
            lab.close()
    return [figure for trials, one in watched.items() for figure in _figures(trials, one)]


def _figures(trials: int, watched: _Watched) -> list[Figure]:
    waits = watched.waits
    p95, median = waits[int(0.95 * len(waits))], waits[len(waits) // 2]
    levels = (
        f"of {len(waits)} levels of the last {_TRIALS} of {trials} trials, {_PER_S} a second; median {median:.2f} s"
    )
    task = f"of the page while they ended, after the first points, which took {watched.first_ms:.0f} ms"
    return [
        Figure(f"level_to_screen_p95_of_{trials}", p95, _GOAL_S, levels, "s"),
        Figure(f"longest_task_of_{trials}", watched.task_ms, _TASK_GOAL_MS, task, "ms"),
    ]


def _watch(lab: Lab, context: BrowserContext, trials: int) -> _Watched:
    notebook = Notebook(lab, context)
    notebook.open([_CELL.format(trials=trials)], width=1400)
    notebook.run(0)
    notebook.page.wait_for_function("() => globalThis.Plotly?.react", timeout=60_000)
    if trials > _TRIALS:
        notebook.page.wait_for_selector(".at-chart-plot.js-plotly-plot", timeout=60_000)
        notebook.page.wait_for_timeout(2000)
    notebook.page.evaluate(_WATCH)
    notebook.execute("feed.start()")
    # Polling would be work of the kernel and of the page.
    notebook.page.wait_for_timeout(1000 * (_TRIALS + 8) / _PER_S)
    notebook.until(lambda: notebook.value("feed.ended"), "the end of the feed", timeout_s=120)
    ends: list[float] = notebook.value("ends")
    notebook.until(lambda: notebook.page.evaluate("seen.length && seen.at(-1)[1]") == len(ends), "every point")
    seen: list[tuple[float, int]] = notebook.page.evaluate("seen")
    tasks: list[tuple[float, float]] = notebook.page.evaluate("tasks")
    drawn: float = notebook.page.evaluate("drawn")
    notebook.close()
    waits = sorted(next(at for at, points in seen if points > i) - end for i, end in enumerate(ends))
    first = [duration for start, duration in tasks if start <= drawn]
    return _Watched(waits, max(first, default=0.0), max((d for start, d in tasks if start > drawn), default=0.0))
