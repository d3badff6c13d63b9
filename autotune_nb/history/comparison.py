"""Compares two studies configuration by configuration: what moved, and whether that is more than noise."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from autotune_nb.errors import FailureKind, StudyError
from autotune_nb.history.comparability import ComparableStudy, cautions, changes, disturbed, incomparable
from autotune_nb.task.parameters import Value
from autotune_nb.trial.configuration import Configuration, configurations, mean
from autotune_nb.trial.formatting import counts_text
from autotune_nb.trial.measurement import figure_name
from autotune_nb.trial.score import Decision, Limit
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import Noise, chosen_configuration
from autotune_nb.verdict.confirmation import Difference
from autotune_nb.verdict.two_studies import difference_of_starts, log_ratio, mean_difference

ALPHA = 0.05
#: A change below it is none, if the interval shows that.
MARGIN = 0.03
#: Figures of which more is better; of others, such as times and prices, less is.
_MORE = ("per_s", "goodput_share", "quality_agreement", "max_concurrency", "per_gpu")
#: Failures that say nothing about the configuration.
_NOT_ITS_FAULT = (FailureKind.INFRASTRUCTURE, FailureKind.INTERRUPTED)


class Outcome(StrEnum):
    """What two studies show of one configuration."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference"
    UNDECIDED = "undecided"
    #: Repeated starts do not show how much is noise.
    MEASURED_ONCE = "measured once"
    FAILS = "fails now"
    WORKS = "works now"
    BREAKS_LIMIT = "breaks a limit now"
    KEEPS_LIMITS = "keeps every limit now"
    NOT_COMPARABLE = "not comparable"
    ONLY_BEFORE = "only in the first"
    ONLY_AFTER = "only in the second"


#: The outcomes for the worse, which are named first.
REGRESSIONS = (Outcome.FAILS, Outcome.BREAKS_LIMIT, Outcome.WORSE)


@dataclass(frozen=True)
class Side:
    """A configuration in one of the studies: its starts, their values, and how often it failed."""

    starts: tuple[Trial, ...] = ()
    values: tuple[float, ...] = ()
    #: The trial that failed by the configuration's own fault, if no start has a score.
    failed: Trial | None = None
    feasible: bool = False
    breaks: str = ""
    disturbed: str = ""
    #: That of its first trial, with which the study's verdict names it too.
    number: int | None = None

    @property
    def value(self) -> float | None:
        return mean(self.values) if self.values else None

    @property
    def levels(self) -> set[str]:
        """The levels at which its values were read."""
        return {str(trial.score.level) for trial in self.starts if trial.score is not None and trial.score.level}


@dataclass(frozen=True)
class ConfigurationChange:
    """One configuration in both studies. ``change`` and ``interval`` are shares: 0.1 is 10 % more of the figure."""

    params: Mapping[str, Value]
    baseline: bool
    before: Side
    after: Side
    outcome: Outcome
    change: float | None = None
    interval: tuple[float, float] | None = None
    why: str = ""


