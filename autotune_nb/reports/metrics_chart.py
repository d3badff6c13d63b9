"""The engine's and the GPUs' own metrics of one trial over time: a panel per metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from autotune_nb.reports.chart_text import chart_text
from autotune_nb.reports.drawing import SHARE
from autotune_nb.reports.metric_series import MetricSeries, series_frame
from autotune_nb.reports.traced_chart import TracedChart

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_IN_ROW = 4
_GAP_X, _GAP_Y = 0.03, 0.16


@dataclass(frozen=True)
class MetricsChart(TracedChart):
    """The series of one trial, whose number is ``trial``; None if it is unknown."""

    trial: int | None
    series: tuple[MetricSeries, ...]
    height_in: ClassVar[float] = 4.0

    @property
    def title(self) -> str:
        whose = "" if self.trial is None else f" of trial {self.trial}"
        if not self.series:
            return f"No metrics{whose}"
        return f"What the engine{whose} reported over {self.series[0].seconds[-1]:,.0f} s of load"

    def frame(self) -> pd.DataFrame:
        """Return one row per metric and time: metric, unit, seconds, value."""
        return series_frame(self.series)

    def traces(self) -> dict[str, dict[str, Any]]:
        return {
            one.title: {
                "type": "scatter",
                "mode": "lines",
                "x": list(one.seconds),
                "y": list(one.values),
                "name": chart_text(one.title),
                "line": {"color": SHARE, "width": 1.5},
                "showlegend": False,
                "xaxis": _axis("x", i),
                "yaxis": _axis("y", i),
                "hovertemplate": "%{fullData.name}: %{y:.4g} at %{x:.0f} s<extra></extra>",
            }
            for i, one in enumerate(self.series, 1)
        }

    def axes(self) -> dict[str, Any]:
        found: dict[str, Any] = {"margin": {"l": 48, "r": 12, "t": 24, "b": 36}, "annotations": []}
        in_row = min(_IN_ROW, len(self.series)) or 1
        rows = -(-len(self.series) // in_row) or 1
        for i, one in enumerate(self.series, 1):
            row, column = divmod(i - 1, in_row)
            left, top = column / in_row, 1 - row / rows
            across = [left + (_GAP_X if column else 0), left + 1 / in_row - 0.005]
            up = [top - 1 / rows + (_GAP_Y if row + 1 < rows else 0), top - (0.05 if row else 0)]
            found[_axis("xaxis", i)] = {
                "domain": across,
                "anchor": _axis("y", i),
                "title": {"text": "s", "standoff": 2},
            }
            found[_axis("yaxis", i)] = {
                "domain": up,
                "anchor": _axis("x", i),
                "rangemode": "tozero",
                "tickformat": ".0%" if one.unit == "share" else "",
            }
            found["annotations"].append(
                {
                    "x": across[0],
                    "y": up[1],
                    "xref": "paper",
                    "yref": "paper",
                    "text": f"<b>{chart_text(_head(one))}</b>",
                    "showarrow": False,
                    "xanchor": "left",
                    "yanchor": "bottom",
                    "font": {"size": 11},
                }
            )
        return found

    def _draw_in(self, figure: Figure) -> None:
        from matplotlib.ticker import PercentFormatter

        columns = min(_IN_ROW, len(self.series)) or 1
        grid = figure.subplots(-(-len(self.series) // columns) or 1, columns, squeeze=False)
        for axes, one in zip(grid.flat, self.series, strict=False):
            axes.plot(one.seconds, one.values, color=SHARE)
            axes.set_title(_head(one), fontsize=8, parse_math=False)
            axes.set_xlabel("s", fontsize=8)
            axes.set_ylim(bottom=0)
            if one.unit == "share":
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axes in grid.flat[len(self.series) :]:
            axes.set_visible(False)
        figure.suptitle(self.title, x=0.01, ha="left", fontsize=11, parse_math=False)


def _head(one: MetricSeries) -> str:
    """Return the name of a metric with its unit; the axis shows shares in percent."""
    return one.title if one.unit in ("share", "") else f"{one.title}, {one.unit}"


def _axis(letter: str, number: int) -> str:
    return f"{letter}{number}" if number > 1 else letter
