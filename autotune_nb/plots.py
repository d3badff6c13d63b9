"""Charts in two steps: the data first, then the figure, for a notebook (Plotly) or for a file (SVG)."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from autotune_nb.measurement import Measurement
from autotune_nb.score import Limit, Objective
from autotune_nb.table import params_text
from autotune_nb.trial import Trial, TrialState

if TYPE_CHECKING:
    import plotly.graph_objects as go

Role = Literal["best", "default", "other", "infeasible"]
#: Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS: dict[Role, str] = {
    "best": "#D55E00",
    "default": "#0072B2",
    "other": "#999999",
    "infeasible": "#CCBB44",
}
_MARKERS: dict[Role, tuple[str, str]] = {
    "best": ("star", "*"),
    "default": ("square", "s"),
    "other": ("circle", "o"),
    "infeasible": ("x", "x"),
}
_LABELS: dict[Role, str] = {
    "best": "best",
    "default": "engine's default",
    "other": "other trials",
    "infeasible": "breaks a limit",
}


@dataclass(frozen=True)
class Curve:
    """One trial's path through its load levels: throughput in tokens/s against latency in s.

    ``kept`` says of each level whether it keeps every limit; empty where all do.
    """

    number: int
    label: str
    role: Role
    output_tokens_per_s: tuple[float, ...]
    e2e_latency_mean_s: tuple[float, ...]
    levels: tuple[str, ...]
    kept: tuple[bool, ...] = ()

    @property
    def broken(self) -> tuple[int, ...]:
        """The places of the levels that break a limit: none of them may win, however good it looks."""
        return tuple(i for i, kept in enumerate(self.kept) if not kept)


def latency_throughput(trials: Sequence[Trial], best: Trial | None, limits: Sequence[Limit] = ()) -> list[Curve]:
    """A curve a trial that has valid levels, the best one last so that it is drawn on top."""
    curves = []
    for trial in trials:
        points = [
            (m.figures["output_tokens_per_s"], m.figures["e2e_latency_mean_s"], *_level(m, limits))
            for m in trial.measurements
            if m.valid and {"output_tokens_per_s", "e2e_latency_mean_s"} <= m.figures.keys()
        ]
        if not points:
            continue
        x, y, levels, kept = zip(*points, strict=True)
        curves.append(
            Curve(trial.number, params_text(trial), _role(trial, best), x, y, levels, () if all(kept) else kept)
        )
    order: list[Role] = ["infeasible", "other", "default", "best"]
    return sorted(curves, key=lambda curve: order.index(curve.role))


def _level(measured: Measurement, limits: Sequence[Limit]) -> tuple[str, bool]:
    """A level in words, and whether it keeps every limit."""
    broken = [str(one) for one in limits if one.figure in measured.figures and one.violation(measured) > 0]
    return f"{measured.level}, breaks {', '.join(broken)}" if broken else str(measured.level), not broken


def _role(trial: Trial, best: Trial | None) -> Role:
    if best is not None and trial.number == best.number:
        return "best"
    if trial.baseline:
        return "default"
    return "other" if trial.score is None or trial.score.feasible else "infeasible"


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (throughput, latency) points those that no other beats in both, by falling throughput."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda point: (-point[0], point[1])):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


@dataclass(frozen=True)
class History:
    """The objective's value of each complete trial by number, and the best feasible one so far where it improved."""

    figure: str
    numbers: tuple[int, ...]
    values: tuple[float, ...]
    feasible: tuple[bool, ...]
    best_numbers: tuple[int, ...]
    best_values: tuple[float, ...]


def history(trials: Sequence[Trial], objective: Objective) -> History:
    """The study's course; the best so far ends at the last complete trial."""
    done = sorted((t for t in trials if t.state is TrialState.COMPLETE and t.score), key=lambda t: t.number)
    best: list[tuple[int, float]] = []
    rows = []
    for trial in done:
        assert trial.score is not None
        value = trial.score.value
        rows.append((trial.number, value, trial.score.feasible))
        if trial.score.feasible and (not best or objective.better(value, best[-1][1])):
            best.append((trial.number, value))
    if best and rows[-1][0] > best[-1][0]:
        best.append((rows[-1][0], best[-1][1]))
    numbers, values, feasible = zip(*rows, strict=True) if rows else ((), (), ())
    best_numbers, best_values = zip(*best, strict=True) if best else ((), ())
    return History(objective.figure, numbers, values, feasible, best_numbers, best_values)


@dataclass(frozen=True)
class Chart:
    """A chart that shows itself: interactive in a notebook, a picture wherever scripts do not run."""

    curves: tuple[Curve, ...]
    title: str = "Further right and lower is better: latency against throughput"

    def figure(self) -> go.Figure:
        """Plotly's figure, one trace a role, however many trials there are."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for role in dict.fromkeys(curve.role for curve in self.curves):
            x: list[float | None] = []
            y: list[float | None] = []
            text: list[str] = []
            for curve in (c for c in self.curves if c.role == role):
                x += [*curve.output_tokens_per_s, None]
                y += [*curve.e2e_latency_mean_s, None]
                text += [
                    *(f"trial {curve.number}, {level}<br>{html.escape(curve.label)}" for level in curve.levels),
                    "",
                ]
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=y,
                    text=text,
                    hovertemplate="%{text}<br>%{x:.4g} tokens/s, %{y:.3g} s<extra></extra>",
                    mode="lines+markers",
                    name=_LABELS[role],
                    line={"color": COLOURS[role], "width": 3 if role == "best" else 1},
                    marker={"symbol": _MARKERS[role][0], "size": 11 if role == "best" else 7},
                )
            )
        figure.update_layout(
            title=self.title,
            xaxis_title="output tokens a second (all requests)",
            yaxis_title="mean end-to-end latency, s",
            template="plotly_white",
            height=420,
        )
        return figure

    def svg(self) -> str:
        """The chart as SVG, drawn without a browser."""
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.2), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for role in dict.fromkeys(curve.role for curve in self.curves):
            # One path a role, its curves kept apart by gaps: a third less than a path a curve.
            curves = [c for c in self.curves if c.role == role]
            axes.plot(
                [x for c in curves for x in (*c.output_tokens_per_s, math.nan)],
                [y for c in curves for y in (*c.e2e_latency_mean_s, math.nan)],
                color=COLOURS[role],
                marker=_MARKERS[role][1],
                linewidth=2.5 if role == "best" else 1,
                markersize=10 if role == "best" else 6,
                label=_LABELS[role],
            )
        axes.set_xlabel("output tokens a second (all requests)")
        axes.set_ylabel("mean end-to-end latency, s")
        axes.set_title(self.title)
        axes.grid(alpha=0.3)
        if self.curves:
            axes.legend()
        out = io.StringIO()
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "autotune_nb"}):
            # Letters as text instead of outlines: a tenth of the size.
            figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    def image_html(self) -> str:
        """The SVG as an ``<img>`` that needs no script and no network."""
        data = base64.b64encode(self.svg().encode()).decode()
        return f'<img alt="{html.escape(self.title)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "application/vnd.plotly.v1+json": json.loads(self.figure().to_json()),
            "text/html": self.image_html(),
            "text/plain": f"<Chart of {len(self.curves)} trials>",
        }