class StudyComparison:
    """The comparison of two studies, as returned by ``compare``; prints as text, ``frame()`` is its table."""

    def __init__(
        self,
        before: ComparableStudy,
        after: ComparableStudy,
        names: tuple[str, str],
        *,
        figure: str | None = None,
        margin: float = MARGIN,
    ) -> None:
        """Raises StudyError if a study has no trial with a score, TaskError for an unknown figure."""
        self.names, self.margin = names, margin
        self.figure = figure_name(figure) if figure is not None else after.task.goal.figure
        goal = after.task.goal
        self.maximized = goal.direction == "maximize" if self.figure == goal.figure else _more_is_better(self.figure)
        self.studies = (before, after)
        for study, name in zip(self.studies, names, strict=True):
            if not any(_values([trial], self.figure) for trial in study.history if trial.state is TrialState.COMPLETE):
                raise StudyError(
                    f"{name} has no complete trial with {self.figure} to compare ({counts_text(study.history)})"
                )
        self.changes = changes(before, after)
        self.not_comparable = incomparable(before, after, figure)
        self.cautions = tuple(f"{name}: {text}" for name, one in zip(names, self.studies, strict=True)
                              if (text := cautions(one)))  # fmt: skip

    @cached_property
    def noise(self) -> Noise:
        """The noise between starts, pooled over the repeated starts of both studies."""
        noise = Noise()
        for study in self.studies:
            found = configurations([trial for trial in study.history if not disturbed(trial)]).values()
            noise += Noise.of_repeats([_values(one.complete, self.figure) for one in found if len(one.complete) > 1])
        return noise

    @cached_property
    def configurations(self) -> tuple[ConfigurationChange, ...]:
        """Every configuration of either study; those in both first, in the order of the second study's trials."""
        before, after = (_sides(study, self.figure) for study in self.studies)
        shared = [key for key in after if key in before]
        compared = sum(1 for key in shared if before[key].values and after[key].values)
        found = [self._change(before[key], after[key], compared) for key in shared]
        found += [self._change(before.get(key, Side()), after.get(key, Side()), 0)
                  for key in (*before, *after) if not (key in before and key in after)]  # fmt: skip
        return tuple(found)

    @property
    def default(self) -> ConfigurationChange | None:
        """The engine's default configuration, if it is in both studies."""
        return next((one for one in self._shared if one.baseline), None)

    @cached_property
    def best(self) -> tuple[ConfigurationChange | None, ConfigurationChange | None]:
        """The configurations to run according to each study; None if no trial of it keeps every limit."""
        return self._best(0), self._best(1)

    def _best(self, which: int) -> ConfigurationChange | None:
        study = self.studies[which]
        chosen = chosen_configuration(study.history, study.task.goal, study.task.confirmation)
        key = None if chosen is None else _key(chosen.complete[0])
        return next((one for one in self.configurations if _key_of(one) == key), None)

    @cached_property
    def overall(self) -> Difference | None:
        """The mean change of the configurations in both studies, as logarithm; None of fewer than three."""
        pairs = ((one.before.values, one.after.values) for one in self._shared)
        ratios = [ratio for values in pairs if (ratio := log_ratio(*values)) is not None]
        return None if self.not_comparable else mean_difference(ratios, alpha=ALPHA)

    @property
    def _shared(self) -> Iterable[ConfigurationChange]:
        return (one for one in self.configurations if one.before.number is not None and one.after.number is not None)

    def counts(self) -> dict[Outcome, int]:
        """Return how many configurations have each outcome, without outcomes of none."""
        found = {outcome: sum(1 for one in self.configurations if one.outcome is outcome) for outcome in Outcome}
        return {outcome: count for outcome, count in found.items() if count}

    def difference(self, one: ConfigurationChange, comparisons: int) -> Difference | None:
        """Return the difference of a configuration, positive if the second study is better.

        All intervals of so many comparisons hold together.
        """
        found = difference_of_starts(
            one.before.values, one.after.values, self.noise, alpha=ALPHA, comparisons=comparisons
        )
        if found is None or self.maximized:
            return found
        return Difference(-found.estimate, -found.high, -found.low)

    def _change(self, before: Side, after: Side, compared: int) -> ConfigurationChange:
        trial = next(iter((*before.starts, *after.starts)), before.failed or after.failed)
        assert trial is not None
        ratio = log_ratio(before.values, after.values)
        known = difference_of_starts(before.values, after.values, self.noise, alpha=ALPHA, comparisons=compared)
        outcome, why = self._outcome(before, after, known)
        return ConfigurationChange(
            trial.params,
            trial.baseline,
            before,
            after,
            outcome,
            None if ratio is None else math.expm1(ratio),
            None if known is None else (math.expm1(known.low), math.expm1(known.high)),
            why,
        )

    def _outcome(self, before: Side, after: Side, known: Difference | None) -> tuple[Outcome, str]:
        if before.number is None or after.number is None:
            return (Outcome.ONLY_AFTER if before.number is None else Outcome.ONLY_BEFORE), ""
        if before.failed or after.failed:
            if before.failed and after.failed:
                return Outcome.NO_DIFFERENCE, "it fails in both"
            failed = before.failed or after.failed
            return (Outcome.WORKS if before.failed else Outcome.FAILS), str(failed.failure if failed else "")
        if self.not_comparable:
            return Outcome.NOT_COMPARABLE, self.not_comparable[0]
        if text := "; ".join(filter(None, (before.disturbed, after.disturbed))):
            return Outcome.NOT_COMPARABLE, text
        if not (before.values and after.values):
            return Outcome.NOT_COMPARABLE, f"there is no {self.figure} in one of them"
        if before.feasible and after.breaks:
            return Outcome.BREAKS_LIMIT, after.breaks
        levels = before.levels | after.levels
        note = f"read at different levels: {'; '.join(sorted(levels))}" if len(levels) > 1 else ""
        if before.breaks and after.feasible:
            return Outcome.KEEPS_LIMITS, note
        if known is None:
            return Outcome.MEASURED_ONCE, note
        low, high = (known.low, known.high) if self.maximized else (-known.high, -known.low)
        if low > 0 or high < 0:
            return (Outcome.BETTER if low > 0 else Outcome.WORSE), note
        small = math.log1p(self.margin)
        return (Outcome.NO_DIFFERENCE if -small <= low and high <= small else Outcome.UNDECIDED), note


