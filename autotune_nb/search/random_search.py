"""The strategy ``random``: allowed points in a random order."""

from __future__ import annotations

import random
from collections.abc import Sequence

from autotune_nb.search.base import Observation, Proposal, SearchProblem
from autotune_nb.task.space import Point, point_key


class RandomSearch:
    """Proposes random points that were not tried."""

    def __init__(self, problem: SearchProblem, seed: int) -> None:
        self._space, self._seed = problem.space, seed

    def propose(self, observations: Sequence[Observation], pending: Sequence[Point] = (), n: int = 1) -> list[Proposal]:
        tried = {point_key(o.params) for o in observations} | {point_key(point) for point in pending}
        proposals: list[Proposal] = []
        while len(proposals) < n:
            # By the number of trials, so that a resumed study proposes the same.
            point = self._space.random_point(random.Random(f"{self._seed}/{len(tried)}"), exclude=tried)
            if point is None:
                break
            point = self._space.canonical(point)
            tried.add(point_key(point))
            proposals.append(Proposal(point, "at random"))
        return proposals
