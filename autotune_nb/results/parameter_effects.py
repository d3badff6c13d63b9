"""What each parameter did: the median of the objective by its value, as the trials of the search measured it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.task.restriction import value_text as parameter_text
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

#: The most values with a median of their own; of more numbers there are ranges with about as many trials each.
_MAX_VALUES, _RANGES = 6, 3
#: The most parameters, the most important ones.
_MAX_PARAMETERS = 20


@dataclass(frozen=True)
class Group:
    """The trials with one value of a parameter, or with a range of values: their median and how many broke a limit or
    failed. Without a complete trial ``median`` is empty."""

    label: str
    median: str
    trials: int
    broken: int = 0
    failed: int = 0

    @property
    def text(self) -> str:
        """Such as ``512: 1,843 tokens/s (4 trials, 1 broke a limit)``."""
        counts = [f"{self.trials} trial{'s' * (self.trials != 1)}"]
        counts += [f"{self.broken} broke a limit"] if self.broken else []
        counts += [f"{self.failed} failed"] if self.failed else []
        return f"{self.label}: {self.median + ' ' if self.median else ''}({', '.join(counts)})"


@dataclass(frozen=True)
class Effect:
    """A parameter: its share of what distinguishes the best trials (None if unknown), and its groups of values."""

    parameter: str
    share: float | None
    best: str
    groups: tuple[Group, ...]


def parameter_effects(
    trials: Sequence[Trial], best: Trial | None, objective: Objective, importances: Mapping[str, float]
) -> list[Effect]:
    """Return the effects of the parameters that the search varied, the most important first."""
    searched = [trial for trial in trials if trial.state.finished and not trial.baseline and not trial.in_round]
    names = dict.fromkeys(name for trial in searched for name in trial.params)
    found = []
    for name in sorted(names, key=lambda name: -importances.get(name, 0.0)):
        own = [trial for trial in searched if name in trial.params]
        texts = [_text(trial.params[name]) for trial in own]
        distinct = {text: trial.params[name] for text, trial in zip(texts, own, strict=True)}
        if len(distinct) < 2:
            continue
        of_best = "" if best is None else "default" if best.baseline else _text(best.params.get(name))
        groups = tuple(_group(label, same, objective) for label, same in _grouped(name, own, texts, distinct))
        found.append(Effect(name, importances.get(name), of_best, groups))
    return found[:_MAX_PARAMETERS]


def _text(value: Any) -> str:
    return "default" if value is None else f"{value:.4g}" if isinstance(value, float) else parameter_text(value)


def _grouped(
    name: str, trials: Sequence[Trial], texts: Sequence[str], distinct: Mapping[str, Any]
) -> list[tuple[str, list[Trial]]]:
    """Return the trials by value; of many numbers by range, of many texts by the most frequent ones."""
    by_text: dict[str, list[Trial]] = {text: [] for text in distinct}
    for text, trial in zip(texts, trials, strict=True):
        by_text[text].append(trial)
    numbers = {text: float(value) for text, value in distinct.items() if _is_number(value)}
    if len(distinct) <= _MAX_VALUES or len(numbers) <= _MAX_VALUES:
        ordered = sorted(by_text, key=lambda text: (text not in numbers, numbers.get(text, 0), -len(by_text[text])))
        return [(text, by_text[text]) for text in ordered[:_MAX_VALUES]]
    ascending = sorted(numbers, key=lambda text: numbers[text])
    measured = [trial for text in ascending for trial in by_text[text]]
    found: list[tuple[str, list[Trial]]] = []
    for i in range(_RANGES):
        part = measured[i * len(measured) // _RANGES : (i + 1) * len(measured) // _RANGES]
        if part:
            found.append((f"{_text(part[0].params[name])} to {_text(part[-1].params[name])}", part))
    return [*found, *((text, own) for text, own in by_text.items() if text not in numbers)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _group(label: str, trials: Sequence[Trial], objective: Objective) -> Group:
    values = [trial.score.value for trial in trials if trial.state.scored and trial.score is not None]
    broken = sum(1 for trial in trials if trial.state.scored and trial.score and not trial.score.feasible)
    failed = sum(1 for trial in trials if trial.failure is not None)
    median = value_text(statistics.median(values), objective.figure) if values else ""
    return Group(label, median, len(trials), broken, failed)
