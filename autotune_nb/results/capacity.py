"""How many replicas of a configuration carry a load within the limits, from its measured levels."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from autotune_nb.errors import StudyError, TaskError
from autotune_nb.task.budget import Price
from autotune_nb.task.parameters import Value
from autotune_nb.trial.configuration import Configuration, mean
from autotune_nb.trial.cost import usd_text
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Decision, Limit
from autotune_nb.trial.trial import configuration_text

_RATE = "requests_per_s"
_SHOWN = ("ttft_mean_s", "tpot_mean_s", "e2e_latency_mean_s", "output_tokens_per_s")
#: The share of a replica's capacity that stays free by default.
HEADROOM = 0.2


@dataclass(frozen=True)
class Load:
    """A load to carry: requests per second, or concurrent requests; at its peak, over all replicas."""

    requests_per_s: float | None = None
    concurrency: float | None = None
    headroom: float = HEADROOM
    scenario: str | None = None

    def __post_init__(self) -> None:
        """Raises TaskError unless exactly one load is given, above 0, and the headroom is a share."""
        given = [value for value in (self.requests_per_s, self.concurrency) if value is not None]
        if len(given) != 1:
            raise TaskError("give either requests_per_s or concurrency", field="load")
        if not (math.isfinite(given[0]) and given[0] > 0):
            raise TaskError(f"expected a number above 0, not {given[0]!r}", field="load")
        if not 0 <= self.headroom < 1:
            raise TaskError(f"expected a share from 0 to below 1, such as 0.2, not {self.headroom!r}", field="headroom")

    def __str__(self) -> str:
        if self.requests_per_s is not None:
            return f"{self.requests_per_s:.12g} requests/s"
        return f"{self.concurrency:.12g} concurrent requests"


@dataclass(frozen=True)
class Point:
    """A level of a configuration: requests in flight and per second, its figures, and which limits it breaks."""

    level: Level
    in_flight: float
    requests_per_s: float
    figures: Mapping[str, float]
    broken: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()


@dataclass(frozen=True)
class Capacity:
    """How many replicas carry a load, what they cost, and which target an autoscaler gets; prints as text.

    ``most_requests_per_s`` and ``most_in_flight`` are those of one replica at ``level``, the heaviest measured one that
    keeps every limit. ``requests_per_s``, ``in_flight`` and ``figures`` are those of each replica under the load,
    interpolated between measured levels, or of the lightest one if the load is below it. ``target_in_flight`` is the
    number of requests in flight of a replica that an autoscaler aims at.
    """

    trial: int
    params: Mapping[str, Value]
    load: Load
    replicas: int
    level: Level
    most_requests_per_s: float
    most_in_flight: float
    requests_per_s: float
    in_flight: float
    target_in_flight: float
    figures: Mapping[str, float] = field(default_factory=dict)
    gpus: int | None = None
    usd_per_hour: float | None = None
    start_s: float | None = None
    assumptions: tuple[str, ...] = ()

    def __str__(self) -> str:
        each = f"{self.requests_per_s:.3g} requests/s and {self.in_flight:.3g} requests in flight each"
        costs = [f"{self.gpus} GPUs" if self.gpus else "", usd_text(self.usd_per_hour) + " per hour"
                 if self.usd_per_hour is not None else ""]  # fmt: skip
        held = f" ({', '.join(filter(None, costs))})" if any(costs) else ""
        number = "1 replica" if self.replicas == 1 else f"{self.replicas} replicas"
        most = f"{self.most_requests_per_s:.4g} requests/s within every limit, under {self.level}"
        lines = [
            f"{number}{held} of trial {self.trial} carry {self.load}: {each}",
            f"configuration: {configuration_text(self.params)}",
            f"one replica carries up to {most}",
        ]
        expected = ", ".join(f"{name} {value_text(value, name)}" for name, value in self.figures.items())
        if expected:
            lines.append(f"expected of each replica: {expected}")
        lines.append(
            f"autoscaler: {self.target_in_flight:g} requests in flight per replica, at most {self.replicas} replicas"
        )
        if self.start_s is not None:
            lines.append(f"a replica took {self.start_s:.0f} s to start (median): load that rises faster has to wait")
        return "\n".join([*lines, *(f"assumed: {text}" for text in self.assumptions)])

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "trial": self.trial,
            "params": dict(self.params),
            "load": {"requests_per_s": self.load.requests_per_s, "concurrency": self.load.concurrency},
            "headroom": self.load.headroom,
            "replicas": self.replicas,
            "level": str(self.level),
            "most_requests_per_s": self.most_requests_per_s,
            "most_in_flight": self.most_in_flight,
            "requests_per_s": self.requests_per_s,
            "in_flight": self.in_flight,
            "target_in_flight": self.target_in_flight,
            "figures": dict(self.figures),
            "gpus": self.gpus,
            "usd_per_hour": self.usd_per_hour,
            "start_s": self.start_s,
            "assumptions": list(self.assumptions),
        }


def capacity_of(
    configuration: Configuration, limits: Sequence[Limit], load: Load, *, gpus: int | None, price: Price
) -> Capacity:
    """Return the capacity of a configuration.

    Raises StudyError if its levels do not show it: no requests per second, batches, or a limit broken at the lightest.
    """
    measured = curve(configuration, limits, load.scenario)
    points = _kept(measured, configuration)
    all_kept = len(points) == len(measured)
    top = max(points, key=lambda point: point.requests_per_s)
    heaviest = max(points, key=lambda point: point.in_flight)
    usable = 1 - load.headroom
    if load.requests_per_s is not None:
        level, demand, most = top, load.requests_per_s, top.requests_per_s
        # Beyond the fastest level, more requests in flight only wait longer.
        points = points[: points.index(top) + 1]
    else:
        assert load.concurrency is not None
        level, demand, most = heaviest, load.concurrency, heaviest.in_flight
    replicas = max(1, math.ceil(demand / (most * usable) - 1e-9))
    by_rate = load.requests_per_s is not None
    own = _between(points, demand / replicas, by_rate=by_rate)
    number = configuration.trial.number
    shown = dict.fromkeys((*_SHOWN, *(limit.figure for limit in limits)))
    per_hour = price.per_hour(gpus or 0)
    starts = [trial.seconds["deploy"] for trial in configuration.complete if "deploy" in trial.seconds]
    return Capacity(
        trial=number,
        params=dict(configuration.params),
        load=load,
        replicas=replicas,
        level=level.level,
        most_requests_per_s=level.requests_per_s,
        most_in_flight=level.in_flight,
        requests_per_s=demand / replicas if by_rate else own.requests_per_s,
        in_flight=own.in_flight if by_rate else demand / replicas,
        target_in_flight=_target(points, most * usable, by_rate=by_rate),
        figures={name: own.figures[name] for name in shown if name in own.figures},
        gpus=None if gpus is None else gpus * replicas,
        usd_per_hour=None if per_hour is None else per_hour * replicas,
        start_s=statistics.median(starts) if starts else None,
        assumptions=tuple(_assumptions(points, level, load, demand / replicas, by_rate=by_rate, all_kept=all_kept)),
    )


def curve(configuration: Configuration, limits: Sequence[Limit], scenario: str | None = None) -> list[Point]:
    """Return the levels of a configuration in one scenario, by default that of its score, the lightest first.

    Of several starts, the figures are means. Raises StudyError if there is none.
    """
    scored = configuration.level
    wanted = scenario or (scored.scenario if scored is not None else None)
    starts: dict[Level, list[Measurement]] = {}
    for trial in configuration.complete:
        for one in trial.measurements:
            if one.valid and wanted in (None, one.level.scenario):
                starts.setdefault(one.level, []).append(one)
    known = list(dict.fromkeys(m.level.scenario for trial in configuration.complete for m in trial.measurements))
    number = configuration.trial.number
    if not starts:
        raise StudyError(f"trial {number} has no level of {wanted}; its scenarios are {', '.join(known) or 'none'}")
    if any(level.batch_size > 1 for level in starts):
        raise StudyError(f"the levels of trial {number} are batches, which have no requests per second to add up")
    points = [_point(level, own, limits) for level, own in starts.items() if all(_RATE in m.figures for m in own)]
    if not points:
        raise StudyError(f"the levels of trial {number} have no {_RATE}")
    return sorted(points, key=lambda point: (point.level.rate, point.level.concurrency))


def _point(level: Level, starts: Sequence[Measurement], limits: Sequence[Limit]) -> Point:
    names = [name for name in starts[0].figures if all(name in one.figures for one in starts)]
    figures = {name: mean([one.figures[name] for one in starts]) for name in names}
    bounds = [limit for limit in limits if limit.bounds(level) and limit.figure in figures]
    in_flight = float(level.concurrency)
    if level.rate:
        # Little's law: as many are in flight as arrive while one is answered.
        in_flight = figures[_RATE] * figures.get("e2e_latency_mean_s", 0.0)
    return Point(
        level,
        in_flight,
        figures[_RATE],
        figures,
        tuple(str(limit) for limit in bounds if limit.violation(*starts) > 0),
        tuple(str(limit) for limit in bounds if limit.decision(*starts) is Decision.UNDECIDED),
    )


def _kept(points: Sequence[Point], configuration: Configuration) -> list[Point]:
    """Return the levels up to the first that breaks a limit: a heavier one that seems to keep it is luck."""
    end = next((i for i, point in enumerate(points) if point.broken), len(points))
    if not end:
        first = points[0]
        number = configuration.trial.number
        raise StudyError(
            f"trial {number} breaks {', '.join(first.broken)} at its lightest level, {first.level}, so that no number "
            "of replicas carries a load within the limits; measure a lighter level"
        )
    return list(points[:end])


def _between(points: Sequence[Point], wanted: float, *, by_rate: bool) -> Point:
    """Return the point at so many requests per second or in flight, between two levels; the lightest below it."""

    def at(point: Point) -> float:
        return point.requests_per_s if by_rate else point.in_flight

    if wanted <= at(points[0]):
        return points[0]
    for low, high in pairwise(points):
        if at(low) <= wanted <= at(high) and at(high) > at(low):
            share = (wanted - at(low)) / (at(high) - at(low))
            figures = {
                name: value + share * (high.figures[name] - value)
                for name, value in low.figures.items()
                if name in high.figures
            }
            in_flight = low.in_flight + share * (high.in_flight - low.in_flight)
            rate = low.requests_per_s + share * (high.requests_per_s - low.requests_per_s)
            return Point(high.level, in_flight, rate, figures)
    return max(points, key=at)


def _target(points: Sequence[Point], wanted: float, *, by_rate: bool) -> float:
    """Return how many requests in flight a replica has at so much load, rounded down: to tenths below ten."""
    lightest = points[0].requests_per_s if by_rate else points[0].in_flight
    # Below the lightest level, its own number would leave no headroom.
    share = min(1.0, wanted / lightest)
    in_flight = share * _between(points, wanted, by_rate=by_rate).in_flight
    # Without the noise of products such as 0.8 * 3.
    steps = 1 if in_flight >= 10 else 10
    return max(math.floor(round(in_flight * steps, 6)), 1) / steps


def _assumptions(
    points: Sequence[Point], level: Point, load: Load, each: float, *, by_rate: bool, all_kept: bool
) -> list[str]:
    measured = ", ".join(point.level.load for point in points)
    found = [
        f"figures are interpolated between the measured levels ({measured}), and nothing beyond them is: one replica "
        f"carries no more than under {level.level.load}",
        f"{load.headroom:.0%} of each replica's capacity stays free, for bursts and for replicas that are away",
        "requests are spread evenly over the replicas, and are like those of the workload",
    ]
    if all_kept and level is points[-1]:
        found.append(f"no heavier level than {level.level.load} was measured: one replica may carry more")
    lightest = points[0].requests_per_s if by_rate else points[0].in_flight
    if each < lightest:
        found.append(f"each replica gets less than the lightest level, {points[0].level.load}: its figures are shown")
    if by_rate and not level.level.rate:
        found.append(
            "the levels keep a concurrency; arrivals at a rate come in bursts, and wait longer (workload.rate)"
        )
    if level.undecided:
        found.append(f"the requests leave undecided whether {', '.join(level.undecided)} is kept")
    return found
