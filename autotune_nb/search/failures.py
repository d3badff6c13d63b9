"""The probability that a configuration runs, from the failures of others, and the skipped regions in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune_nb.search.base import Observation
from autotune_nb.search.encoding import Encoding, Floats, Ints
from autotune_nb.search.gaussian_process import Ensemble, OneHot, normal_cdf
from autotune_nb.task.space import Point

#: What is assumed far from every trial, between -1 (fails) and 1 (runs).
_PRIOR = 0.5
#: Below this probability a configuration is tried last.
UNLIKELY = 0.4
_MAX_ROWS = 96
#: Up to so many values of a parameter are named of skipped configurations.
_MAX_SHARED = 2


def tried_last(p: Floats) -> Floats:
    """Return probabilities to run with the small ones made smaller: such configurations are tried last."""
    result: Floats = np.where(p < UNLIKELY, 0.05 * p, p)
    return result


class Runnable:
    """P(start) and P(survives the load): two models, since they want opposite moves of the memory fraction.

    Processes of the figures' kind: their length scales find the few parameters that a failure depends on.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._one_hot = OneHot(encoding.dimensions)
        self._models = (Ensemble(encoding.dimensions, 51), Ensemble(encoding.dimensions, 52))
        self._fitted: list[Ensemble] = []

    def fit(self, observations: Sequence[Observation], codes: Ints) -> None:
        """Take the outcome of trials. Those that failed because of their surroundings are left out."""
        rows = [i for i, o in enumerate(observations) if o.values is not None or o.own][-_MAX_ROWS:]
        self._observations, self._codes = [observations[i] for i in rows], codes[rows]
        started = np.array([o.started for o in self._observations], dtype=bool)
        complete = np.array([o.values is not None for o in self._observations], dtype=bool)
        self._fitted = []
        for model, used, ran in zip(self._models, (np.ones_like(started), started), (started, complete), strict=True):
            # Before the first failure there is nothing to learn.
            if ran[used].all():
                continue
            try:
                codes_used = self._codes[used]
                model.fit(self._one_hot(codes_used), codes_used, np.where(ran[used], 1.0, -1.0) - _PRIOR)
            except np.linalg.LinAlgError:
                continue
            self._fitted.append(model)

    def p(self, one_hot: Floats, kept: int | None = None) -> Floats:
        """Return the probability that each point starts and survives the load."""
        p = np.ones(len(one_hot))
        for model in self._fitted:
            mean, deviation, weight = model.predict(one_hot, kept)
            runs = (weight * normal_cdf((mean + _PRIOR) / deviation)).sum(0)
            p = p * tried_last(runs)
        return p

    def skipped(self, points: Sequence[Point], codes: Ints, one_hot: Floats) -> list[str]:
        """Return in words which of the points are unlikely to run, grouped by the failed trials that they resemble."""
        unlikely = np.flatnonzero(self.p(one_hot) < UNLIKELY)
        failed = [i for i, o in enumerate(self._observations) if o.values is None]
        if not len(unlikely) or not failed:
            return []
        # The failed trial with the most values in common.
        alike = (codes[unlikely][:, None] == self._codes[failed][None]).sum(2).argmax(1)
        groups: dict[str, tuple[list[Point], set[int]]] = {}
        for index, nearest in zip(unlikely.tolist(), alike.tolist(), strict=True):
            one = self._observations[failed[nearest]]
            members, trials = groups.setdefault(one.failure or "failed", ([], set()))
            members.append(points[index])
            trials.add(one.number)
        known = _values(points)
        return [_in_words(members, known, sorted(trials), reason) for reason, (members, trials) in groups.items()]


def _values(points: Sequence[Point]) -> dict[str, dict[str, None]]:
    """Return by parameter the different values of points, as text."""
    return {name: dict.fromkeys(str(point[name]) for point in points) for name in points[0]}


def _in_words(points: Sequence[Point], known: dict[str, dict[str, None]], trials: Sequence[int], reason: str) -> str:
    # The parameters of which the points have few of the values that all untried points have.
    shared = [
        f"{name}={' or '.join(values)}"
        for name, values in _values(points).items()
        if len(values) <= _MAX_SHARED and (len(values) < len(known[name]) or len(values) == 1)
    ]
    where = f" with {', '.join(shared)}" if shared else ""
    numbers = " and ".join(part for part in (", ".join(map(str, trials[:-1])), str(trials[-1])) if part)
    plural = "s" * (len(points) != 1)
    return f"{len(points)} configuration{plural}{where}, like trial{'s' * (len(trials) != 1)} {numbers}: {reason}"
