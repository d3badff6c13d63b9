"""Cuts a trial short: the order of its load levels, and when those that were measured decide it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotune_nb.trial.configuration import Configuration, configurations
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import Noise

#: A trial is cut only if it is worse than the best, or over a limit, by more than so many standard deviations between
#: starts, as far as repeats show it: two starts of one configuration differ, and repeats may lower the best mean.
_DEVIATIONS = 2.0
#: The same for what a level says about the heavier ones.
_MARGIN_OF_HEAVIER = 0.25
#: The least margin of a study that will start its best configurations again, while fewer than so many repeats show the
#: noise: one that is better by little should be among them, and a cut trial is not. Without a confirmation the best is
#: the best measured in any case.
LEAST_MARGIN, _FEW_REPEATS = 0.03, 4
#: Times that rise with the load; figures that end otherwise, such as rates, may do either.
_TIMES = ("ttft_", "tpot_", "e2e_latency_", "output_latency_")


def is_worse(value: float, best: float, *, maximize: bool, margin: float = 0.0) -> bool:
    """Return whether a value is worse than the best by more than the margin."""
    return math.isfinite(best) and (best - value if maximize else value - best) > margin * abs(best)


def breaks(excess: Iterable[float], margin: float = 0.0) -> bool:
    """Return whether a limit is broken by more than the margin; ``excess`` is by limit, as a share of its bound."""
    return any(one > margin for one in excess)


@dataclass(frozen=True)
class Cutting:
    """The levels of a task's trials in the order in which they decide, and the reason to run no more of them.

    With ``objective.level`` that level runs first and decides. Otherwise the best level that keeps every limit counts,
    so that a trial is decided once no level is left that may count: where times are limited or minimized, lighter
    levels run first, since a level that is too slow rules the heavier ones of its scenario out.
    """

    objective: Objective
    levels: tuple[Level, ...]
    margin: float = 0.0

    @property
    def order(self) -> tuple[Level, ...]:
        """The levels in the order in which they run."""
        objective = self.objective
        if objective.level is not None:
            return (objective.level, *(level for level in self.levels if level != objective.level))
        if not self._times_decide:
            return self.levels
        scenarios = list(dict.fromkeys(level.scenario for level in self.levels))
        return tuple(sorted(self.levels, key=lambda level: (scenarios.index(level.scenario), _load(level))))

    @property
    def _times_decide(self) -> bool:
        objective = self.objective
        minimized = objective.direction == "minimize" and objective.figure.startswith(_TIMES)
        return minimized or any(_limits_a_time(limit) for limit in objective.limits)

    def next_level(self, measured: Sequence[Measurement]) -> Level | None:
        """Return the next level to run; None if every level was measured."""
        done = {one.level for one in measured}
        left = [level for level in self.order if level not in done]
        # Of the levels that may still count, else of the others: a trial that may be the best is measured whole.
        return next((level for level in left if not self._ruled_out(level, measured, None)), left[0] if left else None)

    def reason_to_cut(self, measured: Sequence[Measurement], best: Configuration | None) -> str | None:
        """Return in words why the levels that are left decide nothing; None if they may, or if none is left.

        ``best`` is the best configuration so far. Invalid measurements decide nothing: the trial will fail.
        """
        done = {one.level for one in measured}
        if not all(map(self._is_usable, measured)) or done.issuperset(self.levels):
            return None
        level = self.objective.level
        if level is not None:
            there = next((one for one in measured if one.level == level), None)
            return None if there is None else self._at(there, best, "the level that counts")
        if any(self._at(one, best, "") is None for one in measured):
            # It keeps every limit there, and its value may be the best.
            return None
        if any(not self._ruled_out(one, measured, best) for one in self.levels if one not in done):
            return None
        last = next((self._at(one, best, "the heaviest that ran") for one in reversed(measured)), None)
        return last and f"{last}; heavier levels are slower still"

    def _is_usable(self, one: Measurement) -> bool:
        names = (self.objective.figure, *(limit.figure for limit in self.objective.limits))
        return one.valid and all(name in one.figures for name in names)

    def _at(self, one: Measurement, best: Configuration | None, which: str) -> str | None:
        """Return in words why a level cannot make its trial the best; None if it may."""
        objective, where = self.objective, f"under {one.level}{f', {which}' if which else ''}"
        for limit in objective.limits:
            excess = limit.violation(one) / (abs(limit.bound) or 1.0)
            if breaks((excess,), self.margin):
                return f"breaks {limit} by {excess:.0%} {where}"
        value = one.figures[objective.figure]
        maximize = objective.direction == "maximize"
        if best is None or not is_worse(value, best.value, maximize=maximize, margin=self.margin):
            return None
        shown, top = value_text(value, objective.figure), value_text(best.value, objective.figure)
        return f"{shown} {where}, where trial {best.trial.number} has the best, {top}"

    def _ruled_out(self, level: Level, measured: Sequence[Measurement], best: Configuration | None) -> bool:
        """Return whether a lighter level of its scenario shows that a level is too slow to count."""
        objective = self.objective
        for one in measured:
            if one.level.scenario != level.scenario or _load(one.level) >= _load(level):
                continue
            if any(
                breaks((limit.violation(one) / (abs(limit.bound) or 1.0),), _MARGIN_OF_HEAVIER)
                for limit in objective.limits
                if _limits_a_time(limit) and limit.figure in one.figures
            ):
                return True
            if best is not None and objective.direction == "minimize" and objective.figure.startswith(_TIMES):
                value = one.figures.get(objective.figure)
                if value is not None and is_worse(value, best.value, maximize=False, margin=_MARGIN_OF_HEAVIER):
                    return True
        return False


def margin_of(trials: Sequence[Trial], *, confirmed: bool = False) -> float:
    """Return the margin that suits the differences between a study's repeats, as a share; 0 without repeats.

    If the study will be ``confirmed``, it is at least ``LEAST_MARGIN`` while there are few repeats.
    """
    noise = Noise.of_repeats([one.values for one in configurations(trials).values()])
    least = LEAST_MARGIN if confirmed and noise.degrees < _FEW_REPEATS else 0.0
    return max(least, _DEVIATIONS * (noise.deviation or 0.0))


def _load(level: Level) -> tuple[int, int, float]:
    return level.concurrency, level.batch_size, level.rate


def _limits_a_time(limit: Limit) -> bool:
    return limit.operator == "<=" and limit.figure.startswith(_TIMES)
