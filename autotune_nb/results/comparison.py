"""The best configuration beside the engine's default, figure by figure, each with its spread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.measurement import STATISTICS, Measurement
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState

_TIMES = {"ttft": "time to first token", "tpot": "time per output token", "e2e_latency": "end-to-end latency"}
#: The statistics of a level's requests that have neighbours, in their order.
_ORDERED = ("min", "p25", "p50", "p75", "p90", "p95", "p99", "max")
_OVER_REQUESTS = re.compile(rf"(?P<stem>.+)_(?P<statistic>{'|'.join(STATISTICS)})(?P<unit>_s)?")
_SPEED = "request_output_tokens_per_s"
_RATES = {
    "output_tokens_per_s": "output tokens",
    "total_tokens_per_s": "input and output tokens",
    "requests_per_s": "requests",
}


@dataclass(frozen=True)
class Row:
    """One figure: in words with its unit and spread for each column, and how the best stands against the default."""

    figure: str
    meaning: str
    told: tuple[str, ...]
    change: str = ""


@dataclass(frozen=True)
class Comparison:
    """``columns`` are the engine's default and the best, or the one of them that there is: whose it is, and the level
    at which it was scored."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def default_trial(trials: Sequence[Trial]) -> Trial | None:
    """The engine's default configuration, where it was measured."""
    return next((t for t in trials if t.baseline and t.state is TrialState.COMPLETE and t.score), None)


def compare(trials: Sequence[Trial], best: Trial | None, objective: Objective) -> Comparison | None:
    """The best against the default; one alone where the other is missing or the same, None where both are missing."""
    default = default_trial(trials)
    asked = [("engine's default", default)]
    if best is not None and not (default is not None and best.number == default.number):
        asked.append((f"trial {best.number}", best))
    found = [
        (name, level, _repeats(trials, trial))
        for name, trial in asked
        if trial is not None and (level := scored_level(trial)) is not None
    ]
    if not found:
        return None
    rows = [_row(name, meaning, found) for name, meaning in _figures(objective).items()]
    columns = tuple((name, str(level.level)) for name, level, _ in found)
    return Comparison(columns, tuple(row for row in rows if row is not None))


def _repeats(trials: Sequence[Trial], trial: Trial) -> list[Trial]:
    """The other trials that measured the same configuration."""
    same = (dict(trial.params), trial.baseline)
    done = [t for t in trials if t.state is TrialState.COMPLETE and t.number != trial.number]
    return [t for t in done if (dict(t.params), t.baseline) == same]


def scored_level(trial: Trial) -> Measurement | None:
    """The measurement that a trial's objective was read from."""
    if trial.score is None:
        return None
    return next((m for m in trial.measurements if m.level == trial.score.level), None)


def _figures(objective: Objective) -> dict[str, str]:
    """The objective's figure and those of the limits first, then the usual ones; a mean stands for its time."""
    asked = dict.fromkeys((objective.figure, *(limit.figure for limit in objective.limits)))
    # A level's throughput is one number; how fast a request gets its tokens is told by each of them.
    speed = {f"{_SPEED}_mean": _meaning(f"{_SPEED}_mean")}
    usual = {**_RATES, **speed, **{f"{name}_mean_s": meaning for name, meaning in _TIMES.items()}}
    names = {**{name: _meaning(name) for name in asked}, **usual}
    names.pop("total_tokens_per_s" if "total_tokens_per_s" not in asked else "", None)
    return names


def _meaning(figure: str) -> str:
    if figure in _RATES:
        return _RATES[figure]
    if figure.startswith(f"{_SPEED}_"):
        return f"output tokens of one request, {figure.removeprefix(f'{_SPEED}_')}".removesuffix(", mean")
    time = next((word for word in _TIMES if figure.startswith(f"{word}_")), None)
    if time is None:
        return figure
    return f"{_TIMES[time]}, {figure.removeprefix(f'{time}_').removesuffix('_s')}".removesuffix(", mean")


def _row(figure: str, meaning: str, found: Sequence[tuple[str, Measurement, list[Trial]]]) -> Row | None:
    values = [level.figures.get(figure) for _, level, _ in found]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    before, after = known[0], known[-1]
    change = "" if len(known) == 1 else f"{after / before:.2f} times" if before else "from 0"
    return Row(figure, meaning, tuple(_told(figure, level, again) for _, level, again in found), change)


def _told(figure: str, measured: Measurement, again: Sequence[Trial]) -> str:
    """A figure with the spread that is known of it, and what it was where the same configuration was measured again."""
    spread = _spread(figure, measured)
    text = f"{value_text(measured.figures[figure], figure)}{spread}"
    levels = [(t.number, m.figures.get(figure)) for t in again for m in t.measurements if m.level == measured.level]
    seen = [f"{value_text(value, figure)} in trial {number}" for number, value in levels if value is not None]
    if seen:
        return f"{text}; again: {', '.join(seen)}"
    return text if spread else f"{text}, measured once"


def _spread(figure: str, measured: Measurement) -> str:
    """Over a level's requests: the deviation and the tail beside a mean, beside a percentile its neighbours. What is
    one number for the whole level has none."""
    found = _OVER_REQUESTS.fullmatch(figure)
    if found is None:
        return ""

    def other(statistic: str) -> str:
        value = measured.figures.get(f"{found['stem']}_{statistic}{found['unit'] or ''}")
        return "" if value is None else value_text(value, figure)

    statistic = found["statistic"]
    if statistic == "mean":
        deviation, tail = other("stddev"), other("p99")
        return (f" ± {deviation}" if deviation else "") + (f" (p99 {tail})" if tail else "")
    if statistic not in _ORDERED:
        return ""
    place = _ORDERED.index(statistic)
    beside = [(name, other(name)) for name in (*_ORDERED[max(0, place - 1) : place], *_ORDERED[place + 1 : place + 2])]
    told = ", ".join(f"{name} {text}" for name, text in beside if text)
    return f" ({told})" if told else ""
