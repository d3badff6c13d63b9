"""The monitor's chart of latency against throughput: only what changed is sent, however many trials there are.

The latest trials have their parameters in the tooltip. Older ones are in grey, in groups by their numbers, so that
only the last group changes, and as lines without markers: a page draws thousands of markers much more slowly.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune_nb.reports.chart_text import chart_text, tooltip
from autotune_nb.reports.drawing import COLOURS, FRONT, LABELS, MARKERS, RUNNING
from autotune_nb.reports.plots import (
    LATENCY_AXIS,
    THROUGHPUT_AXIS,
    Curve,
    Role,
    broken_levels,
    front_of,
    latency_title,
    pareto_front,
)
from autotune_nb.trial.formatting import value_text

#: At least so many of the latest trials have a tooltip with their parameters, and the numbers of an older group.
_DETAILED, _GROUP = 12, 48
#: How opaque a group of older trials is, so that hundreds of lines do not hide what is on top of them.
_FAINT = 0.6
_HOVER = "%{text}<br>%{x:.4g} tokens/s, %{y:.3g} s<extra></extra>"
_BRIEF_HOVER = "trial %{customdata}<br>%{x:.4g} tokens/s, %{y:.3g} s<extra></extra>"

AXES: dict[str, Any] = {
    "xaxis": {"title": {"text": THROUGHPUT_AXIS}, "rangemode": "tozero"},
    "yaxis": {"title": {"text": LATENCY_AXIS}, "rangemode": "tozero"},
    "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
}


@dataclass(frozen=True)
class _Group:
    """Some older trials: their traces by name, and the points of the Pareto front among them."""

    curves: Sequence[Curve]
    traces: Mapping[str, dict[str, Any]]
    front: Sequence[tuple[float, float]]


class LatencyTraces:
    """Makes the traces again and again while trials are added; those of older trials that did not change are kept."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, bool], _Group] = {}

    def of(self, curves: Sequence[Curve], running: frozenset[int]) -> dict[str, dict[str, Any]]:
        """Return the traces by name; empty without a measured level."""
        ended = [c for c in curves if c.number not in running]
        usual = sorted((c for c in ended if c.role in ("other", "infeasible")), key=lambda c: c.number)
        newest = max((c.number for c in curves), default=0)
        first_detailed = (newest - _DETAILED) // _DETAILED * _DETAILED
        older = [c for c in usual if c.number < first_detailed]
        latest = [c for c in usual if c.number >= first_detailed]
        found: dict[str, dict[str, Any]] = {}
        # Only ended trials, as in the report.
        newer = (c for c in ended if c.role in ("best", "default") or c.number >= first_detailed)
        front = front_of(newer)
        for number, several in itertools.groupby(older, key=lambda c: c.number // _GROUP):
            group = self._group(number, list(several), first=not found)
            found |= group.traces
            front += group.front
        return found | _latest_traces(curves, ended, latest, running) | _front_trace(pareto_front(front))

    def _group(self, number: int, curves: list[Curve], *, first: bool) -> _Group:
        known = self._groups.get((number, first))
        if known is None or len(known.curves) != len(curves) or not all(map(operator.is_, known.curves, curves)):
            known = self._groups[number, first] = _Group(curves, _older_traces(number, curves, first), front_of(curves))
        return known


def _older_traces(group: int, curves: Sequence[Curve], first: bool) -> dict[str, dict[str, Any]]:
    """Return the traces of a group; only one of all groups is in the legend."""
    found: dict[str, dict[str, Any]] = {}
    # A line of one point would not be seen.
    for name, part, mode in (
        (f"older {group}", [c for c in curves if len(c.levels) > 1], "lines"),
        (f"older points {group}", [c for c in curves if len(c.levels) == 1], "markers"),
    ):
        if part:
            about = {"name": "older trials", "mode": mode, "legendgroup": "older", "showlegend": first and not found}
            found[name] = _lines(part, _style("other"), 1, 4, detailed=False) | about | {"opacity": _FAINT}
    return found


def _latest_traces(
    curves: Sequence[Curve], ended: Sequence[Curve], latest: Sequence[Curve], running: frozenset[int]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    found[LABELS["infeasible"]] = _lines([c for c in latest if c.role == "infeasible"], _style("infeasible"), 1, 7)
    found[LABELS["other"]] = _lines([c for c in latest if c.role == "other"], _style("other"), 1, 6)
    found["running"] = _lines([c for c in curves if c.number in running], (RUNNING, "diamond"), 2, 9)
    found[LABELS["default"]] = _lines([c for c in ended if c.role == "default"], _style("default"), 2, 9)
    found[LABELS["best"]] = _lines([c for c in ended if c.role == "best"], _style("best"), 3, 13)
    # On top of the trials that they belong to.
    shown = {c.number for c in latest} | {c.number for c in curves if c.role in ("best", "default")}
    broken = broken_levels(c for c in curves if c.number in shown)
    marks = _lines(broken, _style("infeasible"), 1, 7, detailed=False)
    # The curves below have the tooltips and the clicks.
    del marks["customdata"]
    named = not found[LABELS["infeasible"]]["x"]
    about = {"name": LABELS["infeasible"], "mode": "markers", "showlegend": named, "hoverinfo": "skip"}
    found["broken levels"] = marks | about | {"hovertemplate": None}
    return {name: trace | {"name": trace.get("name", name)} for name, trace in found.items() if trace["x"]}


def _front_trace(front: Sequence[tuple[float, float]]) -> dict[str, dict[str, Any]]:
    """Return the line of the Pareto front, or nothing for a single point."""
    if len(front) < 2:
        return {}
    line = {"color": FRONT, "width": 2, "dash": "dot"}
    about = {"mode": "lines", "line": line, "hoverinfo": "skip", "name": "Pareto front"}
    return {"front": {"type": "scatter", "x": [x for x, _ in front], "y": [y for _, y in front], **about}}


def latency_caption(curves: Sequence[Curve]) -> str:
    """Return what the chart says in a sentence, which is also what a screen reader has of it."""
    found = {role: reach for role in ("best", "default") if (reach := _reach(curves, role))}
    parts = [found[role] if role == "best" else f"the default {found[role]}" for role in found]
    return latency_title(curves) + (f": {', '.join(parts)}" if "best" in found else "")


def _reach(curves: Sequence[Curve], role: str) -> str:
    """Return the highest throughput of a curve with its latency, in words; empty without one."""
    points = [
        (x, y)
        for curve in curves
        if curve.role == role
        for x, y in zip(curve.output_tokens_per_s, curve.e2e_latency_mean_s, strict=True)
    ]
    if not points:
        return ""
    x, y = max(points)
    return f"up to {value_text(x, 'output_tokens_per_s')} at {value_text(y, 'e2e_latency_mean_s')}"


def _style(role: Role) -> tuple[str, str]:
    return COLOURS[role], MARKERS[role][0]


def _lines(
    curves: Iterable[Curve], style: tuple[str, str], width: int, size: int, *, detailed: bool = True
) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    tips: dict[str, str] = {}
    levels: dict[str, int] = {}
    at: list[int] = []
    for curve in curves:
        x += [*curve.output_tokens_per_s, None]
        y += [*curve.e2e_latency_mean_s, None]
        numbers += [curve.number] * (len(curve.levels) + 1)
        if detailed:
            tips[str(curve.number)] = tooltip(curve.label)
            at += [*(levels.setdefault(chart_text(level), len(levels)) for level in curve.levels), -1]
    colour, symbol = style
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": y,
        "customdata": numbers,
        "line": {"color": colour, "width": width},
        "marker": {"symbol": symbol, "size": size, "color": colour},
        "hovertemplate": _HOVER if detailed else _BRIEF_HOVER,
    }
    # The page makes the texts of the points from these: most points have a level and a trial in common.
    return {**trace, "labels": {"tips": tips, "levels": list(levels), "at": at}} if detailed else trace
