"""Compares the best configuration with the engine's default, figure by figure, each with its spread."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotune_nb.results.figure_words import direction_of, meaning_of, ratio_noun
from autotune_nb.trial.configuration import configuration_key, configurations, default_configuration, mean
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.measurement import STATISTICS, USD_PER_MILLION_TOKENS, Measurement
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

#: The order statistics over the requests of a level, in ascending order.
_ORDERED = ("min", "p25", "p50", "p75", "p90", "p95", "p99", "max")
_OVER_REQUESTS = re.compile(rf"(?P<stem>.+)_(?P<statistic>{'|'.join(STATISTICS)})(?P<unit>_s)?")
#: Figures to compare besides those of objectives and limits, as far as they were measured.
_COMMON = (
    *("output_tokens_per_s", "input_tokens_per_s", "requests_per_s", "request_output_tokens_per_s_mean"),
    *("ttft_mean_s", "tpot_mean_s", "e2e_latency_mean_s", USD_PER_MILLION_TOKENS),
)
#: Ratios closer to 1 are no difference worth a word.
_EQUAL = 0.005


@dataclass(frozen=True)
class Row:
    """One figure: its value with unit and spread in each column, and the best compared with the default in words."""

    figure: str
    meaning: str
    cells: tuple[str, ...]
    change: str = ""
    #: The limits of the task on this figure.
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A table with a column for the engine's default and one for the best, or only the one that exists.

    ``columns`` are the name of each, the level at which it was scored, and how often it was measured.
    """

    columns: tuple[tuple[str, str, str], ...]
    rows: tuple[Row, ...]
    #: Whether a column is the mean of several starts, and whether one was measured once.
    several: bool
    once: bool
    #: Whether a cell has the standard error of a throughput.
    errors: bool = False


def compare(
    trials: Sequence[Trial],
    best: Trial | None,
    objective: Objective,
    gpus: Callable[[Trial], int] | None = None,
    *,
    undecided: bool = False,
) -> Comparison | None:
    """Compare the best with the default; with one column if the other is missing or the same, None without either.

    Figures are means over all starts of a configuration, or over those of the confirmation if both are in it. ``gpus``
    returns the number of GPUs of a trial; None if it is unknown. ``undecided`` is whether a confirmation has not
    decided: then no ratio is called better or worse.
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
    rows = [_row(figure, measured, objective, undecided=undecided) for figure in _figures(objective)]
    rows.append(_gpus_row([gpus(one.trial) for _, one in compared if one is not None]) if gpus is not None else None)
    columns = tuple((name, str(level.level), _times_text(len(starts))) for name, level, starts in measured)
    counts = {len(starts) for _, _, starts in measured}
    shown = tuple(row for row in rows if row is not None)
    errors = any("±" in cell for row in shown for cell in row.cells)
    return Comparison(columns, shown, max(counts) > 1, 1 in counts, errors)


def _times_text(starts: int) -> str:
    return "measured once" if starts == 1 else f"mean of {starts} starts"


def _figures(objective: Objective) -> tuple[str, ...]:
    """Return the figures to compare: those of the objective and the limits first."""
    own = (*objective.figures, *(limit.figure for limit in objective.limits))
    return tuple(dict.fromkeys((*own, *_COMMON)))


def _row(
    figure: str,
    measured: Sequence[tuple[str, Measurement, list[Measurement]]],
    objective: Objective,
    *,
    undecided: bool = False,
) -> Row | None:
    values = [[m.figures[figure] for m in starts if figure in m.figures] for _, _, starts in measured]
    if not all(values):
        return None
    cells = (_cell(figure, level, of_starts) for (_, level, _), of_starts in zip(measured, values, strict=True))
    change = _change(figure, values[0], values[-1], objective, undecided=undecided) if len(values) > 1 else ""
    limits = [limit for limit in objective.limits if limit.figure == figure]
    marked = [
        f"{cell}, breaks the limit" if any(mean([limit.violation(m) for m in starts]) > 0 for limit in limits) else cell
        for cell, (_, _, starts) in zip(cells, measured, strict=True)
    ]
    return Row(figure, meaning_of(figure), tuple(marked), change, tuple(map(str, limits)))


def _gpus_row(counts: Sequence[int]) -> Row | None:
    """Return the row of the GPUs that each holds; None without GPUs."""
    if not any(counts):
        return None
    cells = tuple(f"{count} GPU{'s' * (count != 1)}" for count in counts)
    ratio = counts[-1] / counts[0] if counts[0] else 1.0
    return Row("gpus", "GPUs of the engine", cells, f"{ratio:g} times the GPUs" if ratio != 1 else "the same")


def _change(
    figure: str, default: Sequence[float], best: Sequence[float], objective: Objective, *, undecided: bool
) -> str:
    """Return the best compared with the default in words, such as ``1.22 times the throughput: better``."""
    before, after = mean(default), mean(best)
    if not before:
        return "the same" if not after else "from 0"
    ratio = after / before
    once = min(len(default), len(best)) == 1
    if abs(ratio - 1) < _EQUAL:
        return f"the same{', measured once' * once}"
    direction = direction_of(figure, objective)
    word = "" if direction is None else "better" if (ratio > 1) is (direction == "maximize") else "worse"
    if not once and max(min(default), min(best)) <= min(max(default), max(best)):
        word = "no clear difference"
    elif undecided:
        word = "undecided"
    noun = ratio_noun(figure)
    text = f"{_ratio_text(ratio)} times{f' the {noun}' if noun else ''}{f': {word}' if word else ''}"
    return f"{text}, measured once" if once else text


def _ratio_text(ratio: float) -> str:
    """Format a ratio to two digits after the point, or to two digits if it is small."""
    return f"{ratio:.2g}" if ratio < 0.1 else f"{ratio:.2f}" if ratio < 100 else f"{ratio:,.0f}"


def _cell(figure: str, measured: Measurement, values: Sequence[float]) -> str:
    """Format a figure with its spread; of several starts their mean and their range."""
    text = value_text(mean(values), figure)
    if len(values) > 1:
        low, high = value_text(min(values), figure), value_text(max(values), figure)
        unit = text.partition(" ")[2]
        if unit and low.endswith(f" {unit}") and high.endswith(f" {unit}"):
            low, high = low.removesuffix(f" {unit}"), high.removesuffix(f" {unit}")
        return f"{text} ({low} to {high})" if low != high else text
    return f"{text}{spread_text(figure, measured)}"


def spread_text(figure: str, measured: Measurement) -> str:
    """Format how the requests of a level differ in a figure; of a throughput its standard error, if it is known.

    For a mean it is the median and p99, for an order statistic the next lower and higher one. The standard deviation is
    none of it: times are skewed, and it may exceed their mean.
    """
    found = _OVER_REQUESTS.fullmatch(figure)
    if found is None:
        error = measured.steady.get(f"{figure}_error")
        return "" if error is None else f" ± {value_text(error, figure)}"
    statistic = found["statistic"]
    if statistic == "mean":
        others: tuple[str, ...] = ("p50", "p99")
    elif statistic in _ORDERED:
        place = _ORDERED.index(statistic)
        others = (*_ORDERED[max(0, place - 1) : place], *_ORDERED[place + 1 : place + 2])
    else:
        return ""
    names = {"p50": "median"}
    values = {one: measured.figures.get(f"{found['stem']}_{one}{found['unit'] or ''}") for one in others}
    text = ", ".join(
        f"{names.get(one, one)} {value_text(value, figure)}" for one, value in values.items() if value is not None
    )
    return f" ({text})" if text else ""
