"""The chart of several objectives: the configurations in the plane of the first two, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_nb.reports.chart_text import tooltip
from autotune_nb.reports.drawing import COLOURS, FRONT, LABELS, MARKERS, SingleChart
from autotune_nb.reports.plots import Role, axis_label
from autotune_nb.trial.configuration import best_configuration, configurations, pareto_front
from autotune_nb.trial.formatting import params_text
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

_LABELS = {**LABELS, "best": "knee", "other": "other configurations"}


@dataclass(frozen=True)
class FrontPoint:
    """A configuration by the number of its trial: its values in the order of the objectives, and where it is."""

    number: int
    label: str
    role: Role
    values: tuple[float, ...]
    on_front: bool


def front_points(trials: Sequence[Trial], objective: Objective) -> tuple[FrontPoint, ...]:
    """Return every configuration with a score; values are means over its starts."""
    front, best = pareto_front(trials, objective), best_configuration(trials, objective)
    return tuple(
        FrontPoint(
            one.trial.number,
            params_text(one.trial),
            "best" if one == best else "default" if one.baseline else "other" if one.feasible else "infeasible",
            tuple(one.figures[name] for name in objective.figures),
            one in front,
        )
        for one in configurations(trials).values()
    )


@dataclass(frozen=True)
class FrontChart(SingleChart):
    """The first two objectives of each configuration; the front is that of all objectives."""

    points: tuple[FrontPoint, ...]
    figures: tuple[str, ...]

    @property
    def title(self) -> str:
        count = sum(1 for one in self.points if one.on_front)
        knee = next((f", trial {one.number} is the knee" for one in self.points if one.role == "best"), "")
        shown = f" (the first two of {len(self.figures)} objectives)" if len(self.figures) > 2 else ""
        return f"{count} configuration{'s are' if count != 1 else ' is'} on the Pareto front{knee}{shown}"

    def frame(self) -> pd.DataFrame:
        """Return one row per configuration: number, role, the figure of each objective, whether it is on the front."""
        import pandas as pd

        rows = [(one.number, one.role, *one.values, one.on_front) for one in self.points]
        return pd.DataFrame(rows, columns=["number", "role", *self.figures, "on_front"])

    def figure(self) -> go.Figure:
        import plotly.graph_objects as go

        traces = []
        for role, points in self._by_role():
            traces.append(
                go.Scatter(
                    x=[one.values[0] for one in points],
                    y=[one.values[1] for one in points],
                    text=[f"trial {one.number}<br>{tooltip(one.label)}" for one in points],
                    hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
                    mode="markers",
                    name=_LABELS[role],
                    marker={
                        "symbol": MARKERS[role][0],
                        "size": 12 if role == "best" else 8,
                        "color": COLOURS[role],
                    },
                )
            )
        x, y = self._front
        line = {"color": FRONT, "width": 2, "dash": "dot"}
        traces.append(go.Scatter(x=x, y=y, mode="lines", name="Pareto front", line=line, hoverinfo="skip"))
        return self._figure(*traces, x=axis_label(self.figures[0]), y=axis_label(self.figures[1]))

    def _draw(self, axes: Axes) -> None:
        for role, points in self._by_role():
            axes.plot(
                [one.values[0] for one in points],
                [one.values[1] for one in points],
                linestyle="",
                marker=MARKERS[role][1],
                markersize=11 if role == "best" else 6,
                color=COLOURS[role],
                label=_LABELS[role],
            )
        axes.plot(*self._front, color=FRONT, linestyle=":", linewidth=2, label="Pareto front")
        axes.set_xlabel(axis_label(self.figures[0]))
        axes.set_ylabel(axis_label(self.figures[1]))
        axes.legend()

    def _by_role(self) -> list[tuple[Role, list[FrontPoint]]]:
        order: list[Role] = ["infeasible", "other", "default", "best"]
        found = [(role, [one for one in self.points if one.role == role]) for role in order]
        return [(role, points) for role, points in found if points]

    @property
    def _front(self) -> tuple[list[float], list[float]]:
        front = sorted((one.values for one in self.points if one.on_front), key=lambda values: values[0])
        return [values[0] for values in front], [values[1] for values in front]
