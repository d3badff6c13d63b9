"""The course of a search: the objective trial by trial, the best so far, and what another trial is expected to gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from autotune_nb.reports.charts import HistoryChart
from autotune_nb.reports.drawing import COLOURS, FRONT, LABELS, MARKERS
from autotune_nb.reports.plots import HYPERVOLUME, History, Role, axis_label, history_title
from autotune_nb.reports.traced_chart import TracedChart, marker, scatter

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_KINDS: tuple[tuple[bool, str, Role], ...] = ((True, "a trial", "other"), (False, LABELS["infeasible"], "infeasible"))


@dataclass(frozen=True)
class ProgressChart(TracedChart):
    """``gain`` is what the strategy expects of another trial, as a share of the best value; ``planned`` is how many
    trials the budget allows, ``over`` whether the search has ended."""

    history: History
    direction: str = "maximize"
    gain: float | None = None
    planned: int | None = None
    over: bool = False
    height_in: ClassVar[float] = 3.2

    @property
    def title(self) -> str:
        text = history_title(self.history, self.direction, over=self.over)
        gain = "" if self.gain is None else f"; another trial is expected to gain {100 * self.gain:.1f} %"
        return f"{text}{gain}"

    def frame(self) -> pd.DataFrame:
        """Return one row per complete trial: number, the objective's figure, whether it is feasible, best so far."""
        return HistoryChart(self.history, self.direction).frame()

    def traces(self) -> dict[str, dict[str, Any]]:
        h, found = self.history, {}
        for kept, name, role in _KINDS:
            points = [(n, v) for n, v, ok in zip(h.numbers, h.values, h.feasible, strict=True) if ok is kept]
            if points:
                x, y = [n for n, _ in points], [v for _, v in points]
                style = {"mode": "markers", "name": name, "marker": marker((COLOURS[role], MARKERS[role][0]), 7)}
                found[name] = scatter(x, y, x, hovertemplate="trial %{x}: %{y:.4g}<extra></extra>", **style)
        if not found:
            return {}
        best: dict[str, Any] = {"x": list(h.best_numbers), "y": list(h.best_values), "mode": "lines"}
        line = {"color": COLOURS["best"], "width": 3, "shape": "hv"}
        name = "best" if self.over else "best so far"
        found["best"] = {"type": "scatter", **best, "name": name, "line": line, "hoverinfo": "skip"}
        if self.gain and h.best_values and h.figure != HYPERVOLUME:
            last, value = max(h.numbers), h.best_values[-1]
            more = value * (1 + self.gain if self.direction == "maximize" else 1 - self.gain)
            dotted = {"color": FRONT, "width": 2, "dash": "dot"}
            about = {"name": "expected of another trial", "hoverinfo": "skip"}
            ahead = {"x": [last, last + 1], "y": [value, more], "marker": {"symbol": ["circle", "triangle-right"]}}
            found["expected"] = {"type": "scatter", "mode": "lines+markers", "line": dotted, **ahead, **about}
        return found

    def axes(self) -> dict[str, Any]:
        last = max(self.history.numbers, default=0)
        planned = min(self.planned or 0, 3 * last + 10)
        return {
            "xaxis": {"title": {"text": "trial"}, "range": [-0.6, max(last + 1, 0 if self.over else planned) + 0.6]},
            "yaxis": {"title": {"text": axis_label(self.history.figure)}},
            "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        }

    def _draw_in(self, figure: Figure) -> None:
        HistoryChart(self.history, self.direction, self.over)._draw_in(figure)
