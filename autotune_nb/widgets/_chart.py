"""The monitor's charts: one FigureWidget per session with a fixed number of traces; only changed traces are sent.

A FigureWidget sends 5 MB of JavaScript when it is created, and an assignment sends a whole array. So all monitors share
one figure, and all but the latest finished trials are in one grey trace without texts.
"""

from __future__ import annotations

import html
import textwrap
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autotune_nb.reports.drawing import COLOURS, FRONT, LABELS, MARKERS, RUNNING, SHARE
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
    latency_title,
    short_names,
)
from autotune_nb.widgets._figure import figure_widget
from autotune_nb.widgets._panels import escaped

#: How many of the latest curves have their parameters in the tooltip; older ones have only the trial's number.
_DETAILED = 40
_TIP_WIDTH, _TIP_LINES = 60, 12
#: How many parameters have a bar; there is no room for the names of more.
_SHARES = 12
_NAN = float("nan")
#: The markers of the history chart.
_VALUES: tuple[tuple[str, Role], ...] = (("value", "other"), (LABELS["infeasible"], "infeasible"))
_TRACES = ("older", "infeasible", "other", "running", "default", "best", "front", "value", "broken", "sofar", "share")
_HOVER = "%{text}<br>%{x:.4g} tokens/s, %{y:.3g} s<extra></extra>"


@dataclass(frozen=True)
class ChartData:
    """The data of the charts: the trials' curves, the history of the objective, the parameters' importances."""

    curves: Sequence[Curve]
    running: frozenset[int]
    history: History
    importances: Mapping[str, float]
    direction: str


class LiveChart:
    """The FigureWidget; ``show`` sends the traces that changed in one message."""

    _one: LiveChart | None = None
    _making = threading.Lock()

    def __init__(self) -> None:
        self.figure = figure_widget(_empty_figure())
        # The figure follows the width of its cell.
        self.figure._config = {"responsive": True, "displaylogo": False, "displayModeBar": "hover"}
        self._by_name = dict(zip(_TRACES, self.figure.data, strict=True))
        self._sent: dict[str, Any] = {}
        self._on_trial: Callable[[int], None] = lambda _number: None
        #: The view whose data is shown; data of other views is ignored.
        self.owner: object = None
        self._showing = threading.Lock()
        for trace in self.figure.data:
            if trace.type == "scattergl":
                trace.on_hover(self._hovered)

    @classmethod
    def get(cls) -> LiveChart:
        """The chart of this session."""
        with cls._making:
            if cls._one is None:
                cls._one = cls()
            return cls._one

    def claim(self, owner: object, on_trial: Callable[[int], None]) -> object:
        """Make ``owner`` the view whose data is shown, and return the previous owner.

        ``on_trial`` is called with the number of the trial under the pointer.
        """
        with self._showing:
            previous, self.owner, self._on_trial = self.owner, owner, on_trial
            return previous

    def show(self, data: ChartData, owner: object) -> int:
        """Update the charts and return about how many bytes were sent.

        That is 0 if nothing changed or if ``owner`` does not own the charts.
        """
        with self._showing:
            return self._show(data) if owner is self.owner else 0

    def _show(self, data: ChartData) -> int:
        wanted = _arrays(data)
        changed = {name: values for name, values in wanted.items() if not _equal(self._sent.get(name), values)}
        titles = _titles(data)
        new_titles = titles != self._sent.get("titles")
        if not changed and not new_titles:
            return 0
        with self.figure.batch_update():
            for name, values in changed.items():
                self._by_name[name].update({key: _payload(one) for key, one in values.items()}, overwrite=True)
            if new_titles:
                for annotation, text in zip(self.figure.layout.annotations, titles, strict=True):
                    annotation.text = text
                # In two lines, since the chart is low.
                self.figure.layout.yaxis2.title.text = axis_label(data.history.figure).replace(", ", ",<br>")
        self._sent.update(changed, titles=titles)
        self._update_reload_state()
        return sum(_size(values) for values in changed.values()) + 200 * len(changed)

    def _update_reload_state(self) -> None:
        """Update the state that a reloaded page requests; Plotly saves it only when the figure is displayed."""
        values = self.figure._trait_values
        # An assignment would send everything.
        values["_widget_data"] = deepcopy(self.figure._data)
        values["_widget_layout"] = deepcopy(self.figure._layout)

    def _hovered(self, trace: Any, points: Any, _state: Any) -> None:
        numbers = trace.customdata
        if points.point_inds and numbers is not None and points.point_inds[0] < len(numbers):
            self._on_trial(int(numbers[points.point_inds[0]]))


