"""A score with a soft penalty for each broken limit, as the prototype's service-level objectives had."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autotune_nb.trial.score import Direction, Limit

#: The largest exponent of a penalty: beyond it every limit is broken hopelessly.
_MOST = 50.0


def penalty(figures: Mapping[str, float], limits: Mapping[Limit, float], steepness: float) -> float:
    """Return the sum of the penalties of a level; 0 if it keeps every limit.

    That of a broken limit is ``weight * exp(excess / steepness)``, where the excess is the share of the bound by which
    the figure is beyond it. A limit whose figure the level lacks has none.
    """
    total = 0.0
    for limit, weight in limits.items():
        value = figures.get(limit.figure)
        if value is not None and limit.is_beyond(value):
            excess = abs(value - limit.bound) / (abs(limit.bound) or 1.0)
            total += weight * math.exp(min(excess / steepness, _MOST))
    return total


def slo_score(
    figures: Mapping[str, float], figure: str, limits: Mapping[Limit, float], steepness: float, direction: Direction
) -> float | None:
    """Return a figure made worse by the penalty: times ``1 + penalty``, or divided by it if the score is maximized.

    None if the level lacks the figure.
    """
    value = figures.get(figure)
    if value is None:
        return None
    factor = 1 + penalty(figures, limits, steepness)
    return value * factor if direction == "minimize" else value / factor
