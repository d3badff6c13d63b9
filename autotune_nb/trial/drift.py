"""Drift: whether the engine's default had other values at other times, so that trials cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotune_nb.trial.configuration import configurations
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.trial import Trial, TrialState

#: The standard deviation of the logarithm of values between starts, if repeats do not show it; and how many repeats do.
_NOISE, _MIN_REPEATS = 0.05, 3
#: Two starts differ by more than noise if their logarithms differ by more than so many standard deviations.
_SIGNIFICANT = 3.0


@dataclass(frozen=True)
class Period:
    """Consecutive trials at whose time the engine's default had this value, the mean of its starts then."""

    trials: tuple[int, ...]
    defaults: tuple[int, ...]
    value: float


def periods(trials: Sequence[Trial]) -> list[Period]:
    """Return the periods in which the engine's default had values that differ by more than noise.

    A trial belongs to the period of the default that is nearest to it in the order of trials. There is one period if
    the default did not drift, none if it was not measured.
    """
    defaults = [t for t in trials if t.baseline and t.state is TrialState.COMPLETE and t.score is not None]
    groups: list[list[Trial]] = []
    between_starts = difference_limit(trials)
    for default in sorted(defaults, key=lambda t: t.number):
        # The levels of both may be too short to tell them apart.
        within = _SIGNIFICANT * math.hypot(_error([default]), _error(groups[-1])) if groups else 0.0
        if groups and abs(_log(default) - _mean_log(groups[-1])) <= math.hypot(between_starts, within):
            groups[-1].append(default)
        else:
            groups.append([default])
    found = []
    for group in groups:
        numbers = tuple(default.number for default in group)
        ours = tuple(t.number for t in trials if _nearest(t, defaults).number in numbers)
        found.append(Period(ours, numbers, math.exp(_mean_log(group))))
    return found


def _nearest(trial: Trial, defaults: Sequence[Trial]) -> Trial:
    return min(defaults, key=lambda default: (abs(default.number - trial.number), default.number))


def difference_limit(trials: Sequence[Trial]) -> float:
    """Return by how much the logarithms of two starts' values differ at most if only noise separates them.

    The noise is that of the configurations that were started repeatedly, without the default.
    """
    squares, freedom = 0.0, 0
    for one in configurations(trials).values():
        if not one.baseline and len(one.complete) > 1:
            logs = [_log(trial) for trial in one.complete]
            middle = math.fsum(logs) / len(logs)
            squares += math.fsum((value - middle) ** 2 for value in logs)
            freedom += len(logs) - 1
    noise = math.sqrt(squares / freedom) if freedom >= _MIN_REPEATS else _NOISE
    return _SIGNIFICANT * math.sqrt(2) * max(noise, 0.01)


def drift_text(trials: Sequence[Trial]) -> str:
    """Return in a sentence or two which trials cannot be compared with each other; empty if all can."""
    found = periods(trials)
    if len(found) < 2:
        return ""
    figure = next(iter(next(t.score.values for t in trials if t.score is not None)))
    values = ", then ".join(
        f"{value_text(one.value, figure)} in trial{'s' * (len(one.defaults) > 1)} {numbers_text(one.defaults)}"
        for one in found
    )
    groups = " with ".join(f"trials {numbers_text(one.trials)}" for one in found)
    return (
        f"The engine's default changed by more than noise while the study ran: {values}. Do not compare {groups}: "
        "something other than the configuration changed, such as the load of the machine."
    )


def numbers_text(numbers: Iterable[int]) -> str:
    """Format trial numbers: ``0 to 5, 8``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _log(trial: Trial) -> float:
    assert trial.score is not None
    return math.log(max(trial.score.value, 1e-12))


def _error(trials: Sequence[Trial]) -> float:
    """Return the standard error of the mean of their values as a share of it, as far as their levels have one."""
    errors = [
        one.error or 0.0
        for trial in trials
        for one in trial.measurements
        if trial.score is not None and one.level == trial.score.level
    ]
    return math.sqrt(math.fsum(error**2 for error in errors)) / (len(errors) or 1)


def _mean_log(trials: Sequence[Trial]) -> float:
    return math.fsum(map(_log, trials)) / len(trials)
