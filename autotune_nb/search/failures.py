"""The probability that a configuration runs, from the failures of similar ones, and the skipped regions in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune_nb.search.base import Observation
from autotune_nb.search.encoding import Dimension, Encoding, Floats, Ints
from autotune_nb.search.gaussian_process import OneHot, matern
from autotune_nb.task.space import Point

_LENGTH_SCALE = 0.35
#: Votes of the prior: 0.9 with the weight of half a trial.
_PRIOR = (0.45, 0.05)
#: Below this probability a configuration is tried last.
UNLIKELY = 0.3
_MAX_ROWS = 96


def probability(ran: Sequence[bool], correlation: Floats) -> Floats:
    """Return P(runs) of points by the votes of the observed ones; 1 before the first failure."""
    good = np.array(ran, dtype=bool)
    if good.all():
        return np.ones(len(correlation))
    yes = (correlation * good).sum(1) + _PRIOR[0]
    no = (correlation * ~good).sum(1) + _PRIOR[1]
    p = yes / (yes + no)
    result: Floats = np.where(p < UNLIKELY, 0.05 * p, p)
    return result


class Votes:
    """Correlations of points with observed ones, of fixed length scales."""

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self._tables = [d.squared_distances / (_LENGTH_SCALE**2 if d.ordered else 1.0) for d in dimensions]

    def __call__(self, one_hot: Floats, codes: Ints) -> Floats:
        if not self._tables:
            return np.ones((len(one_hot), len(codes)))
        scaled = np.concatenate([table[:, codes[:, j]] for j, table in enumerate(self._tables)])
        return matern(np.maximum(one_hot @ scaled, 0.0))


class Runnable:
    """P(start) and P(survives the load): two models, since they want opposite moves of the memory fraction."""

    def __init__(self, encoding: Encoding) -> None:
        self._votes = Votes(encoding.dimensions)
        self._one_hot = OneHot(encoding.dimensions)

    def fit(self, observations: Sequence[Observation], codes: Ints) -> None:
        """Take the outcome of trials. Those that failed because of their surroundings are left out."""
        rows = [i for i, o in enumerate(observations) if o.values is not None or o.own][-_MAX_ROWS:]
        self._observations = [observations[i] for i in rows]
        self._codes = codes[rows]

    def p(self, one_hot: Floats) -> Floats:
        """Return the probability that each point starts and survives the load."""
        if all(o.values is not None for o in self._observations):
            return np.ones(len(one_hot))
        correlation = self._votes(one_hot, self._codes)
        started = np.array([o.started for o in self._observations])
        p = probability(started.tolist(), correlation)
        survived = [o.values is not None for o in self._observations if o.started]
        result: Floats = p * probability(survived, correlation[:, started])
        return result

    def skipped(self, points: Sequence[Point], one_hot: Floats) -> list[str]:
        """Return in words which of the points are unlikely to run, grouped by the failed trials that they resemble."""
        unlikely = np.flatnonzero(self.p(one_hot) < UNLIKELY)
        failed = [i for i, o in enumerate(self._observations) if o.values is None]
        if not len(unlikely) or not failed:
            return []
        nearest = self._votes(one_hot[unlikely], self._codes[failed])
        reasons = [self._observations[i].failure or "failed" for i in failed]
        groups: dict[str, tuple[list[int], set[int]]] = {}
        for row, index in enumerate(unlikely):
            reason = reasons[int(nearest[row].argmax())]
            members, trials = groups.setdefault(reason, ([], set()))
            members.append(int(index))
            alike = [k for k, text in enumerate(reasons) if text == reason and nearest[row, k] > 0.1]
            trials.update(self._observations[failed[k]].number for k in alike)
        return [
            _in_words([points[i] for i in members], sorted(trials), reason)
            for reason, (members, trials) in groups.items()
        ]


def _in_words(points: Sequence[Point], trials: Sequence[int], reason: str) -> str:
    shared = [
        f"{name}={value}" for name, value in points[0].items() if all(point[name] == value for point in points[1:])
    ]
    where = f" with {', '.join(shared)}" if shared else ""
    count = f"{len(points)} configuration{'s' * (len(points) != 1)}"
    numbers = " and ".join(filter(None, (", ".join(map(str, trials[:-1])), *map(str, trials[-1:]))))
    like = f"like trial{'s' * (len(trials) != 1)} {numbers}: " if trials else ""
    return f"{count}{where}: {like}{reason}"
