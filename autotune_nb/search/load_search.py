"""Searches the highest load that keeps every limit within one trial: which load is measured next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.trial.load import LoadRange
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.score import Limit

#: How often a load on the boundary is measured.
_RUNS = 2


@dataclass(frozen=True)
class LoadBisection:
    """The search between two loads: it doubles the load until a limit breaks, halves the gap, and repeats its ends.

    The gap is halved as a ratio, until the heavier end is at most ``step`` times the lighter one, or one more. The
    ends are then measured again, each run together with the one before; if that moves the boundary, the search goes
    on, up to ``most_runs`` levels. ``start`` is the first load, such as half of the best so far. With
    ``recorded`` loads only these are measured, once each, until a limit breaks.
    """

    low: int
    high: int
    step: float
    limits: tuple[Limit, ...]
    most_runs: int
    start: int = 0
    recorded: tuple[int, ...] = ()

    def next_load(self, measured: Sequence[Measurement]) -> int | None:
        """Return the next load to measure; None once the boundary is known, or after ``most_runs``."""
        runs = {one.level.concurrency: one.runs for one in measured}
        if self.recorded:
            broken = LoadRange.of(measured, self.limits).broken
            return next((load for load in self.recorded if load not in runs), None) if broken is None else None
        if not runs:
            return min(max(self.start, self.low), self.high)
        if sum(runs.values()) >= self.most_runs:
            return None
        found = LoadRange.of(measured, self.limits, traces=True)
        if found.broken is None:
            return None if (top := max(runs)) >= self.high else min(2 * top, self.high)
        if found.kept is None:
            lowest = min(runs)
            if lowest > self.low:
                return max(lowest // 2, self.low)
            return lowest if runs[lowest] < _RUNS else None
        if found.broken > max(found.kept + 1, found.kept * self.step):
            middle = round(math.sqrt(found.kept * found.broken))
            return min(max(middle, found.kept + 1), found.broken - 1)
        return next((load for load in (found.kept, found.broken) if runs[load] < _RUNS), None)
