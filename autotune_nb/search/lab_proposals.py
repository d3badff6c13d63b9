"""Runs the strategies of a study in the lab: proposals become trials of the table, and trials observations."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from autotune_nb.search.base import Observation, PreviousStudy, SearchProblem
from autotune_nb.search.creation import create_strategy
from autotune_nb.search.cutting import breaks, is_worse
from autotune_nb.search.lab_problem import LabProblem
from autotune_nb.search.lab_strategies import Outcome, WholeTrials
from autotune_nb.task.parameters import Choice
from autotune_nb.task.space import Point, SearchSpace, point_key

#: The number of trials of a usual study: of these, TPE tries a third at random.
_BUDGET = 20


class Proposed(WholeTrials):
    """A strategy of a study, in the lab.

    With ``cut``, trials are cut as those of a study are: the level that decides runs first, and a trial ends after it
    unless it may be the best.
    """

    def __init__(
        self,
        name: str,
        problem: LabProblem,
        seed: int,
        *,
        cut: bool = False,
        previous: tuple[PreviousStudy, ...] = (),
    ) -> None:
        super().__init__(problem)
        self._points = points_of(problem)
        self._index = {point_key(point): index for index, point in enumerate(self._points)}
        default = None if problem.default is None else self._points[problem.default]
        search_problem = SearchProblem(table_space(self._points), (problem.goal,), default, previous=previous)
        self._strategy = create_strategy(name, search_problem, seed, num_trials=_BUDGET)
        self._observations: list[Observation] = []
        self._cut = cut and problem.at is not None

    def ask(self) -> int | None:
        proposals = self._strategy.propose(self._observations)
        return self._index[point_key(proposals[0].params)] if proposals else None

    def next_level(self, outcome: Outcome) -> int | None:
        decisive = self.problem.at
        if not self._cut or decisive is None or np.isnan(self.problem.level_s[outcome.index, decisive]):
            return super().next_level(outcome)
        if not outcome.ran[decisive]:
            return decisive
        value = float(outcome.values[decisive])
        gain = value if self.problem.maximize else -value
        if outcome.index == self.problem.default:
            return super().next_level(outcome)
        if np.isnan(value) or breaks(outcome.excess[decisive]) or is_worse(gain, self.best_gain, maximize=True):
            return None
        return super().next_level(outcome)

    def tell(self, outcome: Outcome) -> None:
        super().tell(outcome)
        level = self.problem.scored_level(outcome.values, outcome.excess)
        failed = outcome.failed or level is None
        self._observations.append(
            Observation(
                len(self._observations),
                self._points[outcome.index],
                None if failed or level is None else (float(outcome.values[level]),),
                () if failed or level is None else tuple(map(float, outcome.excess[level])),
                outcome.seconds,
                failure=self.problem.reasons[outcome.index] if failed else "",
                own=failed,
                started=bool(outcome.ran.any()),
            )
        )

    @property
    def observed(self) -> PreviousStudy:
        """What the trials so far have shown, to warm-start a study of another table with it."""
        return PreviousStudy(self.problem.name, tuple(self._observations))

    def named(self) -> int | None:
        named = getattr(self._strategy, "named", None)
        if named is None:
            return super().named()
        found: Observation | None = named(self._observations)
        return None if found is None else self._index[point_key(found.params)]


def points_of(problem: LabProblem) -> list[Point]:
    """Return the table's configurations as points that set every parameter, to None where it is not set."""
    names = list(dict.fromkeys(name for params in problem.params for name in params))
    return [{name: params.get(name) for name in names} for params in problem.params]


def table_space(points: Sequence[Point]) -> SearchSpace:
    """Return the space of these points: a choice of their values for each parameter."""
    values = {name: list({json.dumps(p[name], sort_keys=True): p[name] for p in points}.values()) for name in points[0]}
    parameters = {name: Choice(type="choice", values=own) for name, own in values.items()}
    return SearchSpace(parameters).with_points(points)
