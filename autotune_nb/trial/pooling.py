"""Two runs of one level in the same trial as one measurement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from autotune_nb.trial.measurement import Measurement

#: Numbers of the steady state that add up; the others are means.
_SUMS = ("scored_requests", "unscored_requests", "steady_s")
#: Conditions that are counts.
_COUNTS = ("preemptions", "engine_output_tokens")


def pooled(first: Measurement, second: Measurement) -> Measurement:
    """Return the measurement of both runs: means of the figures, sums of the requests and of those beyond limits.

    If one of them alone is valid, it stands for both: what made the other one invalid has passed. Figures that only
    one of them has are left out.
    """
    if first.valid is not second.valid:
        return replace(first if first.valid else second, runs=first.runs + second.runs)
    ours, theirs = first.runs, second.runs
    total = ours + theirs

    def mean(name: str, a: float, b: float) -> float:
        if "_max" in name or "_min" in name:
            return max(a, b) if "_max" in name else min(a, b)
        return (ours * a + theirs * b) / total

    def means(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
        return {name: mean(name, value, b[name]) for name, value in a.items() if name in b}

    steady = means(first.steady, second.steady)
    steady |= {name: first.steady[name] + second.steady[name] for name in _SUMS if name in steady}
    conditions = means(first.conditions, second.conditions)
    conditions |= {name: first.conditions[name] + second.conditions[name] for name in _COUNTS if name in conditions}
    if (error := "output_tokens_per_s_error") in steady:
        steady[error] = math.hypot(ours * first.steady[error], theirs * second.steady[error]) / total
    return Measurement(
        first.level,
        first.duration_s + second.duration_s,
        first.num_requests + second.num_requests,
        first.num_completed_requests + second.num_completed_requests,
        first.num_failed_requests + second.num_failed_requests,
        means(first.figures, second.figures),
        tuple(dict.fromkeys((*first.problems, *second.problems))),
        conditions,
        {
            name: (n + second.beyond[name][0], k + second.beyond[name][1])
            for name, (n, k) in first.beyond.items()
            if name in second.beyond
        },
        steady,
        total,
    )
