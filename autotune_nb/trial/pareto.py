"""Several objectives: the Pareto front of values, its knee, and the volume that they dominate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune_nb.trial.score import Objective

#: The values of one configuration, in the order of the objectives.
Values = Sequence[float]


def front_indices(values: Sequence[Values], objectives: Sequence[Objective]) -> list[int]:
    """Return the indices of the values on the Pareto front: no others are equal or better in every objective.

    They are in the order of the first objective, the best first. Equal values are all on the front.
    """
    losses = _losses(values, objectives)
    front: list[int] = []
    # In this order, only earlier ones can be better.
    for i in sorted(range(len(losses)), key=lambda i: (losses[i], i)):
        if not any(_dominates(losses[j], losses[i]) for j in front):
            front.append(i)
    return front


def dominates(a: Values, b: Values, objectives: Sequence[Objective]) -> bool:
    """Return whether values are better than others in one objective, and equal or better in every other one."""
    first, second = _losses([a, b], objectives)
    return _dominates(first, second)


def knee(front: Sequence[Values], objectives: Sequence[Objective]) -> int:
    """Return the index of the knee of a front: where less of one objective buys the most of the others.

    It is the point farthest from the plane through the ends of the front, each objective scaled to its range on the
    front, on a logarithmic scale where all values are positive; the first one in a tie.
    """
    shares = scaled(front, objectives)
    # Rounded, since the ends of a front of two are equally far.
    return max(range(len(shares)), key=lambda i: (round(sum(shares[i]), 9), -i))


def hypervolume(values: Sequence[Values], objectives: Sequence[Objective], reference: Values) -> float:
    """Return the volume between a reference and the Pareto front; values worse than it in one objective add nothing."""
    losses = _losses(values, objectives)
    (worst,) = _losses([reference], objectives)
    return _dominated([one for one in losses if all(a < b for a, b in zip(one, worst, strict=True))], worst)


def scaled(values: Sequence[Values], objectives: Sequence[Objective]) -> list[tuple[float, ...]]:
    """Return the values as shares of their range in each objective: 0 is the worst, 1 the best.

    On a logarithmic scale where all of an objective's values are positive.
    """
    columns = []
    for k, one in enumerate(objectives):
        column = [row[k] for row in values]
        if min(column, default=0.0) > 0:
            column = [math.log(value) for value in column]
        worst, best = min(column, default=0.0), max(column, default=0.0)
        if one.direction == "minimize":
            worst, best = best, worst
        columns.append([(value - worst) / (best - worst) if best != worst else 1.0 for value in column])
    return list(zip(*columns, strict=True))


def _losses(values: Sequence[Values], objectives: Sequence[Objective]) -> list[tuple[float, ...]]:
    """Return the values with signs so that smaller is better."""
    signs = [-1.0 if one.direction == "maximize" else 1.0 for one in objectives]
    return [tuple(sign * value for sign, value in zip(signs, row, strict=True)) for row in values]


def _dominates(a: Values, b: Values) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _dominated(losses: Sequence[Values], reference: Values) -> float:
    """Return the dominated volume: slices along the last objective, each times the volume in the others."""
    if not losses:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(one[0] for one in losses)
    ordered = sorted(losses, key=lambda one: one[-1])
    ends = [*(one[-1] for one in ordered[1:]), reference[-1]]
    return sum(
        (end - one[-1]) * _dominated([other[:-1] for other in ordered[: k + 1]], reference[:-1])
        for k, (one, end) in enumerate(zip(ordered, ends, strict=True))
        if end > one[-1]
    )
