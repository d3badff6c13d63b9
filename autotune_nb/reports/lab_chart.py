"""The chart of a lab: how far from the best each strategy is over simulated time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune_nb.reports.chart_text import chart_text
from autotune_nb.reports.drawing import COLOURS, FRONT, RUNNING, SingleChart

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

_LINES = (COLOURS["other"], COLOURS["default"], COLOURS["best"], FRONT, RUNNING, COLOURS["infeasible"])


@dataclass(frozen=True)
class LabChart(SingleChart):
    """Regret over simulated time: each strategy's median and quartiles on one table.

    ``regrets`` has rows of seconds and the three quartiles of the regret, by strategy.
    """

    table: str
    studies: int
    regrets: Mapping[str, Sequence[Sequence[float]]]

    @property
    def title(self) -> str:
        return f"REPLAYED: distance to the best of {self.table}, median and quartiles of {self.studies} studies"

    def frame(self) -> pd.DataFrame:
        """Return one row per strategy and time: seconds and the quartiles of the regret, a share of the best value."""
        import pandas as pd

        rows = [(name, *row) for name, series in self.regrets.items() for row in series]
        return pd.DataFrame(rows, columns=["strategy", "seconds", "q25", "q50", "q75"])

    def _series(self) -> list[tuple[str, str, list[list[float]]]]:
        """Return name, colour, and hours and quartiles in percent as columns, by strategy."""
        return [
            (name, _LINES[i % len(_LINES)], [[row[0] / 3600 for row in rows], *_percent(rows)])
            for i, (name, rows) in enumerate(self.regrets.items())
        ]

    def figure(self) -> go.Figure:
        """Return Plotly's figure."""
        import plotly.graph_objects as go

        traces = []
        for name, colour, (hours, low, middle, high) in self._series():
            band = {"x": hours, "mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
            fill = {"fill": "tonexty", "fillcolor": f"rgba{(*_rgb(colour), 0.2)}"}
            line = {"color": colour, "width": 2, "shape": "hv"}
            traces += [
                go.Scatter(y=low, showlegend=False, **band),
                go.Scatter(y=high, showlegend=False, **band, **fill),
                go.Scatter(x=hours, y=middle, mode="lines", name=chart_text(name), line=line),
            ]
        return self._figure(*traces, x=_TIME_AXIS, y=_REGRET_AXIS)

    def _draw(self, axes: Axes) -> None:
        for name, colour, (hours, low, middle, high) in self._series():
            axes.fill_between(hours, low, high, step="post", color=colour, alpha=0.2, linewidth=0)
            axes.plot(hours, middle, drawstyle="steps-post", color=colour, linewidth=2, label=name)
        axes.set_xlabel(_TIME_AXIS)
        axes.set_ylabel(_REGRET_AXIS)
        axes.legend(fontsize=8)


_TIME_AXIS, _REGRET_AXIS = "simulated time (h)", "distance to the best (%)"


def _percent(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[100 * row[column] for row in rows] for column in (1, 2, 3)]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
