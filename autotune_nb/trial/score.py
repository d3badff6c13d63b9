"""Objectives, limits, and the score of a trial's measurements."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Literal

from autotune_nb.errors import Failure, FailureKind, MeasurementError, TaskError
from autotune_nb.trial.binomial import fewest_requests, shown_above, shown_below
from autotune_nb.trial.measurement import FIGURES, QUALITY, SLO_SCORE, Level, Measurement, figure_name

Direction = Literal["minimize", "maximize"]

#: The objective names of the prototype, each with its direction and figure.
PROTOTYPE_OBJECTIVES: dict[str, tuple[Direction, str]] = {
    "minimize_latency": ("minimize", "e2e_latency_mean_s"),
    "maximize_throughput": ("maximize", "output_tokens_per_s"),
    "minimize_ttft": ("minimize", "ttft_mean_s"),
    "minimize_tpot": ("minimize", "tpot_mean_s"),
}

#: By how much a level that a limit does not bound is beyond it, as a share of the bound: it keeps it by half.
UNBOUND = -0.5
_PERCENTILE = re.compile(r"(?P<figure>\w+)_p(?P<percent>\d\d)(?:_s)?")
#: Figures that no configuration has above one.
_SHARES = frozenset({"goodput_share", "quality_agreement"})
_DECIMAL_COMMA = re.compile(r"\s*(\w+)\s*([<>])=?\s*(\d+),(\d+)(\s+of\s.*)?")
_LIMIT = re.compile(r"^\s*([A-Za-z_][\w]*)\s*(<=|>=|<|>)\s*([-+0-9.eE]+)(?:\s+of\s+(\S.*?))?\s*$")


class Decision(StrEnum):
    """What the requests of a level show of a limit on a percentile, at 95 %."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Tail:
    """What a limit on a percentile means for single requests: at most ``share`` of them may be beyond its bound.

    ``figure`` is the figure of a request, such as ``ttft``.
    """

    figure: str
    share: float

    @property
    def requests(self) -> int:
        """The fewest requests that can show that the limit is kept: none of them is beyond its bound."""
        return fewest_requests(self.share)

    def decide(self, requests: int, beyond: int) -> Decision:
        """Return what so many requests beyond the bound show."""
        if shown_above(beyond, requests, self.share):
            return Decision.BROKEN
        return Decision.KEPT if shown_below(beyond, requests, self.share) else Decision.UNDECIDED


def _comma_text(text: str, found: re.Match[str]) -> str:
    """Return the error of a limit whose number has a comma, which may also separate thousands."""
    name, side, whole, part, rest = found.groups(default="")
    numbers = [f"{whole}.{part}", *([whole + part] if len(part) == 3 and whole.lstrip("0") else [])]
    wanted = " or ".join(repr(f"{name} {side}= {number}{rest}") for number in numbers)
    return f"'{whole},{part}' in {text!r} has a comma; a number is written with a point: write {wanted}"


