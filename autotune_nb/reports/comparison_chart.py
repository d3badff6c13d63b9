"""The chart of a comparison of two studies: how much each configuration changed, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from autotune_nb.reports.chart_text import chart_text
from autotune_nb.reports.drawing import COLOURS, FRONT, SingleChart

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes

#: The most configurations that are drawn, and the longest label.
_MAX_ROWS, _MAX_LABEL = 30, 60
#: The colour and the marker in matplotlib and in Plotly, by whether a change is for the better, for the worse, or open.
_MARKS = {
    "better": (FRONT, "^", "triangle-up"),
    "worse": (COLOURS["best"], "v", "triangle-down"),
    "no difference": (COLOURS["default"], "s", "square"),
    "open": (COLOURS["other"], "o", "circle"),
}


@dataclass(frozen=True)
class ChangeRow:
    """A configuration in both studies: its change and interval as shares, and the outcome in words."""

    label: str
    change: float
    interval: tuple[float, float] | None
    outcome: str

    @property
    def mark(self) -> str:
        """The key of its mark."""
        return self.outcome if self.outcome in _MARKS else "open"


@dataclass(frozen=True)
class ComparisonChart(SingleChart):
    """The change of each configuration from one study to another; the most changed ones if there are many."""

    names: tuple[str, str]
    figure_name: str
    rows: Sequence[ChangeRow]
    headline: str = ""
    height_in: ClassVar[float] = 5.0

    @property
    def title(self) -> str:
        left_out = len(self.rows) - len(self._drawn)
        note = f" ({len(self._drawn)} of {len(self.rows)} configurations)" if left_out else ""
        return f"{self.headline or self.figure_name}{note}"

    def frame(self) -> pd.DataFrame:
        """Return one row per configuration in both studies: its label, change, low and high (shares), and outcome."""
        import pandas as pd

        rows = [(r.label, r.change, *(r.interval or (None, None)), r.outcome) for r in self.rows]
        frame = pd.DataFrame(rows, columns=["configuration", "change", "low", "high", "outcome"])
        return frame.astype({"low": float, "high": float})

    @property
    def _drawn(self) -> list[ChangeRow]:
        """The rows that are drawn, from the bottom: by their change; of many the first, then the most changed ones."""
        first, others = list(self.rows[:3]), list(self.rows[3:])
        chosen = first + sorted(others, key=lambda r: -abs(r.change))[: _MAX_ROWS - len(first)]
        return sorted(chosen, key=lambda r: r.change)

    @property
    def _axis(self) -> str:
        return f"change of {self.figure_name} from {self.names[0]} to {self.names[1]} (%)"

    def figure(self) -> go.Figure:
        """Return Plotly's figure."""
        import plotly.graph_objects as go

        drawn, traces = self._drawn, []
        labels = _distinct([chart_text(_short(row.label)) for row in drawn])
        for mark, (colour, _, symbol) in _MARKS.items():
            rows = [(label, row) for label, row in zip(labels, drawn, strict=True) if row.mark == mark]
            if rows:
                bars = [row.interval or (row.change, row.change) for _, row in rows]
                traces.append(
                    go.Scatter(
                        x=[100 * row.change for _, row in rows],
                        y=[label for label, _ in rows],
                        error_x={
                            "type": "data",
                            "symmetric": False,
                            "array": [
                                100 * (high - row.change) for (_, high), (_, row) in zip(bars, rows, strict=True)
                            ],
                            "arrayminus": [
                                100 * (row.change - low) for (low, _), (_, row) in zip(bars, rows, strict=True)
                            ],
                            "color": colour,
                        },
                        text=[row.outcome for _, row in rows],
                        hovertemplate="%{y}<br>%{x:.3g} %, %{text}<extra></extra>",
                        mode="markers",
                        name=mark if mark != "open" else "undecided",
                        marker={"color": colour, "symbol": symbol, "size": 9},
                    )
                )
        figure = self._figure(*traces, x=chart_text(self._axis), y="")
        figure.update_layout(height=max(320, 120 + 22 * len(drawn)))
        figure.add_vline(x=0, line_width=1, line_color="#666666")
        return figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels)

    def _draw(self, axes: Axes) -> None:
        drawn = self._drawn
        for mark, (colour, marker, _) in _MARKS.items():
            rows = [(place, row) for place, row in enumerate(drawn) if row.mark == mark]
            for place, row in rows:
                low, high = row.interval or (row.change, row.change)
                axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=1.5)
            if rows:
                x, y = [100 * row.change for _, row in rows], [place for place, _ in rows]
                label = mark if mark != "open" else "undecided"
                axes.plot(x, y, linestyle="", marker=marker, color=colour, label=label)
        axes.axvline(0, color="#666666", linewidth=1)
        axes.set_yticks(range(len(drawn)), [_short(row.label) for row in drawn])
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
            text.set_fontsize(7)
        axes.set_xlabel(self._axis, parse_math=False)
        if drawn:
            axes.legend(fontsize=8)


def _short(label: str) -> str:
    return label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 1]}…"


def _distinct(labels: list[str]) -> list[str]:
    """Return labels that differ: shortened ones may be equal, and would share a line of the chart."""
    return [
        f"{label} ({labels[:i].count(label) + 1})" if label in labels[:i] else label for i, label in enumerate(labels)
    ]
