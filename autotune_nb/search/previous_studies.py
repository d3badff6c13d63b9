"""The trials of previous studies, which inform the models of a new one, and which of them are measured again first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from autotune_nb.search.base import Observation, SearchProblem
from autotune_nb.search.encoding import Encoding, Floats, Ints
from autotune_nb.task.space import Point, point_key
from autotune_nb.trial.pareto import front_indices

#: At most so many trials of each previous study are used: its best half, and the others spread over the rest.
MAX_ROWS = 48
#: So many of the best of each previous study are measured again first.
AGAIN = 2
#: With several objectives, at most so many of its Pareto front.
AGAIN_OF_FRONT = 4


class PreviousRows:
    """The complete trials of the previous studies: their codes, and the number of the study of each, from 1 on."""

    def __init__(self, problem: SearchProblem, encoding: Encoding) -> None:
        kept = [best_and_spread(one.observations, problem, MAX_ROWS) for one in problem.previous]
        self.observations = [o for one in kept for o in one]
        self.studies: Ints = np.array([i for i, one in enumerate(kept, 1) for _ in one], dtype=np.int64)
        self.codes = encoding.encode([dict(o.params) for o in self.observations])

    def __len__(self) -> int:
        return len(self.observations)

    def aligned(self, values: Floats, codes: Ints, own: Floats) -> Floats:
        """Return the values of the previous trials, moved study by study to the level of the current one's ``own``.

        The level is that of the points which both have measured; without one, the mean of each.
        """
        result = values.copy()
        for study in np.unique(self.studies):
            rows = np.flatnonzero(self.studies == study)
            same = (self.codes[rows][:, None] == codes[None]).all(2)
            before, after = np.nonzero(same)
            if len(before):
                result[rows] += float((own[after] - values[rows][before]).mean())
            else:
                result[rows] += float(own.mean() - values[rows].mean())
        return result


def best_and_spread(observations: Sequence[Observation], problem: SearchProblem, most: int) -> list[Observation]:
    """Return complete trials: all, or the best half of ``most`` and others spread over the rest."""
    order = by_value([o for o in observations if o.values is not None], problem)
    if len(order) <= most:
        return order
    half = most // 2
    spread = np.linspace(half, len(order) - 1, most - half).astype(int)
    return order[:half] + [order[i] for i in spread]


def by_value(complete: Sequence[Observation], problem: SearchProblem) -> list[Observation]:
    """Return complete trials by the first objective, the best first and those that break a limit last."""
    sign = -1.0 if problem.objectives[0].direction == "maximize" else 1.0

    def rank(one: Observation) -> tuple[bool, float]:
        assert one.values is not None
        return not one.feasible, sign * one.values[0]

    return sorted(complete, key=rank)


def measured_again(problem: SearchProblem) -> Iterator[tuple[Point, str]]:
    """Yield the configurations of previous studies to measure first, each once, and the reason."""
    seen: set[str] = set()
    for one in problem.previous:
        complete = [o for o in one.observations if o.values is not None]
        best = by_value(complete, problem)[:AGAIN] if len(problem.objectives) == 1 else _front(complete, problem)
        for place, again in enumerate(best):
            if (key := point_key(again.params)) in seen or not again.feasible:
                continue
            seen.add(key)
            which = "the best" if not place else f"number {place + 1}"
            if len(problem.objectives) > 1:
                which = "on the Pareto front"
            yield dict(again.params), f"{which} of {one.name}, measured again"


def _front(complete: Sequence[Observation], problem: SearchProblem) -> list[Observation]:
    """Return the Pareto front; of a longer one, configurations spread over it, with both ends."""
    feasible = [o for o in complete if o.feasible]
    front = [feasible[i] for i in front_indices([o.values or () for o in feasible], problem.objectives)]
    if len(front) <= AGAIN_OF_FRONT:
        return front
    return [front[i] for i in np.linspace(0, len(front) - 1, AGAIN_OF_FRONT).round().astype(int)]
