"""P(start) from an estimate of the memory, corrected by what engines have shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from autotune_nb.search.base import Observation
from autotune_nb.search.encoding import Floats
from autotune_nb.search.failures import tried_last
from autotune_nb.search.gaussian_process import normal_cdf
from autotune_nb.task.space import Point

#: The standard deviation of an estimate's logarithm between configurations, and that of its error for all of them.
_BETWEEN, _COMMON = 0.15, 0.25


class MemoryPrior:
    """The probability that there is enough memory to start.

    ``headroom`` returns the logarithm of available over needed memory of a point, or None if that is unknown.
    """

    def __init__(self, headroom: Callable[[Point], float | None] | None, default: Point | None) -> None:
        self._headroom, self._default = headroom, default
        self._shift = 0.0
        self._cached: tuple[Sequence[Point], Floats] | None = None

    def fit(self, observations: Sequence[Observation]) -> None:
        """Correct the estimate for all points: by how much it was wrong at those that were tried."""
        if self._headroom is None:
            return
        rows = []
        for one in observations:
            point = self._default if one.baseline else dict(one.params)
            # A start that failed for another reason says nothing of the memory.
            said = one.started or one.values is not None or "memory" in one.failure
            headroom = self._headroom(point) if said and point is not None else None
            if headroom is not None:
                rows.append((headroom, 1.0 if one.started else -1.0))
        shifts = np.linspace(-1.0, 1.0, 81)
        scores = -0.5 * (shifts / _COMMON) ** 2
        for headroom, sign in rows:
            scores += np.log(np.maximum(normal_cdf(sign * (headroom + shifts) / _BETWEEN), 1e-6))
        self._shift = float(shifts[int(scores.argmax())])

    def p(self, points: Sequence[Point]) -> Floats:
        """Return the probability of each point; 1 where there is no estimate."""
        if self._headroom is None:
            return np.ones(len(points))
        if self._cached is not None and self._cached[0] is points:
            headroom = self._cached[1]
        else:
            found = [self._headroom(point) for point in points]
            headroom = np.array([np.inf if one is None else one for one in found])
            if len(points) > 1:
                self._cached = points, headroom
        z = (headroom + self._shift) / _BETWEEN
        p = np.where(np.isinf(z), 1.0, normal_cdf(np.where(np.isinf(z), 0.0, z)))
        return tried_last(p)
