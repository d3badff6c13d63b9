"""From the end of a level in the engine to its point on the screen, in JupyterLab in Chromium."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

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
#: Notes when a frame has more points in the chart, and marks the first points in the trace.
_WATCH = """() => {
    window.seen = [];
    const points = () => {
        const data = document.querySelector(".at-chart-plot.js-plotly-plot")?._fullData ?? [];
        const traces = data.filter(trace => trace.customdata && trace.name !== "selected");
        return traces.reduce((sum, t) => sum + Array.from(t.x ?? []).filter(Number.isFinite).length, 0);
    };
    window.before = points();
    let most = window.before;
    if (most) performance.mark("first points");
    const {react} = Plotly;
    // Looking in every frame would make the page draw every frame.
    Plotly.react = (...given) => {
        const drawn = react(...given), now = points();
        requestAnimationFrame(() => setTimeout(() => {
            if (!most && now) performance.mark("first points");
            if (now > most) { window.seen.push([Date.now() / 1000, now - window.before]); most = now; }
        }));
        return drawn;
    };
}"""
#: The tasks of the page's threads, and the mark.
_TRACED = ["toplevel", "blink.user_timing"]


@dataclass(frozen=True)
class _Task:
    """A task of the page's main thread: what it took, and what it used of a core."""

    ms: float
    cpu_ms: float


@dataclass(frozen=True)
class _Watched:
    """The seconds from each level's end to its point, and the tasks until the first points are drawn, and later."""

    waits: list[float]
    first: list[_Task]
    later: list[_Task]


def screen() -> list[Figure]:
    """Return the 95th percentile of the seconds, and the longest task that blocked the page meanwhile."""
    with (
        tempfile.TemporaryDirectory(prefix="at-bench-") as name,
        sync_playwright() as playwright,
        launch_chromium(playwright) as browser,
    ):
        lab = Lab(Path(name))
        try:
            watched = {trials: _watch(lab, browser, trials) for trials in (_FEW, _MANY)}
        finally:
            lab.close()
    return [figure for trials, one in watched.items() for figure in _figures(trials, one)]


def _figures(trials: int, watched: _Watched) -> list[Figure]:
    waits = watched.waits
    p95, median = waits[int(0.95 * len(waits))], waits[len(waits) // 2]
    levels = (
        f"of {len(waits)} levels of the last {_TRIALS} of {trials} trials, {_PER_S} a second; median {median:.2f} s"
    )
    # Other processes of the machine make a task longer, but use none of its own time of a core.
    longest, first = (max((one.cpu_ms for one in tasks), default=0.0) for tasks in (watched.later, watched.first))
    wall, first_wall = (max((one.ms for one in tasks), default=0.0) for tasks in (watched.later, watched.first))
    task = (
        f"of CPU time of the page's main thread while they ended, {wall:.0f} ms of wall time; of the tasks until the "
        f"first points were drawn {first:.0f} ms, {first_wall:.0f} ms of wall time"
    )
    return [
        Figure(f"level_to_screen_p95_of_{trials}", p95, _GOAL_S, levels, "s"),
        Figure(f"longest_task_of_{trials}", longest, _TASK_GOAL_MS, task, "ms"),
    ]


def _watch(lab: Lab, browser: Browser, trials: int) -> _Watched:
    notebook = Notebook(lab, browser.new_context())
    notebook.open([_CELL.format(trials=trials)], width=1400)
    notebook.run(0)
    notebook.page.wait_for_function("() => globalThis.Plotly?.react", timeout=60_000)
    if trials > _TRIALS:
        notebook.page.wait_for_selector(".at-chart-plot.js-plotly-plot", timeout=60_000)
        notebook.page.wait_for_timeout(2000)
    browser.start_tracing(categories=_TRACED)
    notebook.page.evaluate(_WATCH)
    notebook.execute("feed.start()")
    # Polling would be work of the kernel and of the page.
    notebook.page.wait_for_timeout(1000 * (_TRIALS + 8) / _PER_S)
    notebook.until(lambda: notebook.value("feed.ended"), "the end of the feed", timeout_s=120)
    ends: list[float] = notebook.value("ends")
    notebook.until(lambda: notebook.page.evaluate("seen.length && seen.at(-1)[1]") == len(ends), "every point")
    seen: list[tuple[float, int]] = notebook.page.evaluate("seen")
    first, later = _tasks(json.loads(browser.stop_tracing())["traceEvents"])
    notebook.close()
    waits = sorted(next(at for at, points in seen if points > i) - end for i, end in enumerate(ends))
    return _Watched(waits, first, later)


def _tasks(events: list[dict[str, Any]]) -> tuple[list[_Task], list[_Task]]:
    """Return the tasks of the thread of a trace that marked the first points: those that began before, and later."""
    mark = next(one for one in events if one["name"] == "first points")
    own = [
        one
        for one in events
        if (one["pid"], one["tid"]) == (mark["pid"], mark["tid"])
        and one["ph"] == "X"
        and one["name"].endswith("RunTask")
    ]
    tasks = [(one["ts"], _Task(one["dur"] / 1000, one.get("tdur", 0) / 1000)) for one in own]
    return [task for at, task in tasks if at <= mark["ts"]], [task for at, task in tasks if at > mark["ts"]]
