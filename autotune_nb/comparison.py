"""The best configuration beside the engine's default, figure by figure, each with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.measurement import Measurement
from autotune_nb.score import Objective
from autotune_nb.table import value_text
from autotune_nb.trial import Trial, TrialState

_TIMES = {"ttft": "time to first token", "tpot": "time per output token", "e2e_latency": "end-to-end latency"}
_RATES = {
    "output_tokens_per_s": "output tokens",
    "total_tokens_per_s": "input and output tokens",
    "requests_per_s": "requests",
}


@dataclass(frozen=True)
class Row:
    """One figure of both: in words with its unit and spread, and how the best stands against the default."""

    figure: str
    meaning: str
    default: str
    best: str
    change: str


@dataclass(frozen=True)
class Comparison:
    """``rows`` is empty where there is nothing to compare with; the levels are those at which each was scored."""

    default_level: str
    best_level: str
    rows: tuple[Row, ...] = ()


def default_trial(trials: Sequence[Trial]) -> Trial | None:
    """The engine's default configuration, where it was measured."""
    return next((t for t in trials if t.baseline and t.state is TrialState.COMPLETE and t.score), None)


def compare(trials: Sequence[Trial], best: Trial | None, objective: Objective) -> Comparison | None:
    """The best against the default; None where either is missing."""
    default = default_trial(trials)
    if best is None or default is None:
        return None
    ours, theirs = scored_level(best), scored_level(default)
    if ours is None or theirs is None:
        return None
    rows = [_row(name, meaning, theirs, ours) for name, meaning in _figures(objective).items()]
    return Comparison(str(theirs.level), str(ours.level), tuple(row for row in rows if row is not None))


def scored_level(trial: Trial) -> Measurement | None:
    """The measurement that a trial's objective was read from."""
    if trial.score is None:
        return None
    return next((m for m in trial.measurements if m.level == trial.score.level), None)


def _figures(objective: Objective) -> dict[str, str]:
    """The objective's figure and those of the limits first, then the usual ones; a mean stands for its time."""
    asked = dict.fromkeys((objective.figure, *(limit.figure for limit in objective.limits)))
    usual = {**_RATES, **{f"{name}_mean_s": meaning for name, meaning in _TIMES.items()}}
    names = {**{name: _meaning(name) for name in asked}, **usual}
    names.pop("total_tokens_per_s" if "total_tokens_per_s" not in asked else "", None)
    return names


def _meaning(figure: str) -> str:
    if figure in _RATES:
        return _RATES[figure]
    time = next((word for word in _TIMES if figure.startswith(f"{word}_")), None)
    if time is None:
        return figure
    return f"{_TIMES[time]}, {figure.removeprefix(f'{time}_').removesuffix('_s')}".removesuffix(", mean")


def _row(figure: str, meaning: str, default: Measurement, best: Measurement) -> Row | None:
    before, after = default.figures.get(figure), best.figures.get(figure)
    if before is None or after is None:
        return None
    change = f"{after / before:.2f} times" if before else "from 0"
    return Row(figure, meaning, _told(figure, default), _told(figure, best), change)


def _told(figure: str, measured: Measurement) -> str:
    """A figure; a mean with the standard deviation over the level's requests and the 99th percentile."""
    text = value_text(measured.figures[figure], figure)
    if not figure.endswith("_mean_s"):
        return text
    name = figure.removesuffix("_mean_s")
    spread, tail = measured.figures.get(f"{name}_stddev_s"), measured.figures.get(f"{name}_p99_s")
    if spread is not None:
        text += f" ± {value_text(spread, figure)}"
    return f"{text} (p99 {value_text(tail, figure)})" if tail is not None else text