def _more_is_better(figure: str) -> bool:
    return any(part in figure for part in _MORE) and not figure.startswith("usd_")


def _key(trial: Trial) -> Hashable:
    """Return what a configuration has in common in both studies; a parameter without a value is as one left out."""
    values = {name: value for name, value in trial.params.items() if value is not None}
    return trial.with_(params=values).configuration_key


def _key_of(one: ConfigurationChange) -> Hashable:
    trial = next(iter((*one.before.starts, *one.after.starts)), one.before.failed or one.after.failed)
    assert trial is not None
    return _key(trial)


def _values(starts: Sequence[Trial], figure: str) -> tuple[float, ...]:
    found = []
    for trial in starts:
        if trial.score is not None:
            scored = trial.scored_measurement
            value = trial.score.values.get(figure, scored.figures.get(figure) if scored is not None else None)
            found += [] if value is None else [value]
    return tuple(found)


def _sides(study: ComparableStudy, figure: str) -> dict[Hashable, Side]:
    """Return the configurations of a study by their keys, in the order of their first trials."""
    found = {
        _key(one.complete[0]): replace(_side(one.confirmed, figure), number=one.first.number)
        for one in configurations(study.history).values()
    }
    for trial in study.history:
        own = trial.failure is not None and trial.failure.kind not in _NOT_ITS_FAULT
        if trial.state is TrialState.FAILED and own:
            found.setdefault(_key(trial), Side(failed=trial, number=trial.number))
    return found


def _side(one: Configuration, figure: str) -> Side:
    starts = tuple(trial for trial in one.complete if not disturbed(trial))
    text = "" if starts else disturbed(one.complete[0])
    starts = starts or one.complete
    return Side(starts, _values(starts, figure), None, one.feasible, _broken(one), text)


def _broken(one: Configuration) -> str:
    """Return the limits that a configuration is shown to break: by its requests, or by two starts or more."""
    broken = [name for name, violation in one.limits.items() if violation > 0]
    measured = [found for trial in one.complete if (found := trial.scored_measurement) is not None]
    shown = []
    for name in broken:
        decision = Limit.parse(name).decision(*measured) if measured else None
        every = all(trial.score is not None and trial.score.limits.get(name, 0.0) > 0 for trial in one.complete)
        if decision is Decision.BROKEN or (decision is None and every and len(one.complete) > 1):
            shown.append(name)
    return ", ".join(shown)


def to_dict(one: ConfigurationChange) -> dict[str, Any]:
    """Return a configuration's change for JSON."""
    return {
        "trials": [one.before.number, one.after.number],
        "params": dict(one.params),
        "baseline": one.baseline,
        "values": [one.before.value, one.after.value],
        "starts": [len(one.before.values), len(one.after.values)],
        "change": one.change,
        "interval": None if one.interval is None else list(one.interval),
        "outcome": str(one.outcome),
        "why": one.why,
    }