def _empty_figure() -> go.Figure:
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"colspan": 2}, None], [{}, {}]],
        row_heights=[0.6, 0.4],
        vertical_spacing=0.2,
        horizontal_spacing=0.2,
        subplot_titles=(" ", " ", " "),
    )
    curves = [
        ("older trials", *_style("other"), 1, 4),
        (LABELS["infeasible"], *_style("infeasible"), 1, 7),
        (LABELS["other"], *_style("other"), 1, 6),
        ("running", RUNNING, "diamond", 2, 9),
        (LABELS["default"], *_style("default"), 2, 9),
        (LABELS["best"], *_style("best"), 3, 13),
    ]
    for name, colour, symbol, width, size in curves:
        hover = "trial %{customdata}<br>%{x:.4g} tokens/s, %{y:.3g} s<extra></extra>" if size == 4 else _HOVER
        trace = go.Scattergl(
            x=[],
            y=[],
            customdata=[],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": width},
            marker={"symbol": symbol, "size": size, "color": colour},
            hovertemplate=hover,
        )
        figure.add_trace(trace, row=1, col=1)
    front = {"color": FRONT, "width": 2, "dash": "dot"}
    figure.add_trace(
        go.Scattergl(x=[], y=[], mode="lines", name="Pareto front", line=front, hoverinfo="skip"), row=1, col=1
    )
    hover = "trial %{customdata}: %{y:.4g}<extra></extra>"
    for name, role in _VALUES:
        colour, symbol = _style(role)
        marker = {"symbol": symbol, "size": 6, "color": colour}
        trace = go.Scattergl(x=[], y=[], customdata=[], mode="markers", name=name, marker=marker, hovertemplate=hover)
        figure.add_trace(trace.update(showlegend=False), row=2, col=1)
    line = {"color": COLOURS["best"], "width": 2, "shape": "hv"}
    figure.add_trace(
        go.Scattergl(x=[], y=[], mode="lines", name="best", line=line, showlegend=False, hoverinfo="skip"), row=2, col=1
    )
    share = go.Bar(x=[], y=[], orientation="h", marker={"color": SHARE}, showlegend=False)
    figure.add_trace(share.update(hovertemplate="%{y}: %{x:.0%}<extra></extra>"), row=2, col=2)
    axes = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.4)", "automargin": True}
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    figure.update_layout(
        template=None,
        height=600,
        autosize=True,
        margin={"l": 60, "r": 20, "t": 60, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#808080"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right", "font": {"size": 11}},
        hovermode="closest",
        hoverlabel={"bgcolor": "#222222", "font": {"color": "#ffffff"}, "align": "left"},
        # Redrawing keeps the zoom.
        uirevision="constant",
        xaxis={"title": {"text": THROUGHPUT_AXIS}, "rangemode": "tozero"},
        yaxis={"title": {"text": LATENCY_AXIS}, "rangemode": "tozero"},
        xaxis2={"title": {"text": "trial"}},
        xaxis3={"title": {"text": SHARE_AXIS}, "tickformat": ".0%", "range": [0, 1]},
        yaxis3={"type": "category"},
    )
    for annotation in figure.layout.annotations:
        annotation.update(font={"size": 13}, xanchor="left")
    lefts = (figure.layout.xaxis.domain[0], figure.layout.xaxis2.domain[0], figure.layout.xaxis3.domain[0])
    for annotation, left in zip(figure.layout.annotations, lefts, strict=True):
        annotation.x = left
    return figure


def _style(role: Role) -> tuple[str, str]:
    return COLOURS[role], MARKERS[role][0]


def _titles(data: ChartData) -> tuple[str, str, str]:
    titles = (
        latency_title(data.curves),
        history_title(data.history, data.direction, brief=True),
        importance_title(data.importances, brief=True),
    )
    curves, course, shares = (f"<b>{escaped(one)}</b>" for one in titles)
    return curves, course, shares


def _arrays(data: ChartData) -> dict[str, dict[str, Any]]:
    running = [c for c in data.curves if c.number in data.running]
    ended = [c for c in data.curves if c.number not in data.running]
    latest = sorted((c for c in ended if c.role in ("other", "infeasible")), key=lambda c: c.number)
    older, rest = latest[:-_DETAILED], latest[-_DETAILED:]
    # Only ended trials, as in the report.
    front = front_of(ended)
    h = data.history
    feasible = np.asarray(h.feasible, dtype=bool)
    numbers, values = _f32(h.numbers), _f32(h.values)
    # The largest on top.
    shares = sorted(data.importances.items(), key=lambda item: item[1])[-_SHARES:]
    return {
        "older": _lines(older, detailed=False),
        "infeasible": _lines([*(c for c in rest if c.role == "infeasible"), *_broken_of(rest, data.curves)]),
        "other": _lines([c for c in rest if c.role == "other"]),
        "running": _lines(running),
        "default": _lines([c for c in ended if c.role == "default"]),
        "best": _lines([c for c in data.curves if c.role == "best"]),
        "front": {"x": _f32(x for x, _ in front), "y": _f32(y for _, y in front)},
        "value": {"x": numbers[feasible], "y": values[feasible], "customdata": numbers[feasible]},
        "broken": {"x": numbers[~feasible], "y": values[~feasible], "customdata": numbers[~feasible]},
        "sofar": {"x": _f32(h.best_numbers), "y": _f32(h.best_values)},
        "share": {"x": [round(share, 4) for _, share in shares], "y": short_names([name for name, _ in shares])},
    }


def _broken_of(latest: Iterable[Curve], curves: Iterable[Curve]) -> list[Curve]:
    """The levels that break a limit, of the latest trials, the best one and the default."""
    numbers = {c.number for c in latest} | {c.number for c in curves if c.role in ("best", "default")}
    return broken_levels(c for c in curves if c.number in numbers)


def _lines(curves: Iterable[Curve], *, detailed: bool = True) -> dict[str, Any]:
    x: list[float] = []
    y: list[float] = []
    numbers: list[int] = []
    text: list[str] = []
    for c in curves:
        x += [*c.output_tokens_per_s, _NAN]
        y += [*c.e2e_latency_mean_s, _NAN]
        numbers += [c.number] * (len(c.levels) + 1)
        if detailed:
            label = _tip(c.label)
            text += [*(f"trial {c.number}, {html.escape(level)}<br>{label}" for level in c.levels), ""]
    arrays: dict[str, Any] = {"x": _f32(x), "y": _f32(y), "customdata": _f32(numbers)}
    return {**arrays, "text": text} if detailed else arrays


def _tip(label: str) -> str:
    """A configuration wrapped for a tooltip: Plotly wraps no lines and cuts off what exceeds the chart."""
    lines = textwrap.wrap(label, _TIP_WIDTH, break_on_hyphens=False)
    if len(lines) > _TIP_LINES:
        lines[_TIP_LINES - 1 :] = ["…"]
    return "<br>".join(escaped(line) for line in lines)


def _f32(values: Iterable[float]) -> Any:
    return np.fromiter(values, dtype=np.float32)


def _payload(values: Any) -> Any:
    # An empty array is sent without its buffer, and the page then rejects the whole message.
    return values if len(values) else []


def _equal(a: Mapping[str, Any] | None, b: Mapping[str, Any]) -> bool:
    if a is None:
        return not any(len(values) for values in b.values())
    return all(_same(a[name], b[name]) for name in b)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b, equal_nan=True))
    return bool(a == b)


def _size(values: Mapping[str, Any]) -> int:
    return sum(v.nbytes if isinstance(v, np.ndarray) else sum(len(str(one)) + 3 for one in v) for v in values.values())
