"""The highest load that keeps every limit, from the levels that were measured, and cliffs of the throughput."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autotune_nb.trial.measurement import MAX_CONCURRENCY, Measurement
from autotune_nb.trial.score import Limit, Objective

_RATE = "output_tokens_per_s"
#: By how much the throughput of a heavier load must be below that of a lighter one to be a cliff, as a share, and by
#: how many standard errors of the two. Between loads further apart than this ratio, less may be the trace of a cliff,
#: since the throughput rises on both sides of it.
_CLIFF, _ERRORS = 0.25, 3.0
_TRACE, _APART = 0.08, 1.25
#: Times that rise with the load, and figures of single requests that fall.
_RISING = ("ttft_", "tpot_", "e2e_latency_", "output_latency_")
_FALLING = ("goodput_share", "request_output_tokens_per_s_")


def limits_load(limit: Limit) -> bool:
    """Return whether a heavier load breaks the limit at some point, so that it bounds the load from above."""
    return limit.figure.startswith(_RISING if limit.operator == "<=" else _FALLING)


@dataclass(frozen=True)
class LoadRange:
    """What the levels of one scenario show about its load.

    ``kept`` is the highest load that keeps every limit and ``broken`` the lightest that does not, as smoothed: with
    noise, a heavier load may seem to keep what a lighter one breaks. None if no load does. ``cliff`` has two adjacent
    loads between which the throughput falls sharply.
    """

    kept: int | None
    broken: int | None
    cliff: tuple[int, int] | None = None
    #: The share of the throughput that is lost at the cliff.
    loss: float = 0.0

    @classmethod
    def of(cls, measured: Iterable[Measurement], limits: Sequence[Limit], *, traces: bool = False) -> LoadRange:
        """Return what the levels show; with ``traces`` also where a cliff may be, to measure between its loads.

        A load beyond a cliff breaks the limits, whatever they are: more users get less there than fewer. So does one
        whose measurement is invalid, such as since requests failed.
        """
        levels = sorted(measured, key=lambda one: one.level.concurrency)
        limits = [limit for limit in limits if limits_load(limit)]
        cliff, loss = _cliff(levels, traces=traces)
        excess = [
            max(_excess(one, limits), loss if cliff is not None and one.level.concurrency >= cliff[1] else -1.0)
            for one in levels
        ]
        smooth = _rising(excess, [float(one.runs) for one in levels])
        loads = [one.level.concurrency for one in levels]
        kept = [load for load, value in zip(loads, smooth, strict=True) if value <= 0]
        broken = [load for load, value in zip(loads, smooth, strict=True) if value > 0]
        return cls(max(kept, default=None), min(broken, default=None), cliff, loss)

    @property
    def text(self) -> str:
        """The cliff in words; empty if there is none."""
        if self.cliff is None:
            return ""
        low, high = self.cliff
        return f"a cliff: the throughput falls by {self.loss:.0%} between concurrency {low} and {high}"


def load_ranges(measured: Sequence[Measurement], limits: Sequence[Limit]) -> Mapping[str, LoadRange]:
    """Return what the levels of each scenario show."""
    scenarios = dict.fromkeys(one.level.scenario for one in measured)
    return {name: LoadRange.of([one for one in measured if one.level.scenario == name], limits) for name in scenarios}


def cliff_text(measured: Sequence[Measurement], limits: Sequence[Limit]) -> str:
    """Return the cliffs of a trial whose objective is its highest load, in words; empty without any."""
    of_load = [one for one in measured if MAX_CONCURRENCY in one.figures or not one.valid]
    return "; ".join(found.text for found in load_ranges(of_load, limits).values() if found.text)


def levels_to_score(measured: Sequence[Measurement], objective: Objective) -> Sequence[Measurement]:
    """Return the levels at which a trial may be scored: all, but of a highest load those on its boundary.

    That is the highest load of each scenario that keeps every limit, or, if none does, the lightest one.
    """
    if objective.figure != MAX_CONCURRENCY:
        return measured
    ends = {
        name: found.broken if found.kept is None else found.kept
        for name, found in load_ranges(measured, objective.limits).items()
    }
    found = [one for one in measured if one.level.concurrency == ends[one.level.scenario]]
    return [one for one in found if one.valid] or found


def _excess(one: Measurement, limits: Iterable[Limit]) -> float:
    """Return by how much the most broken limit is broken, as a share of its bound; below 0 if all are kept.

    A percentile whose requests are too few to decide is read as it is: half of such loads keep the limit.
    """
    if not one.valid:
        return 1.0
    known = [limit for limit in limits if limit.figure in one.figures]
    shares = [max(limit.excess(one), limit.violation(one)) / (abs(limit.bound) or 1.0) for limit in known]
    return min(max(shares, default=-1.0), 1.0)


def _cliff(levels: Sequence[Measurement], *, traces: bool) -> tuple[tuple[int, int] | None, float]:
    """Return the loads between which the throughput falls the most, and the lost share; None if it falls little."""
    known = [one for one in levels if one.valid and _RATE in one.figures]
    rates = [(one.level.concurrency, one.figures[_RATE], one.error or 0.0) for one in known]
    found, worst = None, 0.0
    for (low, rate, error), (high, next_rate, next_error) in itertools.pairwise(rates):
        loss = 1 - next_rate / rate if rate else 0.0
        least = _TRACE if traces and high > max(low + 1, low * _APART) else _CLIFF
        if loss >= max(least, _ERRORS * math.hypot(error, next_error)) and loss > worst:
            found, worst = (low, high), loss
    return found, worst


def _rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the closest values that never fall, by pooling adjacent ones that do (isotonic regression)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, total, count = value, weight, 1
        while blocks and blocks[-1][0] > mean:
            last, last_weight, last_count = blocks.pop()
            mean = (mean * total + last * last_weight) / (total + last_weight)
            total, count = total + last_weight, count + last_count
        blocks.append((mean, total, count))
    return [mean for mean, _, count in blocks for _ in range(count)]
