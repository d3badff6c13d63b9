"""Charts that the monitor, the report and a notebook draw from the same traces, as Plotly's JSON."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_nb.reports.drawing import Chart

if TYPE_CHECKING:
    import plotly.graph_objects as go

_TITLE_PX = 50


class TracedChart(Chart):
    """A chart whose ``traces`` and ``axes`` are Plotly's JSON; the numbers of trials are in ``customdata``."""

    @abstractmethod
    def traces(self) -> dict[str, dict[str, Any]]:
        """Return the traces by name; empty without data."""

    @abstractmethod
    def axes(self) -> dict[str, Any]:
        """Return the layout: axes, legend, annotations."""

    def figure(self) -> go.Figure:
        figure = self._figure(*self.traces().values(), x="", y="").update_layout(self.axes())
        # The monitor has no title, and gives the whole height to the axes.
        above = (figure.layout.margin.t or 40) + _TITLE_PX
        title = {"x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top", "yref": "container", "font": {"size": 14}}
        return figure.update_layout(title=title, margin_t=above, height=round(self.height_in * 100) + _TITLE_PX)


def scatter(x: list[Any], y: list[Any], trials: list[int], **more: Any) -> dict[str, Any]:
    """Return a trace of points, each with the number of its trial."""
    return {"type": "scatter", "x": x, "y": y, "customdata": trials, **more}


def marker(role_style: tuple[str, str], size: int) -> Mapping[str, Any]:
    """Return the marker of a role: its colour and its symbol."""
    colour, symbol = role_style
    return {"color": colour, "symbol": symbol, "size": size}
