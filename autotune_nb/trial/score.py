"""From measurements to the values an objective asks for, and how far each limit is broken."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autotune_nb.errors import Failure, FailureKind, MeasurementError, TaskError
from autotune_nb.trial.measurement import Level, Measurement, figure_name

Direction = Literal["minimize", "maximize"]

#: The prototype's objective names and what they stand for.
PROTOTYPE_OBJECTIVES: dict[str, tuple[Direction, str]] = {
    "minimize_latency": ("minimize", "e2e_latency_mean_s"),
    "maximize_throughput": ("maximize", "output_tokens_per_s"),
    "minimize_ttft": ("minimize", "ttft_mean_s"),
    "minimize_tpot": ("minimize", "tpot_mean_s"),
}

_LIMIT = re.compile(r"^\s*([A-Za-z_][\w]*)\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*$")


@dataclass(frozen=True)
class Limit:
    """A bound on one figure, such as ``ttft_p99_s <= 0.5``."""

    figure: str
    operator: Literal["<=", ">="]
    bound: float

    @classmethod
    def parse(cls, text: str, *, field: str = "limits") -> Limit:
        """Read ``FIGURE <= NUMBER``. ``<`` is taken as ``<=``. Raises TaskError naming ``field``."""
        match = _LIMIT.match(text)
        if not match:
            raise TaskError(f"{text!r} is no limit; write FIGURE <= NUMBER, as in 'ttft_p99_s <= 0.5'", field=field)
        name, operator, number = match.groups()
        try:
            bound = float(number)
            if not math.isfinite(bound):
                raise ValueError
        except ValueError:
            raise TaskError(f"{number!r} in {text!r} is no number", field=field) from None
        return cls(figure_name(name, field=field), "<=" if operator.startswith("<") else ">=", bound)

    def violation(self, measurement: Measurement) -> float:
        """How far the limit is broken, in the figure's own unit; at most 0 where it is kept."""
        value = measurement.figures.get(self.figure)
        if value is None:
            raise _no_figure(self.figure, measurement)
        return value - self.bound if self.operator == "<=" else self.bound - value

    def __str__(self) -> str:
        return f"{self.figure} {self.operator} {self.bound:.15g}"


@dataclass(frozen=True)
class Objective:
    """What is to be made best, and at which level it is read.

    ``level`` None means the best level among those that keep every limit.
    """

    figure: str
    direction: Direction
    level: Level | None = None
    limits: tuple[Limit, ...] = ()

    def better(self, a: float, b: float) -> bool:
        """Whether a is strictly better than b."""
        return a > b if self.direction == "maximize" else a < b


@dataclass(frozen=True)
class Score:
    """One trial's value in the objective's own direction, and how far each limit is broken (at most 0: kept)."""

    values: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)
    level: Level | None = None

    @property
    def value(self) -> float:
        return next(iter(self.values.values()))

    @property
    def feasible(self) -> bool:
        return all(violation <= 0 for violation in self.limits.values())


def score(measurements: Sequence[Measurement], objective: Objective) -> Score:
    """Score one trial.

    With ``objective.level`` the value and the limits are read at that level. Without it they are read at the level
    with the best value among those that keep every limit or, where none keeps them all, at the level that breaks
    them least: the sum over the limits of violation divided by the bound's size.

    Raises MeasurementError where a measurement is invalid or lacks the figure.
    """
    for measurement in measurements:
        if not measurement.valid:
            raise MeasurementError(
                Failure(
                    FailureKind.MEASUREMENT,
                    "benchmark",
                    f"the measurement of {measurement.level} is invalid: {'; '.join(measurement.problems)}",
                    hint=measurement.hint,
                )
            )
    candidates = [m for m in measurements if objective.level is None or m.level == objective.level]
    if not candidates:
        wanted = f" of {objective.level}" if objective.level else ""
        raise MeasurementError(
            Failure(FailureKind.MEASUREMENT, "benchmark", f"there is no measurement{wanted} to score")
        )
    scored = [_read(measurement, objective) for measurement in candidates]
    feasible = [s for s in scored if s.feasible]
    if feasible:
        pick = max if objective.direction == "maximize" else min
        return pick(feasible, key=lambda s: s.value)
    return min(scored, key=lambda s: _distance(s, objective.limits))


def _read(measurement: Measurement, objective: Objective) -> Score:
    value = measurement.figures.get(objective.figure)
    if value is None:
        raise _no_figure(objective.figure, measurement)
    limits = {str(limit): limit.violation(measurement) for limit in objective.limits}
    return Score({objective.figure: value}, limits, measurement.level)


def _distance(scored: Score, limits: Iterable[Limit]) -> float:
    return sum(max(0.0, scored.limits[str(limit)]) / (abs(limit.bound) or 1.0) for limit in limits)


def _no_figure(figure: str, measurement: Measurement) -> MeasurementError:
    message = f"the measurement of {measurement.level} has no {figure}"
    return MeasurementError(Failure(FailureKind.MEASUREMENT, "benchmark", message))
