"""The table of configurations: a row each with all of its starts, a column per parameter; the same for every front."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from autotune_nb.engines.base import Engine
from autotune_nb.results.configuration_columns import (
    Cell,
    Column,
    figure_column,
    figure_names,
    limit_column,
    parameter_columns,
    with_kinds,
)
from autotune_nb.task.budget import Confirm
from autotune_nb.trial.configuration import Configuration, configurations, mean
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import chosen_configuration
from autotune_nb.verdict.gains import Gain, gains_to_default

if TYPE_CHECKING:
    import pandas as pd

#: The states of a configuration without a score, the first that one of its trials has.
_STATES = (
    *(TrialState.RUNNING, TrialState.CUT, TrialState.FAILED),
    *(TrialState.INTERRUPTED, TrialState.STOPPED, TrialState.COMPLETE),
)
KEPT, BROKEN, UNDECIDED = "kept", "broken", "undecided"
#: Words of the state that say which configuration it is.
BEST, DEFAULT = "best", "default"
_NUMBER, _STATE, _GAIN, _INTERVAL = "trial", "state", "gain", "interval"
_LIMITS, _LEVEL, _STARTS, _SPREAD = "limits", "level", "starts", "spread"
_TAGS, _NOTE, _FAILURE, _TOOK = "tags", "note", "failure", "minutes"


@dataclass(frozen=True)
class Row:
    """A configuration: the number of its first trial, those of all its trials, and a cell per column.

    Numbers are as they were measured: seconds, and shares. None is unknown; in a column of a parameter it is the
    engine's default.
    """

    number: int
    trials: tuple[int, ...]
    cells: tuple[Cell, ...]
    baseline: bool = False


@dataclass(frozen=True)
class ConfigurationTable:
    """The columns and rows of all configurations, in the order of their first trials."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {column.key: place for place, column in enumerate(self.columns)}

    def cell(self, row: Row, key: str) -> Cell:
        """Return the cell of a row in the column of this key."""
        return row.cells[self._places[key]]

    def changed(self, row: Row, column: Column) -> bool:
        """Return whether the row sets a parameter to another value than the engine's default."""
        value = row.cells[self._places[column.key]]
        return column.group == "parameter" and not row.baseline and value is not None and value != column.default

    def frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame, indexed by trial, with the unit in each column's name."""
        import pandas as pd

        titles = [column.title for column in self.columns]
        data = [
            [
                value * column.scale if isinstance(value, float) and column.scale != 1 else value
                for column, value in zip(self.columns, row.cells, strict=True)
            ]
            for row in self.rows
        ]
        frame = pd.DataFrame(data, columns=titles).set_index(titles[0])
        return frame.convert_dtypes()


