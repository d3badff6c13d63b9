"""The charts of a study: interactive in a notebook (Plotly), and as SVG where scripts do not run.

Each is drawn from data of ``plots``, which ``frame()`` returns as a table to plot it yourself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from autotune_nb.reports.chart_text import chart_text, tooltip
from autotune_nb.reports.drawing import COLOURS, FRONT, LABELS, MARKERS, SHARE, SingleChart
from autotune_nb.reports.plots import (
    LATENCY_AXIS,
    SHARE_AXIS,
    THROUGHPUT_AXIS,
    Curve,
    History,
    Role,
    axis_label,
    broken_levels,
    front_of,
    history_title,
    importance_title,
    kept_points,
    latency_title,
    short_names,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

ChartKind = Literal["latency", "history", "importance", "dependence", "front"]
#: The most curves that are drawn, and the most of them whose tooltips show the parameters.
_MAX_CURVES, _MAX_LABELLED = 300, 40
_MAX_POINTS = 600
_MAX_BARS = 12


@dataclass(frozen=True)
class LatencyChart(SingleChart):
    """Latency against throughput: a curve per trial through its load levels, and the Pareto front of all levels."""

    curves: tuple[Curve, ...]

    @property
    def title(self) -> str:
        left_out = len(self.curves) - len(self._drawn)
        note = f" ({len(self._drawn)} of {len(self.curves)} trials)" if left_out else ""
        return f"{latency_title(self.curves)}{note}"

    @cached_property
    def front(self) -> list[tuple[float, float]]:
        """The (throughput, latency) points that no other point improves in both."""
        return front_of(self.curves)

    @cached_property
    def _drawn(self) -> Sequence[Curve]:
        """The curves that are drawn: if there are too many, best, default, on the front, then by throughput."""
        if len(self.curves) <= _MAX_CURVES:
            return self.curves
        front = set(self.front)
        ranked = sorted(self.curves, key=lambda c: _rank(c, front))
        chosen = {c.number for c in ranked[:_MAX_CURVES]}
        return [c for c in self.curves if c.number in chosen]

    def frame(self) -> pd.DataFrame:
        """Return one row per level: trial, role, level, output_tokens_per_s, e2e_latency_mean_s, whether it keeps every
        limit, and whether it is on the Pareto front."""
        import pandas as pd

        front = set(self.front)
        rows = [
            (c.number, c.role, level, x, y, i not in c.broken, c.role != "infeasible" and (x, y) in front)
            for c in self.curves
            for i, (level, x, y) in enumerate(zip(c.levels, c.output_tokens_per_s, c.e2e_latency_mean_s, strict=True))
        ]
        names = ["number", "role", "level", "output_tokens_per_s", "e2e_latency_mean_s", "kept", "on_front"]
        return pd.DataFrame(rows, columns=names)

    def figure(self) -> go.Figure:
        """Return Plotly's figure, with one trace per role for any number of trials."""
        import plotly.graph_objects as go

        front = self.front
        on_front = set(front)
        ranked = sorted(self._drawn, key=lambda c: _rank(c, on_front))
        labelled = {c.number for c in ranked[:_MAX_LABELLED]}
        traces = []
        for role, curves in self._by_role():
            x, y = _joined(curves)
            text: list[str] = []
            for curve in curves:
                label = f"<br>{tooltip(curve.label)}" if curve.number in labelled else ""
                text += [*(f"trial {curve.number}, {chart_text(level)}{label}" for level in curve.levels), ""]
            traces.append(
                go.Scatter(
                    x=[None if math.isnan(v) else v for v in x],
                    y=[None if math.isnan(v) else v for v in y],
                    text=text,
                    hovertemplate="%{text}<br>%{x:.4g} tokens/s, %{y:.3g} s<extra></extra>",
                    mode="lines+markers",
                    name=LABELS[role],
                    line={"color": COLOURS[role], "width": 3 if role == "best" else 1},
                    marker={"symbol": MARKERS[role][0], "size": 11 if role == "best" else 7},
                )
            )
        x, y, named = self._broken()
        if x:
            # The curve below has the tooltip.
            mark = {"symbol": MARKERS["infeasible"][0], "size": 9, "color": COLOURS["infeasible"]}
            about = {"name": LABELS["infeasible"], "showlegend": named, "hoverinfo": "skip"}
            traces.append(go.Scatter(x=x, y=y, mode="markers", marker=mark, **about))
        if len(front) > 1:
            line = {"color": FRONT, "width": 2, "dash": "dot"}
            xs, ys = [_short(x) for x, _ in front], [_short(y) for _, y in front]
            traces.append(go.Scatter(x=xs, y=ys, mode="lines", name="Pareto front", line=line, hoverinfo="skip"))
        return self._figure(*traces, x=THROUGHPUT_AXIS, y=LATENCY_AXIS)

    def _draw(self, axes: Axes) -> None:
        for role, curves in self._by_role():
            # One path per role, with gaps between its curves: a third smaller than one path per curve.
            x, y = _joined(curves)
            axes.plot(
                x,
                y,
                color=COLOURS[role],
                marker=MARKERS[role][1],
                linewidth=2.5 if role == "best" else 1,
                markersize=10 if role == "best" else 6,
                label=LABELS[role],
            )
        x, y, named = self._broken()
        if x:
            label = LABELS["infeasible"] if named else None
            # Larger than the marker below it.
            marker, colour = MARKERS["infeasible"][1], COLOURS["infeasible"]
            axes.plot(x, y, linestyle="", marker=marker, color=colour, markersize=9, markeredgewidth=1.5, label=label)
        front = self.front
        if len(front) > 1:
            axes.plot(*zip(*front, strict=True), color=FRONT, linestyle=":", linewidth=2, label="Pareto front")
        axes.set_xlabel(THROUGHPUT_AXIS)
        axes.set_ylabel(LATENCY_AXIS)
        if self.curves:
            axes.legend()

    def _by_role(self) -> list[tuple[Role, list[Curve]]]:
        drawn = self._drawn
        return [(role, [c for c in drawn if c.role == role]) for role in dict.fromkeys(c.role for c in drawn)]

    def _broken(self) -> tuple[list[float], list[float], bool]:
        """Return x and y of levels that break a limit, in trials that keep every limit at another level.

        The third value is whether they need a legend entry: trials that keep no level have the same marker.
        """
        x, y = _joined(broken_levels(self._drawn))
        return x[::2], y[::2], all(c.role != "infeasible" for c in self._drawn)