@dataclass(frozen=True)
class Limit:
    """A bound on one figure, such as ``ttft_p99_s <= 0.5``, or of one scenario, ``ttft_p99_s <= 0.5 of D(64,32)``."""

    figure: str
    operator: Literal["<=", ">="]
    bound: float
    #: The only scenario whose levels it bounds; empty for all.
    scenario: str = ""

    @classmethod
    def parse(cls, text: str, *, field: str = "limits") -> Limit:
        """Parse ``FIGURE <= NUMBER`` or ``FIGURE <= NUMBER of SCENARIO``; ``<`` means ``<=``. Raises TaskError."""
        match = _LIMIT.match(text)
        if not match:
            if comma := _DECIMAL_COMMA.fullmatch(text.rstrip()):
                raise TaskError(_comma_text(text, comma), field=field)
            wanted = (
                "write FIGURE <= NUMBER, times in seconds, as in 'ttft_p99_s <= 0.5', or for one scenario "
                "'ttft_p99_s <= 0.5 of D(64,32)'"
            )
            raise TaskError(f"{text!r} is not a limit; {wanted}", field=field)
        name, operator, number, scenario = match.groups()
        try:
            bound = float(number)
            if not math.isfinite(bound):
                raise ValueError
        except ValueError:
            raise TaskError(f"{number!r} in {text!r} is not a number", field=field) from None
        if name.endswith("_ms") and f"{name[:-3]}_s" in FIGURES:
            wanted = f"{name[:-3]}_s {operator} {bound / 1000:g}"
            raise TaskError(f"times are in seconds: write {wanted!r} instead of {text!r}", field=field)
        figure = figure_name(name, field=field)
        if figure in _SHARES and operator.startswith(">") and bound > 1:
            wanted = f"{figure} {operator} {bound / 100 if 10 <= bound <= 100 else 0.9:g}"
            raise TaskError(f"{figure} is a share from 0 to 1: write {wanted!r} instead of {text!r}", field=field)
        return cls(figure, "<=" if operator.startswith("<") else ">=", bound, scenario or "")

    @cached_property
    def tail(self) -> Tail | None:
        """What it means for single requests; None unless it is a limit on a percentile."""
        found = _PERCENTILE.fullmatch(self.figure)
        if found is None:
            return None
        share = int(found["percent"]) / 100
        # Rounded, since 1 - 0.99 is more than 0.01.
        return Tail(found["figure"], share if self.operator == ">=" else round(1 - share, 2))

    def bounds(self, level: Level) -> bool:
        """Whether it is a limit on a level."""
        return self.scenario in ("", level.scenario)

    def violation(self, *starts: Measurement) -> float:
        """Return how far the limit is broken, in the unit of the figure; at most 0 if it is not shown to be broken.

        Of several starts of one configuration at one level, it is the mean, and their requests decide together. As
        long as they are too few to decide, a percentile beyond the bound counts as exactly at the bound.
        """
        excess = math.fsum(map(self.excess, starts)) / len(starts)
        match self.decision(*starts):
            case None:
                return excess
            case Decision.BROKEN:
                # The percentile of a few requests is interpolated, and may be below a bound that one of them is beyond.
                return max(excess, math.ulp(self.bound))
        return min(excess, 0.0)

    def is_beyond(self, value: float) -> bool:
        """Whether the value of a single request is on the wrong side of the bound."""
        return value > self.bound if self.operator == "<=" else value < self.bound

    def excess(self, measurement: Measurement) -> float:
        """Return how far the measured figure is beyond the bound, in its unit; below 0 if it is not.

        For a level that it does not bound, it is ``UNBOUND``.
        """
        if not self.bounds(measurement.level):
            return UNBOUND * abs(self.bound)
        value = measurement.figures.get(self.figure)
        if value is None:
            raise _no_figure(self.figure, measurement)
        return value - self.bound if self.operator == "<=" else self.bound - value

    def counts(self, *starts: Measurement) -> tuple[int, int] | None:
        """Return how many requests all starts together have, and how many of them are beyond the bound.

        None unless it is a limit on a percentile, and every start has the counts: recorded tables have none.
        """
        name = str(self)
        found = [start.beyond[name] for start in starts if name in start.beyond]
        if not found or len(found) < len(starts):
            return None
        return sum(requests for requests, _ in found), sum(beyond for _, beyond in found)

    def decision(self, *starts: Measurement) -> Decision | None:
        """Return what the requests show; None if they are not counted: the limit is then read off the figure."""
        counts, tail = self.counts(*starts), self.tail
        return tail.decide(*counts) if counts is not None and tail is not None else None

    def undecided_text(self, *starts: Measurement) -> str:
        """Return why the limit is undecided and how many requests may decide it; empty if it is decided."""
        counts, tail = self.counts(*starts), self.tail
        if counts is None or tail is None or tail.decide(*counts) is not Decision.UNDECIDED:
            return ""
        requests, beyond = counts
        needed = fewest_requests(tail.share, beyond)
        seconds = math.fsum(start.steady.get("steady_s", start.duration_s) for start in starts)
        lasts = f", {needed * seconds / requests:.0f} s at this rate" if seconds else ""
        return f"{beyond} of {requests} requests beyond it; at least {needed} are needed to tell{lasts}"

    def __str__(self) -> str:
        scenario = f" of {self.scenario}" if self.scenario else ""
        return f"{self.figure} {self.operator} {self.bound:.15g}{scenario}"


#: The limits of thousands of trials are the same few texts.
_parsed = lru_cache(maxsize=256)(Limit.parse)


def undecided(limits: Iterable[str], starts: Sequence[Measurement]) -> dict[str, str]:
    """Return which of the limits the requests of these starts leave undecided, each with the numbers of requests."""
    found = {name: _parsed(name).undecided_text(*starts) for name in limits} if starts else {}
    return {name: text for name, text in found.items() if text}


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
    # Without the default's answers there is nothing to compare with, which is reported.
    checked = [
        one
        for one in objective.limits
        if one.bounds(measurement.level) and (one.figure not in QUALITY or one.figure in measurement.figures)
    ]
    limits = {str(limit): limit.violation(measurement) for limit in checked}
    return Score({name: measurement.figures[name] for name in objective.figures}, limits, measurement.level)


def _total_violation(scored: Score, limits: Iterable[Limit]) -> float:
    return sum(max(0.0, scored.limits.get(str(limit), 0.0)) / (abs(limit.bound) or 1.0) for limit in limits)


def _no_figure(figure: str, measurement: Measurement) -> MeasurementError:
    message = f"the measurement of {measurement.level} has no {figure}"
    if figure.startswith(("tpot", "request_output_tokens_per_s")) and "ttft_mean_s" in measurement.figures:
        message += (
            ": the replies have one token or came all at once, so there is no time between tokens; if a proxy stands "
            "before the server, let it neither buffer nor compress streams"
        )
    if figure == SLO_SCORE:
        message += ", since it lacks slo.figure"
    if figure.startswith("goodput"):
        message += ": the task has no workload.goodput, or the result file does not have every single request"
    if figure.endswith("_per_gpu"):
        message += ": the trial has no GPU, or their number is unknown (deploy.gpus_per_trial)"
    return MeasurementError(Failure(FailureKind.MEASUREMENT, "benchmark", message))
