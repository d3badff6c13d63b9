"""Alternatives to the best configuration: others that were measured, and what they have for their lower rank."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from autotune_nb.trial.configuration import (
    Configuration,
    best_configuration,
    configuration_key,
    configurations,
    mean,
)
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, configuration_text

#: So many configurations follow the best one, and of those with fewer GPUs the best of each number.
_MOST, _MOST_COUNTED = 5, 100
#: Beyond this share of the best's value a configuration is no alternative to it.
_WORST = 0.5
#: Differences of the objective below this share are not shown, and those of other figures below the second one.
_EQUAL, _WORTH_A_WORD = 0.005, 0.1
#: Other figures to compare, besides those of the limits.
_FIGURES = ("ttft_p99_s", "tpot_mean_s", "e2e_latency_mean_s", "output_tokens_per_s")
_FEWER = {0.5: "half the GPUs", 0.25: "a quarter of the GPUs", 2.0: "twice the GPUs"}


@dataclass(frozen=True)
class Alternative:
    """A configuration that keeps every limit, with the reasons for its rank and for choosing it all the same.

    ``value`` is that of all its starts, with its unit; ``difference`` are its parameters that differ from the best's.
    """

    number: int
    value: str
    reasons: tuple[str, ...]
    difference: str


def alternatives(
    trials: Sequence[Trial],
    objective: Objective,
    gpus: Callable[[Trial], int] | None = None,
    to_run: Trial | None = None,
    ties: Collection[int] = (),
) -> list[Alternative]:
    """Return the other configurations, compared with the best one by the values of the search, the best of them first.

    ``gpus`` returns the number of GPUs of a trial; None if it is unknown. ``to_run`` is a trial of the configuration
    that a confirmation recommends; without it, the best of the search is meant. ``ties`` are the trials of those that
    the confirmation cannot tell apart. With several objectives there are none:
    the Pareto front has them.
    """
    started_again = {trial.configuration_key for trial in trials if trial.in_round}
    trials = [trial for trial in trials if not trial.in_round]
    found = configurations(trials)
    best = found.get(configuration_key(to_run)) if to_run is not None else None
    best = best or best_configuration(trials, objective)
    if best is None or objective.others:
        return []
    feasible = [one for one in found.values() if one.feasible and one != best]
    ranked = sorted(feasible, key=lambda one: (_loss(one, best, objective), one.trial.number))
    others = [one for one in ranked if _loss(one, best, objective) <= _WORST]
    chosen = others[:_MOST]
    fewest = gpus(best.trial) if gpus is not None else 0
    if gpus is not None:
        for one in others[:_MOST_COUNTED]:
            if (count := gpus(one.trial)) < fewest:
                fewest = count
                chosen += [] if one in chosen else [one]
    return [
        Alternative(
            one.trial.number,
            value_text(one.value, objective.figure) + (f", {one.starts_text}" if one.starts_text else ""),
            tuple(
                _reasons(
                    one,
                    best,
                    objective,
                    gpus,
                    is_tie=one.first.number in ties,
                    confirmed=one.first.configuration_key in started_again,
                )
            ),
            _difference(one, best),
        )
        for one in chosen
    ]


def _loss(one: Configuration, best: Configuration, objective: Objective) -> float:
    """Return by which share of the best's value a configuration is worse."""
    if not best.value:
        return 0.0
    ratio = one.value / best.value
    return 1 - ratio if objective.direction == "maximize" else ratio - 1


def _reasons(
    one: Configuration,
    best: Configuration,
    objective: Objective,
    gpus: Callable[[Trial], int] | None,
    *,
    is_tie: bool = False,
    confirmed: bool = False,
) -> Iterator[str]:
    loss = _loss(one, best, objective)
    slower = "slower" if objective.figure.endswith("_s") else "worse"
    if is_tie:
        yield "the confirmation cannot tell it apart"
    elif loss <= -_EQUAL:
        better = "faster" if slower == "slower" else "better"
        yield f"{_percent(-loss)} {better} in the search, {'not in the confirmation' if confirmed else 'not confirmed'}"
    else:
        yield f"{_percent(loss)} {slower}" if loss >= _EQUAL else f"less than {_percent(_EQUAL)} {slower}"
    if len(best.values) > 1 and min(best.values) <= one.value <= max(best.values):
        yield "within the spread of the best's starts"
    if gpus is not None and (own := gpus(one.trial)) != (of_best := gpus(best.trial)):
        yield (_FEWER.get(own / of_best) if of_best else None) or f"{own} GPUs instead of {of_best}"
    if one.baseline:
        yield "the engine's default configuration"
    levels = [c.trial.score.level if c.trial.score else None for c in (one, best)]
    if levels[0] != levels[1]:
        yield f"under {levels[0]} instead of {levels[1]}"
        return
    gains = []
    for name in dict.fromkeys((*(limit.figure for limit in objective.limits), *_FIGURES)):
        value, other = _figure(one, name), _figure(best, name)
        if name != objective.figure and value and other:
            gain = value / other - 1 if "per_s" in name else 1 - value / other
            gains.append((gain, f"{name} {_percent(gain)} {'higher' if 'per_s' in name else 'lower'}"))
    yield from (text for gain, text in sorted(gains, key=lambda pair: -pair[0])[:2] if gain >= _WORTH_A_WORD)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0295 else f"{100 * share:.0f} %"


def _figure(one: Configuration, name: str) -> float | None:
    """Return the mean of a figure over the starts, at the level where each was scored."""
    values = [
        measured.figures[name]
        for trial in one.complete
        for measured in trial.measurements
        if trial.score is not None and measured.level == trial.score.level and name in measured.figures
    ]
    return mean(values) if values else None


def _difference(one: Configuration, best: Configuration) -> str:
    """Format the parameters whose values differ from the best's; those that are not set are the engine's default."""
    if one.baseline:
        return configuration_text({})
    names = [name for name in {**best.params, **one.params} if one.params.get(name) != best.params.get(name)]
    return " ".join(f"{name}={_value(one, name)}" for name in names)


def _value(one: Configuration, name: str) -> str:
    value = one.params.get(name)
    return "(default)" if value is None else str(value)
