"""Differences between starts that share no rounds, such as those of two studies, with intervals of Student's t.

What both machines did differently at the two times is part of such a difference: only rounds cancel it out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

from autotune_nb.verdict.confirmation import Difference, Noise

#: With fewer degrees of freedom the noise is not known well enough for an interval.
_MIN_DEGREES = 2


def difference_of_starts(
    before: Sequence[float], after: Sequence[float], noise: Noise, *, alpha: float, comparisons: int = 1
) -> Difference | None:
    """Return the logarithm of the ratio of ``after`` to ``before`` with its interval.

    None if a value is not positive, or if repeated starts do not show the noise. All intervals of so many comparisons
    together hold with a probability of ``1 - alpha`` (Šidák), so that the largest difference may be picked.
    """
    estimate = log_ratio(before, after)
    if estimate is None or noise.deviation is None or noise.degrees < _MIN_DEGREES:
        return None
    own = 1 - (1 - alpha) ** (1 / max(comparisons, 1))
    half = t_quantile(own, noise.degrees) * noise.deviation * math.sqrt(1 / len(before) + 1 / len(after))
    return Difference(estimate, estimate - half, estimate + half)


def log_ratio(before: Sequence[float], after: Sequence[float]) -> float | None:
    """Return the logarithm of the ratio of the geometric means; None if a value is not positive."""
    if not before or not after or min(*before, *after) <= 0:
        return None
    return statistics.fmean(map(math.log, after)) - statistics.fmean(map(math.log, before))


def mean_difference(differences: Sequence[float], *, alpha: float) -> Difference | None:
    """Return the mean of paired differences with its interval; None of fewer than three."""
    if len(differences) <= _MIN_DEGREES:
        return None
    estimate = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = t_quantile(alpha, len(differences) - 1) * error
    return Difference(estimate, estimate - half, estimate + half)


@lru_cache(maxsize=256)
def t_quantile(alpha: float, degrees: int) -> float:
    """Return the value that the size of a variable with Student's t distribution exceeds with probability ``alpha``."""
    low, high = 0.0, math.pi / 2
    # By halving the angle, whose tangent is the value.
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - _inside(middle, degrees) > alpha else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _inside(angle: float, degrees: int) -> float:
    """Return the probability that the size is below ``sqrt(degrees) * tan(angle)``: Abramowitz and Stegun, 26.7.3."""
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees - 1, 2):
        term *= square * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
