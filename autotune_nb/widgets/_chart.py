"""The monitor's charts: one FigureWidget a session, a fixed number of traces, only what changed is sent.

A FigureWidget sends 5 MB of JavaScript when it is made, and an assignment sends a whole array. So there is one, shared
by every monitor; finished trials beyond the latest ones go without their words in one grey trace of numbers.
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

#: So many curves tell their parameters in the tip; earlier ones tell their number, and the monitor shows the rest.
_TOLD = 40
_TIP_WIDTH, _TIP_LINES = 60, 12
#: So many parameters have a bar; more would have no room for their names.
_SHARES = 12
_NAN = float("nan")
#: The marks of the course.
_VALUES: tuple[tuple[str, Role], ...] = (("value", "other"), (LABELS["infeasible"], "infeasible"))
_TRACES = ("earlier", "infeasible", "other", "running", "default", "best", "front", "value", "broken", "sofar", "share")
_HOVER = "%{text}<br>%{x:.4g} tokens/s, %{y:.3g} s<extra></extra>"


@dataclass(frozen=True)
class ChartData:
    """What the charts show: curves by number, the course of the objective, the parameters' importances."""

    curves: Sequence[Curve]
    running: frozenset[int]
    history: History
    importances: Mapping[str, float]
    direction: str


class LiveChart:
    """The FigureWidget and what it shows; ``show`` sends only traces that changed, as one message."""

    _one: LiveChart | None = None
    _making = threading.Lock()

    def __init__(self) -> None:
        self.figure = figure_widget(_empty_figure())
        # As wide as the cell, also after its width changed.
        self.figure._config = {"responsive": True, "displaylogo": False, "displayModeBar": "hover"}
        self._by_name = dict(zip(_TRACES, self.figure.data, strict=True))
        self._sent: dict[str, Any] = {}
        self._on_trial: Callable[[int], None] = lambda _number: None
        #: Whoever the charts show; others' data is not shown.
        self.owner: object = None
        self._showing = threading.Lock()
        for trace in self.figure.data:
            if trace.type == "scattergl":
                trace.on_hover(self._hovered)

    @classmethod
    def get(cls) -> LiveChart:
        """The session's only one."""
        with cls._making:
            if cls._one is None:
                cls._one = cls()
            return cls._one

    def take(self, owner: object, on_trial: Callable[[int], None]) -> object:
        """Show another one's data from now on, and call it with a trial's number when the pointer is over that; whom
        the charts showed before."""
        with self._showing:
            before, self.owner, self._on_trial = self.owner, owner, on_trial
            return before

    def show(self, data: ChartData, owner: object) -> int:
        """Bring the charts up to date; how many bytes that sent, about.

        0 where nothing changed, or where they show somebody else's data.
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
                self._by_name[name].update({key: _sent(one) for key, one in values.items()}, overwrite=True)
            if new_titles:
                for annotation, text in zip(self.figure.layout.annotations, titles, strict=True):
                    annotation.text = text
                # In two lines: it is no higher than that.
                self.figure.layout.yaxis2.title.text = axis_label(data.history.figure).replace(", ", ",<br>")
        self._sent.update(changed, titles=titles)
        self._keep_for_reload()
        return sum(_size(values) for values in changed.values()) + 200 * len(changed)

    def _keep_for_reload(self) -> None:
        """What a page that is loaded again asks for: Plotly keeps it as it was when the figure was last displayed."""
        values = self.figure._trait_values
        # Not by assignment, which would send it all.
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
        ("earlier trials", *_style("other"), 1, 4),
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
    told = "trial %{customdata}: %{y:.4g}<extra></extra>"
    for name, role in _VALUES:
        colour, symbol = _style(role)
        marker = {"symbol": symbol, "size": 6, "color": colour}
        trace = go.Scattergl(x=[], y=[], customdata=[], mode="markers", name=name, marker=marker, hovertemplate=told)
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
        # A redraw keeps what the person has zoomed into.
        uirevision="kept",
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
    told = (
        latency_title(data.curves),
        history_title(data.history, data.direction, brief=True),
        importance_title(data.importances, brief=True),
    )
    curves, course, shares = (f"<b>{escaped(one)}</b>" for one in told)
    return curves, course, shares


def _arrays(data: ChartData) -> dict[str, dict[str, Any]]:
    running = [c for c in data.curves if c.number in data.running]
    ended = [c for c in data.curves if c.number not in data.running]
    latest = sorted((c for c in ended if c.role in ("other", "infeasible")), key=lambda c: c.number)
    earlier, rest = latest[:-_TOLD], latest[-_TOLD:]
    # As the report has it, which knows the trials that have ended.
    front = front_of(ended)
    h = data.history
    kept = np.asarray(h.feasible, dtype=bool)
    numbers, values = _f32(h.numbers), _f32(h.values)
    # The largest on top.
    shares = sorted(data.importances.items(), key=lambda item: item[1])[-_SHARES:]
    return {
        "earlier": _lines(earlier, told=False),
        "infeasible": _lines([*(c for c in rest if c.role == "infeasible"), *_broken_of(rest, data.curves)]),
        "other": _lines([c for c in rest if c.role == "other"]),
        "running": _lines(running),
        "default": _lines([c for c in ended if c.role == "default"]),
        "best": _lines([c for c in data.curves if c.role == "best"]),
        "front": {"x": _f32(x for x, _ in front), "y": _f32(y for _, y in front)},
        "value": {"x": numbers[kept], "y": values[kept], "customdata": numbers[kept]},
        "broken": {"x": numbers[~kept], "y": values[~kept], "customdata": numbers[~kept]},
        "sofar": {"x": _f32(h.best_numbers), "y": _f32(h.best_values)},
        "share": {"x": [round(share, 4) for _, share in shares], "y": short_names([name for name, _ in shares])},
    }


def _broken_of(told: Iterable[Curve], every: Iterable[Curve]) -> list[Curve]:
    """The levels that break a limit, of the latest trials and those that stand out."""
    numbers = {c.number for c in told} | {c.number for c in every if c.role in ("best", "default")}
    return broken_levels(c for c in every if c.number in numbers)


def _lines(curves: Iterable[Curve], *, told: bool = True) -> dict[str, Any]:
    x: list[float] = []
    y: list[float] = []
    numbers: list[int] = []
    text: list[str] = []
    for c in curves:
        x += [*c.output_tokens_per_s, _NAN]
        y += [*c.e2e_latency_mean_s, _NAN]
        numbers += [c.number] * (len(c.levels) + 1)
        if told:
            label = _tip(c.label)
            text += [*(f"trial {c.number}, {html.escape(level)}<br>{label}" for level in c.levels), ""]
    arrays: dict[str, Any] = {"x": _f32(x), "y": _f32(y), "customdata": _f32(numbers)}
    return {**arrays, "text": text} if told else arrays


def _tip(label: str) -> str:
    """A configuration in lines that fit: Plotly breaks none itself, and what is beside the chart cannot be read."""
    lines = textwrap.wrap(label, _TIP_WIDTH, break_on_hyphens=False)
    if len(lines) > _TIP_LINES:
        lines[_TIP_LINES - 1 :] = ["…"]
    return "<br>".join(escaped(line) for line in lines)


def _f32(values: Iterable[float]) -> Any:
    return np.fromiter(values, dtype=np.float32)


def _sent(values: Any) -> Any:
    # An array of nothing reaches the page without its buffer, which breaks the whole message there.
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
