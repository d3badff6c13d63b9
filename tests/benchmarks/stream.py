"""What a monitor sends while trials end at a high rate, and when nothing changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.figure import Figure
from tests.benchmarks.kernel import Kernel, Sent, bursts, size

_TRIALS, _PER_S = 1000, 50
#: So slow that no redraw is delayed by the byte rate.
_FEW, _SLOWLY_PER_S = 30, 3
_QUIET_S = 10
#: How long the last redraw may take to come.
_DRAWN_S = 60
_REDRAWS_GOAL, _KB_GOAL = 2.0, 400.0
#: The messages of one redraw are closer together than this, those of two redraws are not.
_APART_S = 0.2
_FEED = """
import tempfile
from pathlib import Path
import autotune_nb as at
from tests.benchmarks.feed import Feed
feed = Feed(Path(tempfile.gettempdir(), "at-bench-feed-{trials}"), trials={trials}, per_s={per_s})
monitor = at.Monitor(feed)
"""
_DRAWN = "assert monitor._view.drawn.wait(60), 'the monitor was not drawn in time'"
_STATE = """
from tests.benchmarks.drawn import drawn_trials
def state():
    shown = drawn_trials(monitor._view)
    whole = shown == {t.number for t in feed.history if t.measurements}
    # The last part of a redraw, which takes long on a loaded machine.
    whole = whole and monitor._view._skipped._of == sum(1 for t in feed.history if t.state.finished)
    failed = sum(1 for t in feed.history if t.failure)
    return {"redraws": monitor._view.redraws, "ended": feed.ended, "trials": len(shown) + failed, "whole": whole}
"""


@dataclass(frozen=True)
class _Followed:
    """The messages of a monitor for one feed."""

    messages: Sequence[Sent]
    redraws: int
    starts: Sequence[float]
    late_s: float

    @property
    def per_s(self) -> float:
        """The redraws per second, by the times of their first messages; the first three may come at once."""
        later = self.starts[3:]
        return round((len(later) - 1) / (later[-1] - later[0]), 1)


def stream() -> list[Figure]:
    """Return the redraws per second, the bytes sent, and what is sent while nothing changes."""
    with Kernel() as kernel:
        slow = _follow(kernel, _FEW, _SLOWLY_PER_S)
        made = size(kernel.sent()) - size(slow.messages)
        fast = _follow(kernel, _TRIALS, _PER_S)
        since = len(kernel.sent())
        before = kernel.value("state()")["redraws"]
        time.sleep(_QUIET_S)
        still, quiet = kernel.value("state()")["redraws"] - before, kernel.sent(since)
    comms = {one.comm for one in fast.messages}
    in_charts = max(size([one for one in fast.messages if one.comm == comm]) for comm in comms)
    redraws = (
        f"mean at {_SLOWLY_PER_S} or {_PER_S} trials per second; at {_PER_S} it is {fast.per_s}, with "
        f"{fast.redraws} redraws counted by the view, {len(fast.starts)} bursts of messages, and the last one "
        f"{fast.late_s:.1f} s after the last trial"
    )
    sent = (
        f"in {len(fast.messages)} messages, {in_charts / size(fast.messages):.0%} of it for the charts; creating the "
        f"widgets sent {made / 1e6:.1f} MB once, nearly all of it Plotly's JavaScript"
    )
    return [
        Figure("redraws_per_s", max(slow.per_s, fast.per_s), _REDRAWS_GOAL, redraws),
        Figure("sent_for_1000_trials", size(fast.messages) / 1000, _KB_GOAL, sent, "KB"),
        Figure("redraws_of_nothing_new", still, 0, f"in {_QUIET_S} s without a change"),
        Figure("sent_for_nothing_new", size(quiet) / 1000, 0, "in the same time", "KB"),
    ]


def _follow(kernel: Kernel, trials: int, per_s: float) -> _Followed:
    """Show a monitor for a new feed, start the feed, and wait until all trials are drawn."""
    kernel.run(_FEED.format(trials=trials, per_s=per_s))
    kernel.run("monitor")
    kernel.run(_STATE)
    kernel.run(_DRAWN)
    # The first redraw is complete, and what it sent has arrived.
    shown = kernel.until_quiet(0.5)
    before = kernel.value("state()")["redraws"]
    kernel.run("feed.start()")
    state: dict[str, Any] = {}
    while not state.get("ended"):
        time.sleep(0.5)
        state = kernel.value("state()")
    ended = time.time()
    # A redraw waits if much was sent before it.
    while not (state["trials"] == trials and state["whole"]):
        assert time.time() < ended + _DRAWN_S, f"not everything is drawn: {state}"
        time.sleep(0.5)
        state = kernel.value("state()")
    drawn = kernel.until_quiet(2)
    state = kernel.value("state()")
    messages = kernel.sent()[shown:drawn]
    starts = [group[0].at for group in bursts(messages, _APART_S)]
    return _Followed(messages, state["redraws"] - before, starts, messages[-1].at - ended)
