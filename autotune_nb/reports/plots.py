"""The data of charts, for the monitor, the report and your own plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from autotune_nb.trial.configuration import leaders
from autotune_nb.trial.formatting import params_text, value_text
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.pareto import dominates, hypervolume, scaled
from autotune_nb.trial.score import Limit, Objective
from autotune_nb.trial.trial import Trial

#: The labels of the axes of curves and importances.
THROUGHPUT_AXIS, LATENCY_AXIS = "output tokens per second (all requests)", "mean end-to-end latency, s"
SHARE_AXIS = "share of the importance (PED-ANOVA)"
Role = Literal["best", "default", "other", "infeasible"]


@dataclass(frozen=True)
class Curve:
    """One trial's path through its load levels: throughput in tokens/s against latency in s.

    ``kept`` is, for each level, whether it keeps every limit; empty if all do.
    """

    number: int
    label: str
    role: Role
    output_tokens_per_s: tuple[float, ...]
    e2e_latency_mean_s: tuple[float, ...]
    levels: tuple[str, ...]
    kept: tuple[bool, ...] = ()

    @cached_property
    def broken(self) -> tuple[int, ...]:
        """The indices of the levels that break a limit."""
        return tuple(i for i, kept in enumerate(self.kept) if not kept)


def kept_points(curve: Curve) -> list[tuple[float, float]]:
    """Return the (throughput, latency) points of the levels that keep every limit."""
    points = zip(curve.output_tokens_per_s, curve.e2e_latency_mean_s, strict=True)
    return [point for i, point in enumerate(points) if i not in curve.broken] if curve.kept else list(points)


def broken_levels(curves: Iterable[Curve]) -> list[Curve]:
    """Return the levels that break a limit, in trials that keep every limit at another one, as curves of one point."""
    return [
        replace(
            curve,
            role="infeasible",
            output_tokens_per_s=(curve.output_tokens_per_s[i],),
            e2e_latency_mean_s=(curve.e2e_latency_mean_s[i],),
            levels=(curve.levels[i],),
            kept=(),
        )
        for curve in curves
        if curve.role != "infeasible"
        for i in curve.broken
    ]


class Curves:
    """Makes the curves of a study again and again while trials are added; that of an unchanged trial is kept."""

    def __init__(self, limits: Sequence[Limit] = ()) -> None:
        self._limits = limits
        self._known: dict[int, tuple[Trial, Curve | None]] = {}

    def of(self, trials: Sequence[Trial], best: Trial | None) -> list[Curve]:
        """Return a curve per trial with valid levels; the best one last, so that it is drawn on top."""
        curves = [curve for trial in trials if (curve := self._curve(trial)) is not None]
        if best is not None:
            curves = [replace(one, role="best") if one.number == best.number else one for one in curves]
        order: list[Role] = ["infeasible", "other", "default", "best"]
        return sorted(curves, key=lambda curve: order.index(curve.role))

    def _curve(self, trial: Trial) -> Curve | None:
        known = self._known.get(trial.number)
        if known is None or known[0] is not trial:
            known = self._known[trial.number] = trial, self._made(trial)
        return known[1]

    def _made(self, trial: Trial) -> Curve | None:
        points = [
            (m.figures["output_tokens_per_s"], m.figures["e2e_latency_mean_s"], *_level(m, self._limits))
            for m in trial.measurements
            if m.valid and {"output_tokens_per_s", "e2e_latency_mean_s"} <= m.figures.keys()
        ]
        if not points:
            return None
        x, y, levels, kept = zip(*points, strict=True)
        return Curve(trial.number, params_text(trial), role_of(trial, None), x, y, levels, () if all(kept) else kept)


def latency_throughput(trials: Sequence[Trial], best: Trial | None, limits: Sequence[Limit] = ()) -> list[Curve]:
    """Return a curve per trial with valid levels; the best one last, so that it is drawn on top."""
    return Curves(limits).of(trials, best)


def _level(measured: Measurement, limits: Sequence[Limit]) -> tuple[str, bool]:
    """Return the label of a level, and whether it keeps every limit."""
    broken = [str(one) for one in limits if one.figure in measured.figures and one.violation(measured) > 0]
    return f"{measured.level}, breaks {', '.join(broken)}" if broken else str(measured.level), not broken


def role_of(trial: Trial, best: Trial | None) -> Role:
    """Return how a trial is drawn."""
    if best is not None and trial.number == best.number:
        return "best"
    if trial.baseline:
        return "default"
    return "other" if trial.score is None or trial.score.feasible else "infeasible"


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the (throughput, latency) points that no other improves in both, by descending throughput."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda point: (-point[0], point[1])):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def front_of(curves: Iterable[Curve]) -> list[tuple[float, float]]:
    """Return the Pareto front of the levels that keep every limit; infeasible trials are ignored."""
    return pareto_front(p for curve in curves if curve.role != "infeasible" for p in kept_points(curve))


#: What the history of several objectives shows.
HYPERVOLUME = "hypervolume"
#: The box reaches so far beyond the worst values, as a share of their range: the ends of the front count too.
_BEYOND = 0.1


@dataclass(frozen=True)
class History:
    """The objective's value of each complete trial, and the points at which the best configuration's value changed.

    It also falls: where a repeat of the best configuration brings its mean down. The starts of a confirmation have
    values, but do not change the best, which is that of the search; ``confirmed`` is whether there are any. With
    several objectives ``figure`` is
    HYPERVOLUME: the share of the box between the worst and the best value of each objective that a trial dominates,
    and that all trials so far dominate together.
    """

    figure: str
    numbers: tuple[int, ...]
    values: tuple[float, ...]
    feasible: tuple[bool, ...]
    best_numbers: tuple[int, ...]
    best_values: tuple[float, ...]
    confirmed: bool = False


def history(trials: Sequence[Trial], objective: Objective) -> History:
    """Return the history of a study; the line of the best so far ends at the last complete trial."""
    done = sorted((t for t in trials if t.state.scored and t.score), key=lambda t: t.number)
    if objective.others:
        return _hypervolumes(done, objective)
    best: list[tuple[int, float]] = []
    rows = [(trial.number, trial.score.value, trial.score.feasible) for trial in done if trial.score is not None]
    searched = [trial for trial in done if not trial.in_round]
    for trial, leader in zip(searched, leaders(searched, objective), strict=True):
        if leader is not None and (not best or leader.value != best[-1][1]):
            best.append((trial.number, leader.value))
    if best and rows[-1][0] > best[-1][0]:
        best.append((rows[-1][0], best[-1][1]))
    numbers, values, feasible = zip(*rows, strict=True) if rows else ((), (), ())
    best_numbers, best_values = zip(*best, strict=True) if best else ((), ())
    return History(
        objective.figure, numbers, values, feasible, best_numbers, best_values, confirmed=len(searched) < len(done)
    )


def _hypervolumes(done: Sequence[Trial], objective: Objective) -> History:
    feasible = [trial for trial in done if trial.feasible and trial.score is not None]
    shares = scaled([[t.score.values[f] for f in objective.figures] for t in feasible if t.score], objective.every)
    by_number = {trial.number: share for trial, share in zip(feasible, shares, strict=True)}
    upwards = [Objective(figure, "maximize") for figure in objective.figures]
    nothing: Sequence[float] = [-_BEYOND] * len(upwards)
    box = (1 + _BEYOND) ** len(upwards)
    values: list[float] = []
    best: list[tuple[int, float]] = []
    front = [nothing]
    for trial in done:
        share = by_number.get(trial.number, nothing)
        values.append(hypervolume([share], upwards, nothing) / box)
        if trial.number not in by_number or any(dominates(one, share, upwards) for one in front):
            continue
        front = [*(one for one in front if not dominates(share, one, upwards)), share]
        best.append((trial.number, hypervolume(front, upwards, nothing) / box))
    if best and done[-1].number > best[-1][0]:
        best.append((done[-1].number, best[-1][1]))
    return History(
        HYPERVOLUME,
        tuple(trial.number for trial in done),
        tuple(values),
        tuple(trial.number in by_number for trial in done),
        tuple(number for number, _ in best),
        tuple(value for _, value in best),
    )


def latency_title(curves: Iterable[Curve]) -> str:
    """Return the title of the chart of curves."""
    best = next((c for c in curves if c.role == "best"), None)
    return "Further right and lower is better" + (f"; the star is trial {best.number}" if best else "")


def history_title(history: History, direction: str, *, brief: bool = False, over: bool = False) -> str:
    """Return the title of the chart of the history; ``brief`` omits the trial of the best value.

    ``over`` is whether the search has ended.
    """
    if history.figure == HYPERVOLUME and history.best_numbers:
        explained = "" if brief else ", of the box between the worst and the best value of each objective"
        return f"Hypervolume of the Pareto front: {100 * history.best_values[-1]:.0f} %{explained}"
    better = "higher" if direction == "maximize" else "lower"
    if not history.best_numbers:
        return f"No trial keeps every limit ({better} is better)" if history.numbers else "No trial completed"
    value = history.best_values[-1]
    places = zip(history.best_numbers, history.best_values, strict=True)
    found = next((n for n, v in places if v == value), history.best_numbers[-1])
    where = "" if brief else f", by trial {found}"
    name = "Best of the search" if history.confirmed else "Best" if over else "Best so far"
    return f"{name}: {value_text(value, history.figure)}{where} ({better} is better)"


def importance_title(importances: Mapping[str, float], *, brief: bool = False) -> str:
    """Return the title of the chart of importances; ``brief`` omits the explanation."""
    if not importances:
        return "Importances need ten complete trials"
    name, share = max(importances.items(), key=lambda item: item[1])
    short = short_names([name])[0]
    return f"{short} matters most: {100 * share:.0f} %" + ("" if brief else " of what distinguishes the best trials")


def axis_label(figure: str) -> str:
    """Return the label of an axis: the name of a figure and its unit."""
    if figure == HYPERVOLUME:
        return "hypervolume, share of the box"
    if "tokens_per_s" in figure:
        return f"{figure}, tokens/s"
    if figure == "requests_per_s":
        return f"{figure}, requests/s"
    return f"{figure}, s" if figure.endswith("_s") else figure


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten long names so that they fit in a chart; return them unchanged if they would become equal."""
    short = [name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}" for name in names]
    return short if len(set(short)) == len(names) else list(names)
