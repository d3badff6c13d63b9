"""Configurations: every start of one of them together, since the value of a single start is partly noise."""

from __future__ import annotations

import math
import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from types import MappingProxyType

from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.pareto import front_indices, knee
from autotune_nb.trial.score import Limit, Objective, undecided
from autotune_nb.trial.trial import Trial, TrialState, Value


@dataclass(frozen=True)
class Configuration:
    """The trials that started the engine with the same parameters.

    ``complete`` are those with a score, in the order of their numbers, at least one; ``failed`` is how many failed.
    ``searched`` is the trial that stands for it if ``complete`` has only the starts of a confirmation.
    """

    complete: tuple[Trial, ...]
    failed: int = 0
    searched: Trial | None = None

    @cached_property
    def values(self) -> tuple[float, ...]:
        """The value of the (first) objective of each complete start."""
        return tuple(trial.score.value for trial in self.complete if trial.score)

    @cached_property
    def value(self) -> float:
        """The mean of the starts' values: the geometric one, as ratios are compared."""
        return mean(self.values)

    @cached_property
    def limits(self) -> Mapping[str, float]:
        """How far each limit is broken in the mean of the starts, in the unit of its figure; at most 0 if kept.

        The requests of all starts together decide on limits on percentiles.
        """
        scores = [trial.score.limits for trial in self.complete if trial.score]
        # A limit on the answers is checked in some starts only.
        values = {name: [one[name] for one in scores if name in one] for name in dict.fromkeys(chain(*scores))}
        means = {name: math.fsum(own) / len(own) for name, own in values.items()}
        if len(scores) == 1 or len(self._measured) < len(scores):
            return means
        counted = {name for name in means if all(name in one.beyond for one in self._measured)}
        return means | {name: Limit.parse(name).violation(*self._measured) for name in counted}

    @cached_property
    def _measured(self) -> tuple[Measurement, ...]:
        """The measurements from which the scores were read, as far as they are available."""
        return tuple(one for trial in self.complete if (one := trial.scored_measurement) is not None)

    @cached_property
    def undecided(self) -> Mapping[str, str]:
        """The limits that the requests of all starts leave undecided, each with the numbers of requests."""
        return undecided(self.limits, self._measured)

    @cached_property
    def feasible(self) -> bool:
        """Whether every limit is kept in the mean of the starts, and all of them in at least one start."""
        return all(v <= 0 for v in self.limits.values()) and any(trial.feasible for trial in self.complete)

    @cached_property
    def trial(self) -> Trial:
        """The trial of the search if given, else the start closest to the mean, of those that keep limits if any do."""
        if self.searched is not None:
            return self.searched
        candidates = [trial for trial in self.complete if trial.feasible] or list(self.complete)
        return min(candidates, key=lambda t: (abs(t.score.value - self.value) if t.score else math.inf, t.number))

    @property
    def level(self) -> Level | None:
        """The level at which the value of ``trial`` was read."""
        return self.trial.score.level if self.trial.score else None

    @property
    def first(self) -> Trial:
        """The first start that keeps every limit, or the first one."""
        return next((trial for trial in self.complete if trial.feasible), self.complete[0])

    @property
    def in_confirmation(self) -> bool:
        """Whether it was started in a round of the confirmation."""
        return any(trial.in_round for trial in self.complete)

    @cached_property
    def confirmed(self) -> Configuration:
        """Only the starts in the rounds of the confirmation, if there are any: the search prefers lucky values."""
        rounds = tuple(trial for trial in self.complete if trial.in_round)
        others = tuple(trial for trial in self.complete if not trial.in_round)
        return Configuration(rounds, self.failed, Configuration(others).first) if rounds and others else self

    @property
    def figures(self) -> dict[str, float]:
        """The mean of the starts' values by objective."""
        scores = [trial.score.values for trial in self.complete if trial.score]
        return {name: mean([one[name] for one in scores]) for name in scores[0]}

    @property
    def params(self) -> Mapping[str, Value]:
        return self.complete[0].params

    @property
    def baseline(self) -> bool:
        """Whether it is the engine's default configuration."""
        return self.complete[0].baseline

    @property
    def starts_text(self) -> str:
        """Over how many starts the value is the mean, with their range, and how many failed; empty for a single one."""
        parts = []
        if len(self.values) > 1:
            assert self.trial.score is not None
            figure = next(iter(self.trial.score.values))
            low, high = (value_text(value, figure) for value in (min(self.values), max(self.values)))
            parts.append(f"the mean of {len(self.values)} starts, {low} to {high}")
        if self.failed:
            parts.append(f"{self.failed} other start{'s' * (self.failed != 1)} of it failed")
        return "; ".join(parts)