@dataclass
class Configurations:
    """Makes the table again and again while trials are added; what did not change is not computed again."""

    objective: Objective
    rules: Confirm | None = None
    engine: Engine | None = None
    #: The parameters of the search space; those of the trials come after them.
    parameters: Sequence[str] = ()
    _one_scenario: bool = field(default=True, repr=False)
    _known: dict[Hashable, tuple[tuple[Trial, ...], Mapping[str, Cell]]] = field(default_factory=dict, repr=False)

    def table(
        self,
        trials: Sequence[Trial],
        tags: Mapping[int, Sequence[str]] | None = None,
        notes: Mapping[int, str] | None = None,
    ) -> ConfigurationTable:
        """Return the table of these trials; ``tags`` and ``notes`` are by trial."""
        grouped: dict[Hashable, list[Trial]] = {}
        for trial in trials:
            grouped.setdefault(trial.configuration_key, []).append(trial)
        found = configurations(trials)
        best = chosen_configuration(trials, self.objective, self.rules)
        best_key = best.trial.configuration_key if best is not None else None
        gains = gains_to_default(trials, self.objective, self.rules)
        names = list(dict.fromkeys((*self.parameters, *(name for trial in trials for name in trial.params))))
        figures = figure_names(self.objective)
        limits = [str(limit) for limit in self.objective.limits]
        one_scenario = len({one.level.scenario for trial in trials for one in trial.measurements}) < 2
        if one_scenario is not self._one_scenario:
            self._known.clear()
            self._one_scenario = one_scenario
        rows = []
        for key, own in grouped.items():
            cells = dict(self._measured(key, tuple(own), found.get(key), figures, one_scenario))
            words = [cells[_STATE]]
            if own[0].baseline:
                words.insert(0, DEFAULT)
            if key == best_key:
                words.insert(0, BEST)
            cells[_STATE] = ", ".join(map(str, words))
            cells |= _gain_cells(gains.get(key))
            numbers = [trial.number for trial in own]
            cells[_TAGS] = ", ".join(dict.fromkeys(tag for n in numbers for tag in (tags or {}).get(n, ()))) or None
            cells[_NOTE] = "; ".join(text for n in numbers if (text := (notes or {}).get(n))) or None
            rows.append((own, cells))
        columns = self._columns(rows, names, figures, limits, trials)
        made = tuple(
            Row(
                own[0].number,
                tuple(trial.number for trial in own),
                tuple(cells.get(column.key) for column in columns),
                own[0].baseline,
            )
            for own, cells in rows
        )
        return ConfigurationTable(tuple(columns), made)

    def _measured(
        self,
        key: Hashable,
        own: tuple[Trial, ...],
        found: Configuration | None,
        figures: Sequence[str],
        one_scenario: bool,
    ) -> Mapping[str, Cell]:
        known = self._known.get(key)
        if known is not None and len(known[0]) == len(own) and all(a is b for a, b in zip(known[0], own, strict=True)):
            return known[1]
        cells: dict[str, Cell] = {_NUMBER: own[0].number}
        shown = found.confirmed if found is not None and found.in_confirmation else found
        cells[_STATE] = _state(own, shown)
        cells |= _figure_cells(own, shown, figures, one_scenario)
        cells |= _limit_cells(own, shown)
        cells[_STARTS] = sum(1 for trial in own if trial.state in (TrialState.COMPLETE, TrialState.CUT))
        failed = [trial for trial in own if trial.failure is not None]
        cells[_FAILURE] = str(failed[-1].failure) if failed else next((t.cut_reason for t in own if t.cut_reason), None)
        took = math.fsum(trial.work_s for trial in own)
        cells[_TOOK] = round(took, 1) if took else None
        params = own[0].params
        for name in params:
            cells[name if name not in cells else f"param:{name}"] = params[name]
        self._known[key] = (own, cells)
        return cells

    def _columns(
        self,
        rows: Sequence[tuple[Sequence[Trial], Mapping[str, Cell]]],
        names: Sequence[str],
        figures: Sequence[str],
        limits: Sequence[str],
        trials: Sequence[Trial],
    ) -> list[Column]:
        def values(key: str) -> list[Cell]:
            return [value for _, cells in rows if (value := cells.get(key)) is not None]

        def numbers(key: str) -> list[float]:
            return [float(one) for one in values(key) if isinstance(one, int | float)]

        objective = len(self.objective.figures)
        checked = list(dict.fromkeys((*limits, *(name for t in trials if t.score for name in t.score.limits))))
        figure_columns = [figure_column(name, numbers(name), self.objective) for name in figures]
        better = "how much better the objective is than the engine's default's; below 0 it is worse"
        columns = [
            Column(_NUMBER, "trial", "number", help="the number of its first trial, and how many more starts it had"),
            Column(_STATE, "state", "text"),
            *figure_columns[:objective],
            _own(_SPREAD, "±", "%", 100.0, "the standard deviation between its starts", bool(values(_SPREAD))),
            _own(_GAIN, "vs default", "%", 100.0, better, bool(values(_GAIN))),
            Column(
                _INTERVAL,
                "95 %",
                "text",
                unit="%",
                help="the 95 % interval of the comparison with the default; only where starts were repeated",
                shown=bool(values(_INTERVAL)),
            ),
            *figure_columns[objective:],
            Column(_LIMITS, "limits", "text", "limit", help="; ".join(checked), shown=bool(checked)),
            *map(limit_column, checked),
            Column(_LEVEL, "at", "text", help="the load level at which the figures were read", aliases=("level",)),
            Column(_STARTS, "starts", "number", help="how many starts its figures are the mean of"),
        ]
        taken = {column.key for column in columns} | {_TAGS, _NOTE, _FAILURE, _TOOK}
        keys = {name: f"param:{name}" if name in taken else name for name in names}
        searched = {name: [own[0].params.get(name) for own, _ in rows if name in own[0].params] for name in names}
        constant = [name for name, all_ in searched.items() if len(all_) > 1 and all(v == all_[0] for v in all_)]
        params = parameter_columns(names, constant, self.engine)
        params = with_kinds(params, searched)
        columns += [_renamed(column, keys[column.key]) for column in params]
        return [
            *columns,
            Column(_TAGS, "tags", "text", shown=bool(values(_TAGS)), aliases=("tag",)),
            Column(_NOTE, "note", "text", shown=bool(values(_NOTE))),
            Column(_FAILURE, "failure", "text", help="why it failed or was cut", shown=bool(values(_FAILURE))),
            _own(_TOOK, "took", "min", 1 / 60, "of all its starts together, without waiting", False),
        ]


