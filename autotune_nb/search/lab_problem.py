"""A recorded table as a search problem: values, limits and times of every configuration as arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autotune_nb.errors import Failure, StudyError, TaskError, did_you_mean
from autotune_nb.recorded import RecordedTable
from autotune_nb.task.parameters import Value
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.score import UNBOUND, Limit, Objective

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabProblem:
    """The configurations of a table, in its order. Arrays by level have NaN where nothing was measured.

    ``excess`` is how far each limit is broken by configuration and level, as a share of its bound; at most 0 keeps it.
    ``at`` is the index of the level that decides; None for the best level that keeps every limit.
    """

    name: str
    params: tuple[Mapping[str, Value], ...]
    levels: tuple[Level, ...]
    maximize: bool
    at: int | None
    failed: Bools
    startup_s: Floats
    level_s: Floats
    values: Floats
    excess: Floats
    #: Whether a limit is an upper bound, by limit.
    upper: Bools
    goal: Objective
    #: The failures in words, empty for complete configurations.
    reasons: tuple[str, ...] = ()
    objective: str = ""
    #: The configuration that equals the engine's default: strategies try it first, and never cut it. None: unknown.
    default: int | None = None

    def __len__(self) -> int:
        return len(self.params)

    @cached_property
    def whole_s(self) -> Floats:
        """The seconds of a whole trial of each configuration."""
        total: Floats = self.startup_s + np.nansum(self.level_s, axis=1)
        return total

    def scored_level(self, values: Floats, excess: Floats) -> int | None:
        """Return the level at which a configuration is scored, or None without a value there.

        ``values`` are by level, ``excess`` by level and limit. It is the level that decides, or the best one that keeps
        every limit; if none does, the one with the least total excess.
        """
        if self.at is not None:
            return None if np.isnan(values[self.at]) else self.at
        measured = ~np.isnan(values)
        if not measured.any():
            return None
        kept = measured & (excess <= 0).all(axis=1)
        if kept.any():
            inside = np.where(kept, values, np.nan)
            return int(np.nanargmax(inside) if self.maximize else np.nanargmin(inside))
        return int(np.where(measured, np.maximum(excess, 0).sum(axis=1), np.inf).argmin())

    def score(self, values: Floats, excess: Floats) -> tuple[float, float]:
        """Return the value of one configuration and the largest excess over a limit; NaN without a value."""
        level = self.scored_level(values, excess)
        if level is None:
            return np.nan, np.inf
        return float(values[level]), float(excess[level].max(initial=-np.inf))

    @cached_property
    def _scores(self) -> Floats:
        pairs = [self.score(self.values[i], self.excess[i]) for i in range(len(self))]
        return np.array(pairs, dtype=float).reshape(len(self), 2)

    @cached_property
    def value(self) -> Floats:
        """The objective of each configuration, NaN where it failed."""
        value: Floats = np.where(self.failed, np.nan, self._scores[:, 0])
        return value

    @cached_property
    def feasible(self) -> Bools:
        """Whether a configuration is complete and keeps every limit."""
        feasible: Bools = ~np.isnan(self.value) & (self._scores[:, 1] <= 0)
        return feasible

    @cached_property
    def best(self) -> float:
        """The best value of a feasible configuration."""
        inside = self.value[self.feasible]
        return float(inside.max() if self.maximize else inside.min())

    @cached_property
    def regret(self) -> Floats:
        """How much worse a configuration is than the best, as a share of the best; inf if it is not feasible."""
        difference = self.best - self.value if self.maximize else self.value - self.best
        regret: Floats = np.where(self.feasible, difference / (abs(self.best) or 1.0), np.inf)
        return regret

    @cached_property
    def worst_regret(self) -> float:
        """The regret of the worst feasible configuration: that of a study which has found nothing yet."""
        return float(self.regret[self.feasible].max())

    def good(self, within: float) -> Bools:
        """Return which configurations are feasible and at most ``within`` worse than the best."""
        good: Bools = self.regret <= within + 1e-12
        return good


def lab_problem(
    table: RecordedTable,
    objective: Objective,
    *,
    at: str | None = None,
    per_gpu: bool = False,
) -> LabProblem:
    """Return the search problem of a table. ``at`` names the level that decides, in place of ``objective.level``.

    Raises StudyError for a table in which nothing can be searched, TaskError for a level or a figure that it lacks.
    """
    limits = objective.limits
    # A strategy searches configurations that set parameters; the engine's default sets none.
    table = replace(table, configurations=tuple(one for one in table.configurations if one.params))
    rows, levels = table.configurations, table.levels
    if len(rows) < 2:
        raise StudyError(
            f"{table.name} has {len(rows)} configurations that set parameters; a comparison needs at least two"
        )
    if all(one.failure is not None for one in rows):
        raise StudyError(f"all {len(rows)} configurations of {table.name} failed, so none is the best")
    decisive = None if at is None else levels.index(_level(table, at))
    _require_figure(table, objective.figure, "objective")
    for limit in limits:
        _require_figure(table, limit.figure, "limits")
    failed = np.array([one.failure is not None for one in rows])
    shape = (len(rows), len(levels))
    values, level_s = np.full(shape, np.nan), np.full(shape, np.nan)
    excess = np.full((*shape, len(limits)), np.nan)
    for i, one in enumerate(rows):
        gpus = _gpus(table, i) if per_gpu and not failed[i] else 1
        for j, level in enumerate(levels):
            measured = one.measurements.get(level)
            if measured is None:
                continue
            level_s[i, j] = measured.duration_s
            if measured.valid:
                values[i, j] = measured.figures.get(objective.figure, np.nan) / gpus
                excess[i, j] = [
                    _excess(limit, measured.figures.get(limit.figure)) if limit.bounds(level) else UNBOUND
                    for limit in limits
                ]
    # A complete configuration that lacks what is scored would fail in a study.
    scored = values if decisive is None else values[:, [decisive]]
    broken = excess if decisive is None else excess[:, [decisive]]
    failed |= np.isnan(scored).all(axis=1) | np.isnan(broken).all(axis=1).any(axis=1)
    problem = LabProblem(
        table.name,
        tuple(one.params for one in rows),
        levels,
        objective.direction == "maximize",
        decisive,
        failed,
        np.array([one.startup_s for one in rows]),
        level_s,
        values,
        np.where(np.isnan(excess), np.inf, excess),
        np.array([limit.operator == "<=" for limit in limits], dtype=bool),
        objective,
        tuple("" if one.failure is None else _reason(one.failure) for one in rows),
        f"{objective.direction} {objective.figure}{' per GPU' if per_gpu else ''}",
    )
    if not problem.feasible.any():
        where = f" at level {at}" if at is not None else " at any level"
        raise StudyError(
            f"no configuration of {table.name} keeps {' and '.join(map(str, limits))}{where}; raise the limits"
            if limits and not failed.all()
            else f"no complete configuration of {table.name} has {objective.figure}{where}"
        )
    return problem


def _reason(failure: Failure) -> str:
    return f"{failure.kind.replace('_', ' ')} ({failure.phase})"


def _excess(limit: Limit, value: float | None) -> float:
    if value is None:
        return np.nan
    over = value - limit.bound if limit.operator == "<=" else limit.bound - value
    return over / (abs(limit.bound) or 1.0)


def _gpus(table: RecordedTable, index: int) -> int:
    gpus = table.configurations[index].gpus
    if not gpus:
        shown = dict(table.configurations[index].params)
        raise StudyError(f"{table.name}: gpus of {shown} is {'0' if gpus == 0 else 'empty'}; --per-gpu needs 1 or more")
    return gpus


def _require_figure(table: RecordedTable, figure: str, field: str) -> None:
    """Raise TaskError if no configuration has a figure."""
    known = {name for one in table.configurations for m in one.measurements.values() for name in m.figures}
    if figure not in known:
        raise TaskError(f"no configuration of {table.name} has {figure}{did_you_mean(figure, known)}", field=field)


def _level(table: RecordedTable, text: str) -> Level:
    """Return the level of a table that a text names: as the table has it, or only its load."""
    wanted = text.strip()
    exact = [level for level in table.levels if str(level) == wanted]
    load = re.sub(r"^(concurrency|batch|rate)\s+", "", wanted)
    found = exact or [level for level in table.levels if level.load.split()[-1] == load]
    if len(found) == 1:
        return found[0]
    problem = "has several levels" if found else "has no level"
    raise TaskError(f"{table.name} {problem} {text!r}; its levels are {'; '.join(map(str, table.levels))}", field="at")
