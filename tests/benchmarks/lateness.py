"""The latency of the kernel's event loop while two monitors are open: of eight running trials, and of a long study.

It is how much later than asked a sleep of 10 ms on the loop ends, in wall time: because another thread of the kernel
has the interpreter, or because the engines' and the benchmarks' processes have the cores. The note has that of the idle
kernel on the same machine, and how much of a core the kernel's process used, which other processes hardly change.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.kernel import Kernel, size
from tests.benchmarks.samples import stub_task

_GOAL_MS = 10.0
_ALONE_S, _SECONDS = 8, 24
#: About three trials end and start per second.
_PAUSE_S = 0.8
_TICKER = """
import asyncio
import numpy as np
async def lateness(seconds):
    loop = asyncio.get_running_loop()
    end, late = loop.time() + seconds, []
    while loop.time() < end:
        due = loop.time() + 0.01
        await asyncio.sleep(0.01)
        late.append(1000 * (loop.time() - due))
    return late
"""
_TUNE = """
import autotune_nb as at
run = at.tune({task!r}, study={study!r})
at.Monitor(run)
"""
#: The second monitor; its trials end as often, and for longer than is measured.
_FEED = """
from pathlib import Path
from tests.benchmarks.feed import Feed
feed = Feed(Path({folder!r}), trials=1000, per_s=3, ended=800)
at.Monitor(feed)
"""


def lateness() -> list[Figure]:
    """Return the 99th percentile of the latency; the note has that of the idle kernel."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name, Kernel() as kernel:
        work = Path(name)
        # More trials than the time allows; the run is stopped at the end.
        task = work / "task.json"
        task.write_text(stub_task(work, trials=500, pause_s=_PAUSE_S).model_dump_json())
        kernel.run(_TICKER)
        kernel.run(f"alone = await lateness({_ALONE_S})")
        kernel.run(_TUNE.format(task=str(task), study=str(work / "study")))
        try:
            kernel.run(_FEED.format(folder=str(work / "feed")))
            kernel.run("feed.start()")
            kernel.run("while len(run.running) < 8: await asyncio.sleep(0.1)")
            # By then the widgets are created.
            kernel.run("await asyncio.sleep(3)")
            since, count = len(kernel.sent()), kernel.value("len(run.history)")
            kernel.run("import time; used_s = -time.process_time()")
            kernel.run(f"busy = await lateness({_SECONDS})")
            cores = kernel.value("used_s + time.process_time()") / _SECONDS
            sent, ended = size(kernel.sent(since)), kernel.value("len(run.history)") - count
            running, fed = kernel.value("[len(run.running), len(feed.running)]")
            alone, busy, worst = (
                kernel.value(f"float({text})")
                for text in ("np.percentile(alone, 99)", "np.percentile(busy, 99)", "max(busy)")
            )
        finally:
            kernel.run("run.stop(now=True, wait_s=30)")
    assert ended >= 8 and sent and running >= 6, f"{ended} trials ended, {running} ran, {sent} bytes were sent"
    assert fed, "the second monitor's study was over"
    note = (
        f"over {_SECONDS} s in which {ended} trials ended in the first monitor and {sent / 1000:.0f} KB were sent; the "
        f"second one has 800 to 1000 trials, 3 a second; maximum {worst:.1f} ms; the kernel "
        f"used {cores:.0%} of a core; "
        f"{alone:.1f} ms before the run, a factor of {busy / alone:.1f}"
    )
    return [Figure("loop_lateness_p99", busy, _GOAL_MS, note, "ms")]
