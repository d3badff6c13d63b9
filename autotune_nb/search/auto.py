"""The strategy ``auto``: expected improvement over all allowed points, times P(limits) and P(runs), per second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotune_nb.search.base import Observation, Promise, Proposal, SearchProblem
from autotune_nb.search.candidates import Candidates
from autotune_nb.search.encoding import Encoding, Floats, Ints
from autotune_nb.search.failures import UNLIKELY, Runnable
from autotune_nb.search.figure_models import FigureModels
from autotune_nb.search.gaussian_process import OneHot
from autotune_nb.search.memory_prior import MemoryPrior
from autotune_nb.search.previous_studies import measured_again
from autotune_nb.search.warm_starts import WarmStarts
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import Point, point_key
from autotune_nb.trial.formatting import interval_text

#: Trials that are spread out before the models decide, the default included.
START = 5
#: The share of the distance that is random in the start.
_JITTER = 0.3
#: Every so many trials one value of the best is replaced by the one least tried: the models blame a value for what
#: its only trial's other values did.
_EXPLORE = 4
#: The power of P(limits) times P(runs) in the score.
_CAUTION = 1.5
#: Beyond so many points a single draw screens them, and all draws score the best of them.
_SCREEN = 1_000
#: From this probability on, it is not worth a word that a configuration may fail.
_CERTAIN = 0.995


def _same(a: Value, b: Value) -> bool:
    """Return whether two values are the same: 1, 1.0 and True are equal, but three values."""
    return type(a) is type(b) and a == b


@dataclass(frozen=True)
class _Choice:
    """A chosen point; ``predicted`` is whether the models chose it."""

    point: Point
    reason: str
    predicted: bool


class AutoStrategy:
    """Chooses among all allowed points that were not tried; a pure function of the observations."""

    def __init__(self, problem: SearchProblem, seed: int, *, noisy: bool = True) -> None:
        self._problem, self._seed, self._noisy = problem, seed, noisy
        self._encoding = Encoding(problem.space)
        self._candidates = Candidates(problem.space, self._encoding, seed)
        self._runnable = Runnable(self._encoding)
        self._memory = MemoryPrior(problem.headroom, problem.default)
        self._models = FigureModels(problem, self._encoding)
        self._warm = WarmStarts(problem)
        self._one_hot = OneHot(self._encoding.dimensions)
        self._again = list(measured_again(problem))
        #: How many complete trials the models need, and after how many trials they decide.
        self._needed, self._start = (1, len(self._again) + 1) if self._again else (2, START)
        #: What the models are fitted to, with whether that worked; and what those of failures are fitted to.
        self._fitted: tuple[list[Observation], bool] = ([], False)
        self._runnable_fitted: list[Observation] | None = None

    def propose(self, observations: Sequence[Observation], pending: Sequence[Point] = (), n: int = 1) -> list[Proposal]:
        chosen: list[_Choice] = []
        for _ in range(n):
            choice = self._next(observations, [*pending, *(one.point for one in chosen)])
            if choice is None:
                break
            chosen.append(choice)
        if len(chosen) > 1 and any(one.predicted for one in chosen):
            # Each was chosen as if those before it had been tried: their predicted values are no trials.
            seen, codes = self._encoded(observations)
            rng = np.random.default_rng([self._seed, len(seen) + len(pending)])
            if self._fit(seen, codes, rng):
                self._imagine(seen, codes, pending, rng)
        return [self._proposal(one) for one in chosen]

    def named(self, observations: Sequence[Observation]) -> Observation | None:
        """Return the trial to name as the best: the best by the model's mean of those that keep every limit."""
        seen, codes = self._encoded(observations)
        if self._fit(seen, codes, np.random.default_rng(self._seed)):
            return self._models.best
        return next((o for o in seen if o.feasible), None)

    def promise(self, observations: Sequence[Observation], pending: Sequence[Point] = ()) -> Promise | None:
        """Return what another trial may bring; None while too little is known, or with several objectives."""
        seen, codes = self._encoded(observations)
        good = [dict(o.params) for o in seen if o.feasible and not o.baseline][-2:]
        candidates = self._candidates.with_neighbours(good, self._seed + len(seen))
        left = self._left(candidates, seen, pending)
        models = self._models
        if len(seen) < self._start or not len(left) or not self._fit(seen, codes, np.random.default_rng(self._seed)):
            return None
        one_hot = candidates.one_hot[left]
        gains = models.expected_gains(one_hot)
        if gains is None:
            return None
        self._fit_runnable(seen, codes)
        gains = gains * self._p_runs(candidates, left) * models.p_limits(one_hot)
        best = int(gains.argmax())
        warm = self._warm.of(candidates.points, left[[best]])
        return Promise(float(gains[best]), float(models.seconds(one_hot[[best]], warm)[0]))

    def skipped(self, observations: Sequence[Observation]) -> list[str]:
        """Return in words which untried points are unlikely to run, and which trials they resemble."""
        seen, codes = self._encoded(observations)
        self._fit_runnable(seen, codes)
        left = self._left(self._candidates, seen, ())
        found = self._candidates
        return self._runnable.skipped([found.points[i] for i in left], found.codes[left], found.one_hot[left])

    def _encoded(self, observations: Sequence[Observation]) -> tuple[list[Observation], Ints]:
        """Return the observations that have a point, by number, and their codes. The baseline has the default's."""
        seen, points = [], []
        for one in sorted(observations, key=lambda o: o.number):
            point = self._problem.default if one.baseline else dict(one.params)
            if point is not None and point.keys() == self._problem.space.parameters.keys():
                seen.append(one)
                points.append(point)
        return seen, self._encoding.encode(points)

    def _left(self, candidates: Candidates, seen: Sequence[Observation], pending: Sequence[Point]) -> Ints:
        tried = [candidates.index(dict(o.params)) for o in seen if not o.baseline]
        tried += [candidates.index(point) for point in pending]
        free = np.ones(len(candidates), dtype=bool)
        free[[i for i in tried if i is not None]] = False
        default = self._problem.default
        if default is not None and any(o.baseline for o in seen) and free.sum() > 1:
            # The baseline has measured it, so that it comes last.
            place = candidates.index(default)
            if place is not None:
                free[place] = False
        return np.flatnonzero(free)

    def _next(self, observations: Sequence[Observation], pending: Sequence[Point]) -> _Choice | None:
        seen, codes = self._encoded(observations)
        count = len(seen) + len(pending)
        rng = np.random.default_rng([self._seed, count])
        good = sorted((o for o in seen if o.feasible), key=self._utility, reverse=True)
        near = [dict(o.params) for o in good[:2] if not o.baseline]
        candidates = self._candidates.with_neighbours(near, self._seed + count)
        left = self._left(candidates, seen, pending)
        if not len(left):
            return None
        default = self._problem.default
        if default is not None and not count and (place := candidates.index(default)) in left.tolist():
            assert place is not None
            return _Choice(candidates.points[place], "the engine's default first", predicted=False)
        if again := self._next_again(seen, pending):
            return again
        self._fit_runnable(seen, codes)
        tried = np.concatenate([codes, self._encoding.encode(pending)])
        starting = count < self._start
        fitted = not starting and self._fit(seen, codes, rng)
        # Where the previous studies mislead, the start is that of a study without them.
        starting = starting or (fitted and bool(self._again) and count < START and not self._models.uses_previous)
        if starting or not fitted:
            index = self._far(candidates, left, tried, rng)
            reason = f"{'the start' if starting else 'without a model'}: far from every configuration that was tried"
            return _Choice(candidates.points[index], reason, predicted=False)
        self._imagine(seen, codes, pending, rng)
        return self._scored(candidates, left, seen, count)

    def _next_again(self, seen: Sequence[Observation], pending: Sequence[Point]) -> _Choice | None:
        """Return the next configuration of a previous study to measure again, or None."""
        tried = {point_key(o.params) for o in seen if not o.baseline} | {point_key(point) for point in pending}
        for point, reason in self._again:
            if point_key(point) not in tried and self._problem.space.broken_rule(point) is None:
                return _Choice(point, reason, predicted=False)
        return None

    def _utility(self, one: Observation) -> float:
        assert one.values is not None
        return one.values[0] * (1 if self._problem.objectives[0].direction == "maximize" else -1)

    def _fit(self, seen: Sequence[Observation], codes: Ints, rng: np.random.Generator) -> bool:
        """Fit the models; False if too little is known, or if no model can be fitted.

        The same observations are fitted once: a promise and a proposal often follow each other.
        """
        if self._fitted[0] != seen or len(self._problem.objectives) > 1:
            self._fitted = list(seen), self._fits(seen, codes, rng)
        return self._fitted[1]

    def _fits(self, seen: Sequence[Observation], codes: Ints, rng: np.random.Generator) -> bool:
        rows = [i for i, o in enumerate(seen) if o.values is not None]
        if len(rows) < self._needed:
            return False
        weights = rng.dirichlet(np.ones(len(self._problem.objectives)))
        self._warm.fit(seen)
        complete = [seen[i] for i in rows]
        try:
            self._models.fit(complete, codes[rows], weights, noisy=self._noisy, warm=self._warm.trials)
        except np.linalg.LinAlgError:
            return False
        return True

    def _imagine(
        self, seen: Sequence[Observation], codes: Ints, pending: Sequence[Point], rng: np.random.Generator
    ) -> None:
        """Fit again as if each running trial had its predicted value, so that parallel trials differ."""
        if not pending or len(self._problem.objectives) > 1:
            return
        extra = self._encoding.encode(pending)
        limits = tuple(-0.1 for _ in self._problem.limits)
        imagined = []
        for number, row in enumerate(extra):
            one_hot = self._one_hot(row[None])
            predicted = self._models.predict(one_hot)
            assert predicted is not None
            seconds = float(self._models.seconds(one_hot, self._warm.of([pending[number]]))[0])
            imagined.append(Observation(10**9 + number, pending[number], (predicted[0],), limits, seconds))
        self._fit([*seen, *imagined], np.concatenate([codes, extra]), rng)

    def _far(self, candidates: Candidates, left: Ints, tried: Ints, rng: np.random.Generator) -> int:
        """Return a point far from all tried ones, with some randomness, that is likely to run."""
        p = self._p_runs(candidates, left)
        if not len(tried):
            likely = left[p >= min(UNLIKELY, float(p.max()))]
            return int(likely[rng.integers(len(likely))])
        distance = np.full(len(left), np.inf)
        for row in tried:
            distance = np.minimum(distance, self._distance(candidates.codes[left], row))
        spread = distance + rng.random(len(left)) * _JITTER * max(float(distance.max()), 1e-9)
        return int(left[int(np.argmax(spread * p))])

    def _fit_runnable(self, seen: Sequence[Observation], codes: Ints) -> None:
        if self._runnable_fitted != seen:
            self._runnable.fit(seen, codes)
            self._memory.fit(seen)
            self._runnable_fitted = list(seen)

    def _p_runs(self, candidates: Candidates, left: Ints, kept: int | None = None) -> Floats:
        """Return the probability that candidates start and survive the load."""
        p: Floats = self._runnable.p(candidates.one_hot[left], kept) * self._memory.p(candidates.points)[left]
        return p

    def _distance(self, codes: Ints, row: Ints) -> Floats:
        total = np.zeros(len(codes))
        for j, dimension in enumerate(self._encoding.dimensions):
            total += dimension.squared_distances[row[j]][codes[:, j]]
        return total

    def _score(self, candidates: Candidates, left: Ints, kept: int | None = None) -> Floats:
        one_hot = candidates.one_hot[left]
        p = np.maximum(self._p_runs(candidates, left, kept) * self._models.p_limits(one_hot, kept), 1e-6)
        seconds = self._models.seconds(one_hot, self._warm.of(candidates.points, left))
        result: Floats = p**_CAUTION * self._models.gain(one_hot, kept) / seconds
        return result

    def _scored(self, candidates: Candidates, left: Ints, seen: Sequence[Observation], count: int) -> _Choice:
        if len(left) > _SCREEN:
            order = np.argsort(-self._score(candidates, left, 1), kind="stable")
            left = left[order[:_SCREEN]]
        reason = "the largest expected improvement per second"
        if count % _EXPLORE == 0:
            left, reason = self._least_tried(candidates, left, seen, reason)
        index = int(left[int(np.argmax(self._score(candidates, left)))])
        return _Choice(candidates.points[index], reason, predicted=True)

    def _least_tried(
        self, candidates: Candidates, left: Ints, seen: Sequence[Observation], otherwise: str
    ) -> tuple[Ints, str]:
        """Return the points one value away from the best, those whose new value was tried least, and the reason.

        Without such points it returns all of them and the reason ``otherwise``.
        """
        complete = [o for o in seen if o.values is not None]
        if not complete:
            return left, otherwise
        feasible = [o for o in complete if o.feasible]
        if feasible:
            best = max(feasible, key=self._utility)
        else:
            best = min(complete, key=lambda o: sum(max(e, 0.0) for e in o.excess))
        base = self._problem.default if best.baseline else dict(best.params)
        assert base is not None
        changed: list[tuple[int, int, str]] = []
        for i in left.tolist():
            point = candidates.points[i]
            names = [name for name in base if not _same(point[name], base[name])]
            if len(names) == 1:
                (name,) = names
                times = sum(1 for o in seen if name in o.params and _same(o.params[name], point[name]))
                changed.append((times, i, name))
        if not changed:
            return left, otherwise
        least = min(times for times, _, _ in changed)
        tried = "never tried" if not least else f"tried {least} time{'s' * (least != 1)}"
        reason = f"one value of trial {best.number}, the best, replaced by one {tried}"
        return np.array([i for times, i, _ in changed if times == least]), reason

    def _proposal(self, choice: _Choice) -> Proposal:
        one_hot = self._one_hot(self._encoding.encode([choice.point]))
        # The sum of the draws' weights may exceed 1 in the last digits.
        p_start = min(1.0, float(self._runnable.p(one_hot)[0] * self._memory.p([choice.point])[0]))
        if not choice.predicted:
            return Proposal(choice.point, choice.reason, p_start=p_start)
        models = self._models
        p_limits, gain = min(1.0, float(models.p_limits(one_hot)[0])), models.expected_gains(one_hot)
        proposal = Proposal(
            choice.point,
            choice.reason,
            seconds=float(models.seconds(one_hot, self._warm.of([choice.point]))[0]),
            p_limits=p_limits,
            p_start=p_start,
            limits=models.predict_limits(one_hot),
            gain=None if gain is None else float(gain[0]) * p_limits * p_start,
        )
        predicted = models.predict(one_hot)
        if predicted is not None:
            proposal = replace(proposal, value=predicted[0], interval=predicted[1:])
        return replace(proposal, predictions=tuple(self._in_words(proposal)))

    def _in_words(self, proposal: Proposal) -> Iterator[str]:
        if proposal.value is not None and proposal.interval is not None:
            figure = self._problem.objectives[0].figure
            yield f"predicted {interval_text(proposal.value, *proposal.interval, figure)}"
        if proposal.gain is not None:
            yield f"expected gain {proposal.gain:.1%}" if proposal.gain >= 0.0005 else "expected gain below 0.1%"
        if self._problem.limits:
            yield f"keeps the limits with a probability of {proposal.p_limits:.0%}"
        if proposal.p_start < _CERTAIN:
            yield f"runs with a probability of {proposal.p_start:.0%}"