@dataclass(frozen=True)
class HistoryChart(SingleChart):
    """The objective's value trial by trial, and the best so far."""

    history: History
    direction: str = "maximize"
    #: Whether the search has ended.
    over: bool = False
    height_in: ClassVar[float] = 3.2

    @property
    def title(self) -> str:
        return history_title(self.history, self.direction, over=self.over)

    @property
    def _best_name(self) -> str:
        return "best" if self.over else "best so far"

    def frame(self) -> pd.DataFrame:
        """Return one row per complete trial: number, the objective's figure, whether it is feasible, best so far."""
        import pandas as pd

        h = self.history
        best, values = dict(zip(h.best_numbers, h.best_values, strict=True)), []
        now: float | None = None
        for number in h.numbers:
            now = best.get(number, now)
            values.append(now)
        rows = zip(h.numbers, h.values, h.feasible, values, strict=True)
        return pd.DataFrame(rows, columns=["number", h.figure, "feasible", "best_so_far"])

    def figure(self) -> go.Figure:
        import plotly.graph_objects as go

        h, traces = self.history, []
        for kept, name, role in self._KINDS:
            x, y = self._points(kept)
            if x:
                marker = {"symbol": MARKERS[role][0], "size": 7, "color": COLOURS[role]}
                traces.append(go.Scatter(x=x, y=y, mode="markers", name=name, marker=marker))
        line = {"color": COLOURS["best"], "width": 3, "shape": "hv"}
        best = {"x": list(h.best_numbers), "y": list(h.best_values)}
        traces.append(go.Scatter(**best, mode="lines", name=self._best_name, line=line))
        return self._figure(*traces, x="trial", y=axis_label(h.figure))

    def _draw(self, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        h = self.history
        for kept, name, role in self._KINDS:
            x, y = self._points(kept)
            if x:
                axes.plot(x, y, linestyle="", marker=MARKERS[role][1], color=COLOURS[role], label=name)
        axes.step(
            h.best_numbers, h.best_values, where="post", color=COLOURS["best"], linewidth=2.5, label=self._best_name
        )
        axes.set_xlabel("trial")
        axes.set_ylabel(axis_label(h.figure))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()

    _KINDS: ClassVar[tuple[tuple[bool, str, Role], ...]] = (
        (True, "a trial", "other"),
        (False, "breaks a limit", "infeasible"),
    )

    def _points(self, kept: bool) -> tuple[list[int], list[float]]:
        """Return the trials that keep every limit, or those that do not; of thousands, every n-th one."""
        h = self.history
        points = [(n, v) for n, v, ok in zip(h.numbers, h.values, h.feasible, strict=True) if ok is kept]
        points = points[:: math.ceil(len(points) / _MAX_POINTS) or 1]
        return [n for n, _ in points], [float(f"{v:.7g}") for _, v in points]


@dataclass(frozen=True)
class ImportanceChart(SingleChart):
    """The share of each parameter in what distinguishes the best trials."""

    importances: Mapping[str, float] = field(default_factory=dict)
    height_in: ClassVar[float] = 2.8

    @property
    def title(self) -> str:
        return importance_title(self.importances)

    def frame(self) -> pd.DataFrame:
        """Return one row per parameter, the most important first: parameter, share (of 1)."""
        import pandas as pd

        return pd.DataFrame(self._ranked(None), columns=["parameter", "share"])

    def _ranked(self, most: int | None) -> list[tuple[str, float]]:
        return sorted(self.importances.items(), key=lambda item: -item[1])[:most]

    def figure(self) -> go.Figure:
        import plotly.graph_objects as go

        rows = self._ranked(_MAX_BARS)[::-1]
        bars = {
            "x": [round(share, 4) for _, share in rows],
            "y": [chart_text(name) for name in short_names([name for name, _ in rows])],
        }
        hover = "%{y}: %{x:.0%}<extra></extra>"
        bar = go.Bar(**bars, orientation="h", marker={"color": SHARE}, hovertemplate=hover)
        figure = self._figure(bar, x=SHARE_AXIS, y="")
        return figure.update_xaxes(tickformat=".0%").update_yaxes(type="category")

    def _draw(self, axes: Axes) -> None:
        rows = self._ranked(_MAX_BARS)[::-1]
        bars = axes.barh(range(len(rows)), [share for _, share in rows], color=SHARE)
        axes.bar_label(bars, [f"{share:.0%}" for _, share in rows], padding=3)
        axes.set_yticks(range(len(rows)), short_names([name for name, _ in rows]))
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_xlabel(SHARE_AXIS)
        axes.set_xlim(0, 1.05)


def _rank(curve: Curve, front: set[tuple[float, float]]) -> tuple[bool, ...] | tuple[Any, ...]:
    on_front = curve.role != "infeasible" and not front.isdisjoint(kept_points(curve))
    return (curve.role not in ("best", "default"), not on_front, -max(curve.output_tokens_per_s))


def _joined(curves: Iterable[Curve]) -> tuple[list[float], list[float]]:
    """Return the points of all curves, separated by NaN."""
    x: list[float] = []
    y: list[float] = []
    for curve in curves:
        x += [*map(_short, curve.output_tokens_per_s), math.nan]
        y += [*map(_short, curve.e2e_latency_mean_s), math.nan]
    return x, y


def _short(value: float) -> float:
    """Return a value to five digits; tooltips show four."""
    return float(f"{value:.5g}")
