"""Objectives, limits, and the score of a trial's measurements."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autotune_nb.errors import Failure, FailureKind, MeasurementError, TaskError
from autotune_nb.trial.measurement import FIGURES, Level, Measurement, figure_name

Direction = Literal["minimize", "maximize"]

#: The objective names of the prototype, each with its direction and figure.
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
        """Parse ``FIGURE <= NUMBER``; ``<`` means ``<=``. Raises TaskError naming ``field``."""
        match = _LIMIT.match(text)
        if not match:
            wanted = "write FIGURE <= NUMBER, times in seconds, as in 'ttft_p99_s <= 0.5'"
            raise TaskError(f"{text!r} is not a limit; {wanted}", field=field)
        name, operator, number = match.groups()
        try:
            bound = float(number)
            if not math.isfinite(bound):
                raise ValueError
        except ValueError:
            raise TaskError(f"{number!r} in {text!r} is not a number", field=field) from None
        if name.endswith("_ms") and f"{name[:-3]}_s" in FIGURES:
            wanted = f"{name[:-3]}_s {operator} {bound / 1000:g}"
            raise TaskError(f"times are in seconds: write {wanted!r} instead of {text!r}", field=field)
        return cls(figure_name(name, field=field), "<=" if operator.startswith("<") else ">=", bound)

    def violation(self, measurement: Measurement) -> float:
        """Return how far the limit is broken, in the unit of the figure; at most 0 if it is kept."""
        value = measurement.figures.get(self.figure)
        if value is None:
            raise _no_figure(self.figure, measurement)
        return value - self.bound if self.operator == "<=" else self.bound - value

    def __str__(self) -> str:
        return f"{self.figure} {self.operator} {self.bound:.15g}"


@dataclass(frozen=True)
class Objective:
    """The figure to optimize, its direction, the level at which it is read, and the limits.

    If ``level`` is None, it is read at the best level among those that keep every limit. ``others`` are the further
    objectives of a task with several, which are read at the same level.
    """

    figure: str
    direction: Direction
    level: Level | None = None
    limits: tuple[Limit, ...] = ()
    others: tuple[Objective, ...] = ()

    @property
    def every(self) -> tuple[Objective, ...]:
        """This objective and the others."""
        return (self, *self.others)

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures of all objectives."""
        return tuple(one.figure for one in self.every)

    def better(self, a: float, b: float) -> bool:
        """Return whether a is strictly better than b."""
        return a > b if self.direction == "maximize" else a < b


@dataclass(frozen=True)
class Score:
    """The values of a trial's objectives, and how far each limit is broken (at most 0 if kept)."""

    values: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)
    level: Level | None = None

    @property
    def value(self) -> float:
        """The value of the first objective."""
        return next(iter(self.values.values()))

    @property
    def feasible(self) -> bool:
        return all(violation <= 0 for violation in self.limits.values())


def score(measurements: Sequence[Measurement], objective: Objective) -> Score:
    """Score one trial.

    With ``objective.level`` the values and the limits are read at that level. Without it they are read at the level
    with the best value among those that keep every limit. If no level keeps them all, they are read at the level with
    the least total violation, each violation divided by the size of its bound.

    Raises MeasurementError if a measurement is invalid or has no such figure.
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
    scored = [_score_at(measurement, objective) for measurement in candidates]
    feasible = [s for s in scored if s.feasible]
    if feasible:
        pick = max if objective.direction == "maximize" else min
        return pick(feasible, key=lambda s: s.value)
    return min(scored, key=lambda s: _total_violation(s, objective.limits))


def _score_at(measurement: Measurement, objective: Objective) -> Score:
    missing = next((name for name in objective.figures if measurement.figures.get(name) is None), None)
    if missing is not None:
        raise _no_figure(missing, measurement)
    limits = {str(limit): limit.violation(measurement) for limit in objective.limits}
    return Score({name: measurement.figures[name] for name in objective.figures}, limits, measurement.level)


def _total_violation(scored: Score, limits: Iterable[Limit]) -> float:
    return sum(max(0.0, scored.limits[str(limit)]) / (abs(limit.bound) or 1.0) for limit in limits)


def _no_figure(figure: str, measurement: Measurement) -> MeasurementError:
    message = f"the measurement of {measurement.level} has no {figure}"
    if figure.startswith(("tpot", "request_output_tokens_per_s")) and "ttft_mean_s" in measurement.figures:
        message += (
            ": the replies have one token or came all at once, so there is no time between tokens; if a proxy stands "
            "before the server, let it neither buffer nor compress streams"
        )
    return MeasurementError(Failure(FailureKind.MEASUREMENT, "benchmark", message))