def mean(values: Sequence[float]) -> float:
    """Return the geometric mean, or the arithmetic one if a value is not positive; a single value unchanged."""
    if len(values) == 1:
        return values[0]
    if min(values) <= 0:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def configuration_key(trial: Trial) -> Hashable:
    """Return what the trials of one configuration have in common and no other trial has."""
    return trial.configuration_key


#: The ended trials of the last calls, and their configurations: redraws and cuts ask for the same ones many times, for
#: those of the search alone too.
_recent: tuple[tuple[Sequence[Trial], Mapping[Hashable, Configuration]], ...] = ()
_MOST_RECENT = 8


def configurations(trials: Sequence[Trial]) -> Mapping[Hashable, Configuration]:
    """Return the configurations with at least one score by their keys, in the order of their first trials."""
    global _recent
    ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.FAILED)]
    for known, found in _recent:
        if len(known) == len(ended) and all(map(operator.is_, known, ended)):
            return found
    grouped = MappingProxyType(_grouped(ended, [found for _, found in _recent]))
    # At once, since other threads read it.
    _recent = ((ended, grouped), *_recent[: _MOST_RECENT - 1])
    return grouped


def _grouped(
    trials: Sequence[Trial], recent: Sequence[Mapping[Hashable, Configuration]] = ()
) -> dict[Hashable, Configuration]:
    complete: dict[Hashable, tuple[Trial, ...]] = {}
    failed: dict[Hashable, int] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        if trial.state is TrialState.COMPLETE and trial.score is not None:
            key = configuration_key(trial)
            complete[key] = (*complete.get(key, ()), trial)
        elif trial.state is TrialState.FAILED:
            key = configuration_key(trial)
            failed[key] = failed.get(key, 0) + 1
    return {key: _made(key, starts, failed.get(key, 0), recent) for key, starts in complete.items()}


def _made(
    key: Hashable, starts: tuple[Trial, ...], failed: int, recent: Sequence[Mapping[Hashable, Configuration]]
) -> Configuration:
    """Return the configuration of these starts, the same object as before if nothing was added to it.

    Thousands of new objects for each trial that ends would make the garbage collector stop all threads for long.
    """
    for found in recent:
        known = found.get(key)
        same = known is not None and known.failed == failed and len(known.complete) == len(starts)
        if known is not None and same and all(map(operator.is_, known.complete, starts)):
            return known
    return Configuration(starts, failed)


def best_configuration(trials: Sequence[Trial], objective: Objective) -> Configuration | None:
    """Return the configuration with the best mean of those that keep every limit; the first one in a tie, or None.

    With several objectives it is the knee of the Pareto front.
    """
    if objective.others:
        front = pareto_front(trials, objective)
        return front[knee(_values_of(front, objective), objective.every)] if front else None
    best: Configuration | None = None
    for one in configurations(trials).values():
        best = _better(best, one, objective)
    return best


def pareto_front(trials: Sequence[Trial], objective: Objective) -> list[Configuration]:
    """Return the configurations that keep every limit and that no other one dominates, by the means of their starts.

    They are in the order of the first objective, the best first.
    """
    feasible = [one for one in configurations(trials).values() if one.feasible]
    return [feasible[i] for i in front_indices(_values_of(feasible, objective), objective.every)]


def _values_of(found: Sequence[Configuration], objective: Objective) -> list[tuple[float, ...]]:
    return [tuple(figures[name] for name in objective.figures) for figures in (one.figures for one in found)]


def leaders(trials: Sequence[Trial], objective: Objective) -> list[Configuration | None]:
    """Return the best configuration after each trial; None while none keeps every limit."""
    known: dict[Hashable, Configuration] = {}
    best: Configuration | None = None
    found = []
    for trial in trials:
        key = configuration_key(trial)
        repeated = known.get(key)
        known[key] = one = Configuration((*(repeated.complete if repeated else ()), trial))
        if best is not None and repeated is best:
            # Its mean has changed, so that another one may be better now.
            best = None
            for other in known.values():
                best = _better(best, other, objective)
        else:
            best = _better(best, one, objective)
        found.append(best)
    return found


def _better(best: Configuration | None, one: Configuration, objective: Objective) -> Configuration | None:
    # The value first: of thousands, few are better, and only for those it matters whether they keep every limit.
    return one if (best is None or objective.better(one.value, best.value)) and one.feasible else best


def default_configuration(trials: Sequence[Trial]) -> Configuration | None:
    """Return the engine's default configuration if a trial of it is complete, or None."""
    return next((one for one in configurations([t for t in trials if t.baseline]).values()), None)


def best_trial(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """Return a trial of the best configuration, the one whose value is closest to the configuration's, or None."""
    best = best_configuration(trials, objective)
    return best.trial if best is not None else None
