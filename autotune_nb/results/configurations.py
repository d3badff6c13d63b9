"""The table of configurations: a row each with all of its starts, a column per parameter; the same for every front."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autotune_nb.engines.base import Engine
from autotune_nb.results._seen_values import SeenValues
from autotune_nb.results.configuration_columns import (
    Cell,
    Column,
    figure_column,
    figure_names,
    limit_column,
    parameter_column,
)
from autotune_nb.task.budget import Confirm
from autotune_nb.trial.configuration import Configuration, configurations, mean, pareto_front
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
BEST, DEFAULT, FRONT = "best", "default", "on the Pareto front"
#: The key of the column of the load level.
LEVEL = "level"
_NUMBER, _STATE, _GAIN, _INTERVAL = "trial", "state", "gain", "interval"
_LIMITS, _STARTS, _SPREAD = "limits", "starts", "spread"
_TAGS, _NOTE, _FAILURE, _CUT, _TOOK, _WORKER = "tags", "note", "failure", "cut", "minutes", "worker"
_OWN = frozenset(
    (
        *(_NUMBER, _STATE, _GAIN, _INTERVAL, _LIMITS, LEVEL, _STARTS, _SPREAD),
        *(_TAGS, _NOTE, _FAILURE, _CUT, _TOOK, _WORKER),
    )
)


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
    _rows: dict[Hashable, tuple[tuple[Any, ...], Row]] = field(default_factory=dict, repr=False)
    _seen: SeenValues = field(default_factory=SeenValues, repr=False)

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
        front = {one.trial.configuration_key for one in self._front(trials)}
        gains = gains_to_default(trials, self.objective, self.rules)
        one_scenario = len({one.level.scenario for trial in trials for one in trial.measurements}) < 2
        if one_scenario is not self._one_scenario:
            self._known.clear()
            self._one_scenario = one_scenario
        made = []
        for key, own in grouped.items():
            base = self._measured(key, tuple(own), found.get(key))
            tagged = [tag for trial in own for tag in (tags or {}).get(trial.number, ())] if tags else []
            noted = [text for trial in own if (text := (notes or {}).get(trial.number))] if notes else []
            words = ([BEST] if key == best_key else []) + ([DEFAULT] if own[0].baseline else [])
            words += [str(base[_STATE]), *([FRONT] if key in front else [])]
            made.append((key, own, base, (", ".join(words), gains.get(key), tuple(tagged), tuple(noted))))
        for _, _, _, (_, gain, tagged_, noted_) in made:
            self._seen.add({**_gain_cells(gain), _TAGS: tagged_[0] if tagged_ else None})
            self._seen.add({_NOTE: noted_[0] if noted_ else None})
        columns = self._columns()
        keys = tuple(column.key for column in columns)
        return ConfigurationTable(tuple(columns), tuple(self._row(*one, keys) for one in made))

    def _front(self, trials: Sequence[Trial]) -> Sequence[Configuration]:
        return pareto_front(trials, self.objective) if self.objective.others else ()

    def _row(
        self,
        key: Hashable,
        own: Sequence[Trial],
        base: Mapping[str, Cell],
        more: tuple[str, Gain | None, tuple[str, ...], tuple[str, ...]],
        keys: tuple[str, ...],
    ) -> Row:
        known = self._rows.get(key)
        if known is not None and known[0][0] is base and known[0][1:] == (more, keys):
            return known[1]
        state, gain, tags, notes = more
        cells = {**base, _STATE: state, **_gain_cells(gain)}
        cells[_TAGS] = ", ".join(dict.fromkeys(tags)) or None
        cells[_NOTE] = "; ".join(notes) or None
        numbers = tuple(trial.number for trial in own)
        row = Row(own[0].number, numbers, tuple(cells.get(name) for name in keys), own[0].baseline)
        self._rows[key] = ((base, more, keys), row)
        return row

    def _measured(self, key: Hashable, own: tuple[Trial, ...], found: Configuration | None) -> Mapping[str, Cell]:
        known = self._known.get(key)
        if known is not None and len(known[0]) == len(own) and all(a is b for a, b in zip(known[0], own, strict=True)):
            return known[1]
        cells: dict[str, Cell] = {_NUMBER: own[0].number}
        shown = found.confirmed if found is not None and found.in_confirmation else found
        cells[_STATE] = _state(own, shown)
        cells |= _figure_cells(own, shown, self._figures, self._one_scenario)
        cells |= _limit_cells(own, shown)
        cells[_STARTS] = sum(1 for trial in own if trial.state in (TrialState.COMPLETE, TrialState.CUT))
        failed = [trial for trial in own if trial.failure is not None]
        cells[_FAILURE] = str(failed[-1].failure) if failed else None
        cells[_CUT] = next((trial.cut_reason for trial in own if trial.cut_reason), None)
        cells[_WORKER] = ", ".join(dict.fromkeys(trial.worker for trial in own if trial.worker)) or None
        took = math.fsum(trial.work_s for trial in own)
        cells[_TOOK] = _rounded(took) if took else None
        self._seen.add(cells)
        for trial in own:
            self._checked.update(dict.fromkeys(trial.score.limits if trial.score is not None else ()))
        params = own[0].params
        if known is None:
            self._seen.add_params(params)
        cells |= {self._key(name): value for name, value in params.items()}
        self._known[key] = (own, cells)
        return cells

    @cached_property
    def _checked(self) -> dict[str, None]:
        """The names of the limits; those on the answers are checked beside those of the task."""
        return dict.fromkeys(map(str, self.objective.limits))

    @cached_property
    def _figures(self) -> tuple[str, ...]:
        return figure_names(self.objective)

    def _key(self, parameter: str) -> str:
        """Return the key of a parameter's column; another column may have its name."""
        own = parameter in _OWN or parameter in self._figures
        return f"param:{parameter}" if own else parameter

    def _columns(self) -> list[Column]:
        seen, objective, checked = self._seen, self.objective, self._checked
        figures = {name: figure_column(name, seen.largest.get(name), objective) for name in figure_names(objective)}
        goals = [figures.pop(name) for name in dict.fromkeys(objective.figures)]
        limited = [figures.pop(one.figure) for one in objective.limits if one.figure in figures]
        better = "how much better the objective is than the engine's default's; below 0 it is worse"
        interval = "the 95 % interval of the comparison with the default; only where starts were repeated"
        names = list(dict.fromkeys((*self.parameters, *seen.params)))
        params = [parameter_column(n, self.engine, numeric=seen.numeric(n), shown=not seen.constant(n)) for n in names]
        failure = Column(_FAILURE, "failure", "text", help="why it failed", shown=_FAILURE in seen.filled)
        # Until a trial is measured, why they failed is what counts.
        measured = LEVEL in seen.filled
        return [
            Column(_NUMBER, "trial", "number", help="the number of its first trial, and how many more starts it had"),
            Column(_STATE, "state", "text"),
            *([] if measured else [failure]),
            *goals,
            self._share(_SPREAD, "±", "the standard deviation between its starts"),
            self._share(_GAIN, "vs default", better),
            Column(_INTERVAL, "95 % interval", "text", unit="%", help=interval, shown=_INTERVAL in seen.filled),
            # What was set stands between what it achieved and the details, so that it is in view without scrolling.
            *(replace(column, key=self._key(column.key)) for column in params),
            *limited,
            Column(_LIMITS, "limits", "text", "limit", help="; ".join(checked), shown=measured and bool(checked)),
            *map(limit_column, checked),
            Column(LEVEL, "at", "text", help="the load level at which the figures were read", shown=measured),
            Column(_STARTS, "starts", "number", help="how many starts its figures are the mean of", shown=measured),
            *figures.values(),
            Column(_TAGS, "tags", "text", shown=_TAGS in seen.filled, aliases=("tag",)),
            Column(_NOTE, "note", "text", shown=_NOTE in seen.filled),
            *([failure] if measured else []),
            Column(_CUT, "cut", "text", help="why it ended before its last level", shown=_CUT in seen.filled),
            Column(_WORKER, "worker", "text", help="whose process ran it", shown=_WORKER in seen.filled),
            Column(
                _TOOK,
                "took",
                "number",
                unit="min",
                scale=1 / 60,
                help="of all its starts together, without waiting",
                shown=False,
            ),
        ]

    def _share(self, key: str, head: str, help_: str) -> Column:
        return Column(key, head, "number", unit="%", scale=100.0, help=help_, shown=key in self._seen.filled)


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
    cells[LEVEL] = ", ".join(one.load if one_scenario else str(one) for one in levels) or None
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
        cells[_INTERVAL] = f"{_signed(gain.low)} to {_signed(gain.high)}"
    return cells


def _signed(share: float) -> str:
    return f"{100 * share:+.3g}" if abs(share) < 10 else f"{100 * share:+,.0f}"


def _rounded(value: float) -> float:
    """Return a number as the front shows it: whole from 1 000 on, otherwise to four digits."""
    if not math.isfinite(value):
        return value
    return float(round(value)) if abs(value) >= 1000 else float(f"{value:.4g}")
