"""Compares the best configuration with the engine's default, figure by figure, each with its spread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.trial.configuration import configuration_key, configurations, default_configuration, mean
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.measurement import STATISTICS, Measurement
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

_TIMES = {"ttft": "time to first token", "tpot": "time per output token", "e2e_latency": "end-to-end latency"}
#: The order statistics over the requests of a level, in ascending order.
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
    """One figure: its value with unit and spread in each column, and the ratio of the best to the default."""

    figure: str
    meaning: str
    cells: tuple[str, ...]
    change: str = ""


@dataclass(frozen=True)
class Comparison:
    """A table with a column for the engine's default and one for the best, or only the one that exists.

    ``columns`` are the name of each and the level at which it was scored.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def compare(trials: Sequence[Trial], best: Trial | None, objective: Objective) -> Comparison | None:
    """Compare the best with the default; with one column if the other is missing or the same, None without either.

    Figures are means over all starts of a configuration, or over those of the confirmation if both are in it.
    """
    default = default_configuration(trials)
    compared = [("engine's default", default)]
    if best is not None and not (default is not None and configuration_key(best) == configuration_key(default.trial)):
        compared.append((f"trial {best.number}", configurations(trials).get(configuration_key(best))))
    if all(one is not None and one.in_confirmation for _, one in compared):
        compared = [(name, one and one.confirmed) for name, one in compared]
    measured = [
        (name, level, [m for t in one.complete for m in t.measurements if m.level == level.level])
        for name, one in compared
        if one is not None and (level := one.trial.scored_measurement) is not None
    ]
    if not measured:
        return None
    rows = [_row(name, meaning, measured) for name, meaning in _figures(objective).items()]
    columns = tuple((name, str(level.level)) for name, level, _ in measured)
    return Comparison(columns, tuple(row for row in rows if row is not None))


def _figures(objective: Objective) -> dict[str, str]:
    """Return the figures to compare with their meanings: those of the objective and the limits first."""
    own = dict.fromkeys((*objective.figures, *(limit.figure for limit in objective.limits)))
    # Unlike a level's throughput, the speed of single requests has a spread.
    speed = {f"{_SPEED}_mean": _meaning(f"{_SPEED}_mean")}
    common = {**_RATES, **speed, **{f"{name}_mean_s": meaning for name, meaning in _TIMES.items()}}
    names = {**{name: _meaning(name) for name in own}, **common}
    names.pop("total_tokens_per_s" if "total_tokens_per_s" not in own else "", None)
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


def _row(figure: str, meaning: str, measured: Sequence[tuple[str, Measurement, list[Measurement]]]) -> Row | None:
    values = [[m.figures[figure] for m in starts if figure in m.figures] for _, _, starts in measured]
    if not all(values):
        return None
    before, after = mean(values[0]), mean(values[-1])
    change = "" if len(values) == 1 else f"{after / before:.2f} times" if before else "from 0"
    if change and min(map(len, values)) == 1:
        change += ", measured once"
    cells = (_cell(figure, level, of_starts) for (_, level, _), of_starts in zip(measured, values, strict=True))
    return Row(figure, meaning, tuple(cells), change)


def _cell(figure: str, measured: Measurement, values: Sequence[float]) -> str:
    """Format a figure with its spread; of several starts their mean and their range."""
    text = value_text(mean(values), figure)
    if len(values) > 1:
        low, high = value_text(min(values), figure), value_text(max(values), figure)
        return f"{text}, mean of {len(values)} starts ({low} to {high})"
    spread = _spread(figure, measured)
    return f"{text}{spread}" if spread else f"{text}, measured once"


def _spread(figure: str, measured: Measurement) -> str:
    """Format the spread of a figure over the requests of a level; of a throughput its standard error, if it is known.

    For a mean it is the standard deviation and p99, for an order statistic the next lower and higher one.
    """
    found = _OVER_REQUESTS.fullmatch(figure)
    if found is None:
        error = measured.steady.get(f"{figure}_error")
        return "" if error is None else f" ± {value_text(error, figure)}"

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
    text = ", ".join(f"{name} {value}" for name, value in beside if value)
    return f" ({text})" if text else ""
