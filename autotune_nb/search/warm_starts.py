"""Which starts find in the engine's caches what an earlier start of the study has compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune_nb.search.base import Observation, SearchProblem
from autotune_nb.search.encoding import Dimension, Ints, value_key
from autotune_nb.task.space import Point

#: One more dimension of the model of a trial's seconds: 1 for a warm start.
WARM = Dimension("warm", bool, np.array([0.0, 1.0]), ordered=True)


class WarmStarts:
    """Starts that have the values of an earlier one in all parameters that decide what the engine compiles."""

    def __init__(self, problem: SearchProblem) -> None:
        self._names, self._default = problem.compile_parameters, problem.default
        self._compiled: set[tuple[str, ...]] = set()
        #: The numbers of the trials whose start was warm.
        self.trials: frozenset[int] = frozenset()
        self._cached: tuple[Sequence[Point], list[tuple[str, ...]]] = ([], [])

    def fit(self, observations: Sequence[Observation]) -> None:
        """Take the trials in the order in which they started."""
        self._compiled, warm = set(), set()
        for one in observations if self._names else ():
            point = self._default if one.baseline else one.params
            if point is None or not one.started:
                continue
            key = tuple(value_key(point[name]) for name in self._names)
            if key in self._compiled:
                warm.add(one.number)
            self._compiled.add(key)
        self.trials = frozenset(warm)

    def of(self, points: Sequence[Point], indices: Ints | None = None) -> Ints:
        """Return 1 for each point, or each of these indices, whose start would be warm, and 0 for the others."""
        count = len(points) if indices is None else len(indices)
        if not self._names:
            return np.zeros(count, dtype=np.int64)
        chosen = range(count) if indices is None else indices.tolist()
        if self._cached[0] is points:
            keys = self._cached[1]
        else:
            keys = [tuple(value_key(one[name]) for name in self._names) for one in points]
            if len(points) > 1:
                self._cached = points, keys
        return np.fromiter((keys[i] in self._compiled for i in chosen), dtype=np.int64, count=count)