def configuration_table(
    trials: Sequence[Trial],
    objective: Objective,
    rules: Confirm | None = None,
    engine: Engine | None = None,
    parameters: Sequence[str] = (),
    tags: Mapping[int, Sequence[str]] | None = None,
    notes: Mapping[int, str] | None = None,
) -> ConfigurationTable:
    """Return a table with one row per configuration; repeats and the starts of a confirmation are one row.

    ``engine`` has the defaults of the parameters, ``rules`` are those of the confirmation.
    """
    return Configurations(objective, rules, engine, parameters).table(trials, tags, notes)


def _own(key: str, head: str, unit: str, scale: float, help_: str, shown: bool) -> Column:
    return Column(key, head, "number", unit=unit, scale=scale, help=help_, shown=shown)


def _renamed(column: Column, key: str) -> Column:
    from dataclasses import replace

    return column if key == column.key else replace(column, key=key)


def _state(own: Sequence[Trial], found: Configuration | None) -> str:
    running = any(trial.state is TrialState.RUNNING for trial in own)
    if found is not None:
        word = "complete" if found.feasible else "breaks a limit"
        return f"{word}, running" if running else word
    states = {trial.state for trial in own}
    return str(next(state for state in _STATES if state in states))


def _figure_cells(
    own: Sequence[Trial], found: Configuration | None, figures: Sequence[str], one_scenario: bool
) -> dict[str, Cell]:
    """Return the mean of each figure at the level of the score over all starts, the level, and the spread."""
    # One that was cut has a score at the levels measured until then.
    starts = found.complete if found is not None else tuple(t for t in own if t.score is not None)[-1:]
    if not starts:
        return {}
    cells: dict[str, Cell] = {}
    measured = [one.figures for trial in starts if (one := trial.scored_measurement) is not None]
    scores = [trial.score.values for trial in starts if trial.score is not None]
    for name in figures:
        values = [one[name] for one in scores if name in one] or [one[name] for one in measured if name in one]
        if values:
            cells[name] = _rounded(mean(values))
    levels = list(dict.fromkeys(trial.score.level for trial in starts if trial.score and trial.score.level))
    cells[_LEVEL] = ", ".join(one.load if one_scenario else str(one) for one in levels) or None
    if found is not None and len(found.values) > 1 and found.value:
        average = math.fsum(found.values) / len(found.values)
        squares = math.fsum((value - average) ** 2 for value in found.values)
        cells[_SPREAD] = _rounded(math.sqrt(squares / (len(found.values) - 1)) / abs(found.value))
    return cells


def _limit_cells(own: Sequence[Trial], found: Configuration | None) -> dict[str, Cell]:
    if found is None:
        return {}
    undecided = found.undecided
    words = {
        name: UNDECIDED if name in undecided else BROKEN if violation > 0 else KEPT
        for name, violation in found.limits.items()
    }
    whole = next((word for word in (BROKEN, UNDECIDED, KEPT) if word in words.values()), None)
    return {**words, _LIMITS: whole}


def _gain_cells(gain: Gain | None) -> dict[str, Cell]:
    if gain is None:
        return {}
    cells: dict[str, Cell] = {_GAIN: _rounded(gain.share)}
    if gain.low is not None and gain.high is not None and math.isfinite(gain.high - gain.low):
        cells[_INTERVAL] = f"{100 * gain.low:+.3g} to {100 * gain.high:+.3g}"
    return cells


def _rounded(value: float) -> float:
    """Return a number to five digits, which is what the front shows at most."""
    return float(f"{value:.5g}") if math.isfinite(value) else value
