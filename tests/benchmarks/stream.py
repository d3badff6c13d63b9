"""What a monitor sends while trials arrive far faster than anybody reads, and once none arrive."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.figure import Figure
from tests.benchmarks.kernel import Kernel, Sent, bursts, size

_TRIALS, _PER_S = 1000, 50
#: So slow that no redraw is put off for its size.
_FEW, _SLOWLY_PER_S = 15, 3
_NO_JOB_NOTICE_S = 10
_REDRAWS_GOAL, _KB_GOAL = 2.0, 600.0
#: The messages of one redraw follow each other faster, two redraws do not.
_APART_S = 0.2
_FEED = """
import tempfile
from pathlib import Path
import autotune_nb as at
from tests.benchmarks.feed import Feed
feed = Feed(Path(tempfile.gettempdir(), "at-bench-feed-{trials}"), trials={trials}, per_s={per_s})
monitor = at.Monitor(feed)
"""
_STATE = """
from autotune_nb.widgets._chart import LiveChart
def state():
    curves = [trace for trace in LiveChart.get().figure.data if trace.type == "scattergl"][:6]
    shown = {int(n) for trace in curves if trace.customdata is not None for n in trace.customdata}
    whole = shown == {t.number for t in feed.history if t.measurements}
    failed = sum(1 for t in feed.history if t.failure)
    return {"redraws": monitor._view.redraws, "ended": feed.ended, "trials": len(shown) + failed, "whole": whole}
"""


@dataclass(frozen=True)
class _Followed:
    """What a monitor sent of one feed."""

    messages: Sequence[Sent]
    redraws: int
    starts: Sequence[float]
    late_s: float

    @property
    def peak_per_s(self) -> float:
        """The most redraws a second over any four in a row, as they begin on the wire; to a tenth."""
        spans = [later - earlier for earlier, later in zip(self.starts, self.starts[4:], strict=False)]
        return round(4 / min(spans), 1)


def stream() -> list[Figure]:
    """Redraws a second, bytes in all, and what is sent while nothing changes."""
    with Kernel() as kernel:
        slow = _follow(kernel, _FEW, _SLOWLY_PER_S)
        made = size(kernel.sent()) - size(slow.messages)
        fast = _follow(kernel, _TRIALS, _PER_S)
        since = len(kernel.sent())
        before = kernel.value("state()")["redraws"]
        time.sleep(_NO_JOB_NOTICE_S)
        still, quiet = kernel.value("state()")["redraws"] - before, kernel.sent(since)
    comms = {one.comm for one in fast.messages}
    in_charts = max(size([one for one in fast.messages if one.comm == comm]) for comm in comms)
    told = (
        f"at most, at {_SLOWLY_PER_S} trials a second; at {_PER_S} a second at most {fast.peak_per_s:.1f}, in all "
        f"{fast.redraws} redraws as the view counts them and {len(fast.starts)} bursts on the wire, the last "
        f"{fast.late_s:.1f} s after the last trial"
    )
    sent = (
        f"in {len(fast.messages)} messages, {in_charts / size(fast.messages):.0%} of it for the charts, which hold all "
        f"trials at the end; making the widgets took {made / 1e6:.1f} MB, once, nearly all FigureWidget's JavaScript"
    )
    return [
        Figure("redraws_per_s", max(slow.peak_per_s, fast.peak_per_s), _REDRAWS_GOAL, told),
        Figure("sent_for_1000_trials", size(fast.messages) / 1000, _KB_GOAL, sent, "KB"),
        Figure("redraws_of_nothing_new", still, 0, f"in {_NO_JOB_NOTICE_S} s in which nothing changed"),
        Figure("sent_for_nothing_new", size(quiet) / 1000, 0, "in the same time", "KB"),
    ]


def _follow(kernel: Kernel, trials: int, per_s: float) -> _Followed:
    """Show a monitor of a new feed, let its trials arrive, and wait until all of them are drawn."""
    kernel.run(_FEED.format(trials=trials, per_s=per_s))
    kernel.run("monitor")
    kernel.run(_STATE)
    shown = kernel.until_quiet(2)
    before = kernel.value("state()")["redraws"]
    kernel.run("feed.start()")
    state: dict[str, Any] = {}
    while not state.get("ended"):
        time.sleep(0.5)
        state = kernel.value("state()")
    ended = time.time()
    drawn = kernel.until_quiet(5)
    state = kernel.value("state()")
    assert state["trials"] == trials and state["whole"], f"not everything is drawn: {state}"
    messages = kernel.sent()[shown:drawn]
    starts = [group[0].at for group in bursts(messages, _APART_S)]
    return _Followed(messages, state["redraws"] - before, starts, messages[-1].at - ended)
