"""The chart of what another trial was expected to gain after each trial: whether the search may end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from autotune_nb.reports.drawing import FRONT, SingleChart

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

_X, _Y = "trial", "expected gain of another trial, %"


@dataclass(frozen=True)
class GainPoint:
    """What another trial was expected to gain after a trial, as a share of the best value, and its seconds."""

    number: int
    gain: float
    seconds: float


@dataclass(frozen=True)
class ExpectedGainChart(SingleChart):
    """The expected gain trial by trial, by the model of the strategy ``auto``."""

    points: tuple[GainPoint, ...]
    figure_name: str
    height_in: ClassVar[float] = 3.2

    @property
    def title(self) -> str:
        if not self.points:
            return "Nothing is predicted yet"
        last = self.points[-1]
        gain = f"{100 * last.gain:.2g} % of {self.figure_name}"
        return f"After trial {last.number}, another trial is expected to gain {gain}"

    def frame(self) -> pd.DataFrame:
        """Return one row per trial: number, the expected gain over the best in percent, and the predicted seconds."""
        import pandas as pd

        rows = [(one.number, 100 * one.gain, one.seconds) for one in self.points]
        return pd.DataFrame(rows, columns=["number", "expected_gain_percent", "seconds"])

    def figure(self) -> go.Figure:
        """Return Plotly's figure."""
        import plotly.graph_objects as go

        trace = go.Scatter(
            x=[one.number for one in self.points],
            y=[100 * one.gain for one in self.points],
            text=[f"{one.seconds:,.0f} s" for one in self.points],
            hovertemplate="after trial %{x}: %{y:.3g} %, in about %{text}<extra></extra>",
            mode="lines+markers",
            line={"color": FRONT, "width": 2},
        )
        return self._figure(trace, x=_X, y=_Y).update_yaxes(rangemode="tozero")

    def _draw(self, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.plot([one.number for one in self.points], [100 * one.gain for one in self.points], color=FRONT, marker="o")
        axes.set_xlabel(_X)
        axes.set_ylabel(_Y)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
