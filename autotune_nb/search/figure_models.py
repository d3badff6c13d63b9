"""Models of everything a trial measures: objectives, limits and the time that it takes, each on its logarithm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune_nb.search.base import Observation, Predicted, SearchProblem
from autotune_nb.search.encoding import Encoding, Floats, Ints
from autotune_nb.search.gaussian_process import Ensemble, OneHot, expected_gain, normal_cdf
from autotune_nb.search.previous_studies import PreviousRows
from autotune_nb.search.warm_starts import WARM

#: At most so many trials are fitted: the best half, and the others spread over the rest.
MAX_ROWS = 96
_SMALLEST = 0.05
#: Half the width of a 90 % interval, in standard deviations.
_REACH = 1.645
#: A figure of zero counts as this share of its bound.
_FLOOR = 0.01
#: The weight of the sum in the scalarization of several objectives.
_SUM = 0.05


class FigureModels:
    """The models of one problem, fitted to its complete trials."""

    def __init__(self, problem: SearchProblem, encoding: Encoding) -> None:
        self._problem = problem
        self._one_hot = OneHot(encoding.dimensions)
        dimensions = encoding.dimensions
        self._signs = np.array([1.0 if o.direction == "maximize" else -1.0 for o in problem.objectives])
        self._upper = np.array([limit.operator == "<=" for limit in problem.limits], dtype=bool)
        self._previous = PreviousRows(problem, encoding)
        self._objective = Ensemble(dimensions, 1)
        self._limits = [Ensemble(dimensions, 2 + k) for k in range(len(problem.limits))]
        caches = (WARM,) if problem.compile_parameters else ()
        self._seconds = Ensemble((*dimensions, *caches), 99, draws=16, kept=1)

    def utilities(self, complete: Sequence[Observation], weights: Floats) -> Floats:
        """Return one number a trial, larger is better: the objective's logarithm, or a scalarization of several."""
        values = np.array([o.values for o in complete], dtype=float).reshape(len(complete), -1)
        self._logarithmic = bool((values > 0).all())
        scaled: Floats = (np.log(values) if self._logarithmic else values) * self._signs
        if scaled.shape[1] == 1:
            return scaled[:, 0]
        low, high = scaled.min(0), scaled.max(0)
        shares = (scaled - low) / np.maximum(high - low, 1e-9) * weights
        result: Floats = shares.min(1) + _SUM * shares.sum(1)
        return result

    def excess_logarithms(self, complete: Sequence[Observation]) -> Floats:
        """Return by trial and limit the logarithm of figure over bound, at most 0 if the limit is kept."""
        excess = np.array([o.excess for o in complete], dtype=float).reshape(len(complete), len(self._limits))
        upper = np.log(np.maximum(1 + excess, _FLOOR))
        lower = -np.log(np.maximum(1 - excess, _FLOOR))
        result: Floats = np.where(self._upper, upper, lower)
        return result

    def fit(
        self,
        complete: Sequence[Observation],
        codes: Ints,
        weights: Floats,
        *,
        noisy: bool,
        warm: frozenset[int] = frozenset(),
    ) -> None:
        """Fit the models; ``warm`` has the numbers of trials with a warm start. Raises LinAlgError if that fails."""
        complete, codes, y = self.fit_objective(complete, codes, weights)
        one_hot = self._one_hot(codes)
        own, previous = self.excess_logarithms(complete), self.excess_logarithms(self._previous.observations)
        shifted = [self._previous.aligned(previous[:, k], codes, own[:, k]) for k in range(len(self._limits))]
        excess = np.concatenate([own, np.column_stack([*shifted, np.empty((len(previous), 0))])])
        self._limit_scales = np.maximum(np.sqrt((excess**2).mean(0)), _SMALLEST)
        for k, model in enumerate(self._limits):
            self._fit_related(model, codes, excess[:, k] / self._limit_scales[k])
        seconds = np.log(np.maximum([o.seconds for o in complete], 1e-3))
        self._mean_seconds, self._seconds_scale = float(seconds.mean()), max(float(seconds.std()), _SMALLEST)
        was_warm = np.array([o.number in warm for o in complete], dtype=np.int64)
        warm_codes = np.column_stack((codes, was_warm)) if self._problem.compile_parameters else codes
        self._seconds.fit(
            self._with_warm(one_hot, was_warm), warm_codes, (seconds - seconds.mean()) / self._seconds_scale
        )
        kept = [i for i, o in enumerate(complete) if o.feasible]
        #: The standardized utility to beat; None while no trial keeps every limit.
        self.bar: float | None = None
        self.best: Observation | None = None
        if kept:
            inside = y[kept]
            if noisy:
                mean, _, weight = self._objective.predict(one_hot[kept])
                inside = (weight * mean).sum(0)
            self.bar, self.best = float(inside.max()), complete[kept[int(inside.argmax())]]

    def fit_objective(
        self, complete: Sequence[Observation], codes: Ints, weights: Floats
    ) -> tuple[Sequence[Observation], Ints, Floats]:
        """Fit the model of the objective alone, and return the trials that it is fitted to, with standardized values.

        Raises LinAlgError if that fails.
        """
        both = self.utilities([*complete, *self._previous.observations], weights)
        utilities, previous = both[: len(complete)], both[len(complete) :]
        rows = _rows(complete, utilities)
        complete, codes, utilities = [complete[i] for i in rows], codes[rows], utilities[rows]
        everything = np.concatenate([utilities, self._previous.aligned(previous, codes, utilities)])
        self._mean, self._scale = float(everything.mean()), max(float(everything.std()), _SMALLEST)
        y = (everything - self._mean) / self._scale
        self.uses_previous = self._fit_related(self._objective, codes, y)
        return complete, codes, y[: len(complete)]

    def _fit_related(self, model: Ensemble, codes: Ints, y: Floats) -> bool:
        """Fit the figures of the own trials and of previous studies, or if these mislead, of the own ones alone.

        They mislead if the own figures are less likely given theirs. Return whether they are used.
        """
        n = len(codes)
        model.fit(self._one_hot(codes), codes, y[:n])
        if not len(self._previous):
            return False
        alone = model.evidence
        before, all_codes = self._previous.codes, np.concatenate([codes, self._previous.codes])
        studies = np.concatenate([np.zeros(n, dtype=np.int64), self._previous.studies])
        model.fit(self._one_hot(before), before, y[n:], studies[n:])
        previous = model.evidence
        model.fit(self._one_hot(all_codes), all_codes, y, studies)
        if model.evidence - previous >= alone:
            return True
        model.fit(self._one_hot(codes), codes, y[:n])
        return False

    def p_limits(self, one_hot: Floats, kept: int | None = None) -> Floats:
        """Return the probability that each point keeps every limit."""
        p = np.ones(len(one_hot))
        for model in self._limits:
            mean, deviation, weight = model.predict(one_hot, kept)
            p = p * (weight * normal_cdf(-mean / deviation)).sum(0)
        return p

    def _with_warm(self, one_hot: Floats, warm: Ints) -> Floats:
        return np.column_stack((one_hot, 1 - warm, warm)) if self._problem.compile_parameters else one_hot

    def seconds(self, one_hot: Floats, warm: Ints) -> Floats:
        """Return the predicted seconds of a trial of each point; ``warm`` is 1 for warm starts, else 0."""
        mean = self._seconds.predict_mean(self._with_warm(one_hot, warm), 1)
        result: Floats = np.exp(self._mean_seconds + self._seconds_scale * mean)
        return result

    def gain(self, one_hot: Floats, kept: int | None = None) -> Floats:
        """Return the expected improvement over the best; 1 before any trial keeps every limit."""
        if self.bar is None:
            return np.ones(len(one_hot))
        mean, deviation, weight = self._objective.predict(one_hot, kept)
        result: Floats = (weight * deviation * expected_gain((mean - self.bar) / deviation)).sum(0)
        return result

    def expected_gains(self, one_hot: Floats) -> Floats | None:
        """Return the expected improvement of each point over the best as a share of the best value.

        The expected logarithm of their ratio, which is that share as long as it is small; None if there is no best,
        with several objectives, or with values that have no logarithm.
        """
        if self.bar is None or len(self._signs) > 1 or not self._logarithmic:
            return None
        return self._scale * self.gain(one_hot)

    def values(self, one_hot: Floats) -> Floats:
        """Return the predicted value of each point, with one objective."""
        mean, _, weight = self._objective.predict(one_hot)
        utilities = self._signs[0] * (self._mean + self._scale * (weight * mean).sum(0))
        result: Floats = np.exp(utilities) if self._logarithmic else utilities
        return result

    def predict(self, one_hot: Floats) -> Predicted | None:
        """Return the predicted value of one point and its 90 % interval; None with several objectives."""
        if len(self._signs) > 1:
            return None
        return self._value(*_interval(*self._objective.predict(one_hot)))

    def predict_average(self, one_hot: Floats, codes: Ints) -> Predicted | None:
        """Return the value predicted on average over points, the geometric mean, and its 90 % interval."""
        if len(self._signs) > 1:
            return None
        return self._value(*_interval(*self._objective.predict_average(one_hot, codes)))

    def predict_limits(self, one_hot: Floats) -> tuple[Predicted, ...]:
        """Return the predicted figure of each limit at one point, with its 90 % interval."""
        predicted = []
        for model, limit, scale in zip(self._limits, self._problem.limits, self._limit_scales, strict=True):
            sign = 1.0 if limit.operator == "<=" else -1.0
            # The model has the logarithm of figure over bound, which only bounds above 0 have.
            bound = limit.bound if limit.bound > 0 else np.nan
            a, b, c = (bound * float(np.exp(sign * scale * x)) for x in _interval(*model.predict(one_hot)))
            predicted.append((a, min(b, c), max(b, c)))
        return tuple(predicted)

    def _value(self, *standardized: float) -> Predicted:
        three = [self._signs[0] * (self._mean + self._scale * x) for x in standardized]
        value, a, b = (float(np.exp(x)) if self._logarithmic else float(x) for x in three)
        return value, min(a, b), max(a, b)


def _interval(mean: Floats, deviation: Floats, weight: Floats) -> Predicted:
    """Return the mean over all draws of one prediction, and the ends of its 90 % interval."""
    middle = float((weight * mean).sum())
    variance = float((weight * (deviation**2 + mean**2)).sum()) - middle**2
    reach = _REACH * float(np.sqrt(max(variance, 0.0)))
    return middle, middle - reach, middle + reach


def _rows(complete: Sequence[Observation], utilities: Floats) -> list[int]:
    if len(complete) <= MAX_ROWS:
        return list(range(len(complete)))
    order = sorted(range(len(complete)), key=lambda i: (not complete[i].feasible, -utilities[i]))
    half = MAX_ROWS // 2
    spread = np.linspace(0, len(order) - half - 1, MAX_ROWS - half).astype(int)
    return order[:half] + [order[half + k] for k in spread]
