"""How many trials a warm start saved: a search without it is simulated on what the models predict."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotune_nb.search.auto import AutoStrategy
from autotune_nb.search.base import Observation, SearchProblem
from autotune_nb.search.candidates import Candidates
from autotune_nb.search.encoding import Encoding
from autotune_nb.search.figure_models import FigureModels
from autotune_nb.task.space import Point, point_key

#: A configuration is found if it is at most this much worse than the best.
WITHIN = 0.02
_SEEDS, _MOST_TRIALS, _MOST_POINTS = 3, 40, 500
#: From this probability on, a point keeps the limits in the simulation.
_LIKELY = 0.5


@dataclass(frozen=True)
class SavedTrials:
    """After how many trials a study found its best, and after how many it would have without a warm start."""

    found: int
    without: int
    #: Whether none of the simulated searches found it with as many trials.
    at_least: bool = False

    def __str__(self) -> str:
        least = "at least " if self.at_least else "about "
        saved = max(self.without - self.found, 0)
        return (
            f"the warm start saved {least}{saved} trial{'s' * (saved != 1)}: it took {self.found} to come within "
            f"{WITHIN:.0%} of the best, and a search without previous studies is predicted to take {self.without}"
        )


def saved_trials(problem: SearchProblem, observations: Sequence[Observation]) -> SavedTrials | None:
    """Return how many trials the previous studies of a problem saved; None if that cannot be predicted.

    With several objectives, if the engine's default is as good, without a trial that keeps every limit, and for
    values without a logarithm.
    """
    own = sorted(observations, key=lambda one: one.number)
    good = [one for one in own if one.feasible]
    if not problem.previous or len(problem.objectives) > 1 or not good:
        return None
    sign = 1 if problem.objectives[0].direction == "maximize" else -1
    gains = [sign * one.values[0] for one in good if one.values is not None]
    bar = max(gains) - WITHIN * abs(max(gains))
    first = next(one for one, gain in zip(good, gains, strict=True) if gain >= bar)
    if first.baseline:
        # Every search begins with the engine's default.
        return None
    number = first.number
    surface = _Surface.of(problem, own)
    if surface is None:
        return None
    counts = [surface.trials_until(sign, bar, seed) for seed in range(_SEEDS)]
    without = round(statistics.median(counts))
    return SavedTrials(sum(1 for one in own if one.number <= number), without, without >= _MOST_TRIALS)


class _Surface:
    """The value of each point as measured, or else as predicted, and whether it keeps the limits."""

    def __init__(self, problem: SearchProblem, outcomes: dict[str, Observation]) -> None:
        self._problem, self._outcomes = problem, outcomes

    @classmethod
    def of(cls, problem: SearchProblem, own: Sequence[Observation]) -> _Surface | None:
        encoding = Encoding(problem.space)
        measured: dict[str, Point] = {}
        complete, points = [], []
        for one in own:
            point = problem.default if one.baseline else dict(one.params)
            if one.values is not None and point is not None and point.keys() == problem.space.parameters.keys():
                complete.append(one)
                points.append(point)
                measured[point_key(point)] = point
        # Of a large space a sample, in which the share of good points is the same.
        found = Candidates(problem.space, encoding, 0).points
        sample = found if len(found) <= _MOST_POINTS else random.Random(0).sample(found, _MOST_POINTS)
        every = list({point_key(point): point for point in [*points, *sample]}.values())
        if not complete:
            return None
        models = FigureModels(problem, encoding)
        try:
            models.fit(complete, encoding.encode(points), np.ones(1), noisy=False)
        except np.linalg.LinAlgError:
            return None
        space = problem.space.with_points(every)
        candidates = Candidates(space, encoding, 0)
        values, kept = models.values(candidates.one_hot), models.p_limits(candidates.one_hot) >= _LIKELY
        seconds = models.seconds(candidates.one_hot, np.zeros(len(candidates), dtype=np.int64))
        outcomes = {
            point_key(point): Observation(
                0, point, (float(value),), tuple(-0.1 if keeps else 0.1 for _ in problem.limits), float(took)
            )
            for point, value, keeps, took in zip(candidates.points, values, kept, seconds, strict=True)
        }
        for one, point in zip(complete, points, strict=True):
            outcomes[point_key(point)] = replace(one, params=point, baseline=False)
        return cls(replace(problem, space=space, previous=()), outcomes)

    def trials_until(self, sign: int, bar: float, seed: int) -> int:
        """Return the number of trials of a search until one reaches the bar."""
        strategy = AutoStrategy(self._problem, seed)
        seen: list[Observation] = []
        while len(seen) < _MOST_TRIALS:
            proposals = strategy.propose(seen)
            if not proposals:
                return len(seen)
            outcome = self._outcomes[point_key(proposals[0].params)]
            seen.append(replace(outcome, number=len(seen)))
            if outcome.feasible and outcome.values is not None and sign * outcome.values[0] >= bar:
                return len(seen)
        return _MOST_TRIALS
