"""The chart of partial dependence: what the model of ``auto`` predicts by the value of the parameters that matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from autotune_nb.engines.registry import engine_of_study
from autotune_nb.reports.chart_text import chart_text
from autotune_nb.reports.drawing import COLOURS, LABELS, MARKERS, SHARE, Chart
from autotune_nb.reports.plots import axis_label, short_names
from autotune_nb.task.restriction import value_text
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from autotune_nb.search.dependence import Dependence

#: The most parameters with a panel, and the share of the importance from which the second and the third have one.
_MOST, _MATTERS = 3, 0.05
#: With fewer complete trials a model predicts little more than its assumptions.
MIN_TRIALS = 10
#: The most markers of trials in a panel, and the most characters of a value at the axis.
_MAX_POINTS, _MAX_LABEL = 24, 14
#: Labels with more characters are turned.
_UPRIGHT = 4
#: The space between panels, a share of the width; and the colour of SHARE, transparent.
_GAP, _BAND = 0.04, "rgba(0, 114, 178, 0.2)"
_MEASURED = ((True, "other", "a trial"), (False, "infeasible", LABELS["infeasible"]))
#: The characters of a panel's title that fit in a line.
_TITLE_WIDTH = 30


@dataclass(frozen=True)
class DependenceChart(Chart):
    """A panel per parameter: the objective predicted by its value, with a 90 % interval, and the trials.

    Without panels, ``note`` says why.
    """

    dependences: tuple[Dependence, ...] = ()
    direction: str = "maximize"
    note: str = ""
    height_in: ClassVar[float] = 3.4

    @property
    def title(self) -> str:
        if not self.dependences:
            return self.note
        return "What the model predicts by the value of one parameter, the others as in the trials (shaded: 90 %)"

    def frame(self) -> pd.DataFrame:
        """Return one row per parameter and value: the predicted figure, its 90 % interval, the number of trials."""
        import pandas as pd

        figure = self.dependences[0].figure if self.dependences else "value"
        rows = [
            (one.parameter, value, *predicted, sum(1 for m in one.measured if m.at == value))
            for one in self.dependences
            for value, predicted in zip(one.values, one.predicted, strict=True)
        ]
        return pd.DataFrame(rows, columns=["parameter", "value", figure, f"{figure}_low", f"{figure}_high", "trials"])

    def _panel_title(self, one: Dependence) -> str:
        pick, word = (max, "highest") if self.direction == "maximize" else (min, "lowest")
        best = pick(range(len(one.values)), key=lambda i: one.predicted[i][0])
        name, value = short_names([one.parameter])[0], f"{word} at {_label(one.values[best])}"
        # A long one takes two lines, since the panels are beside each other.
        return f"{name}, {value}" if len(name) + len(value) <= _TITLE_WIDTH else f"{name},\n{value}"

    def figure(self) -> go.Figure:
        """Return Plotly's figure: panels with a common vertical axis."""
        traces = [trace for i, one in enumerate(self.dependences) for trace in self._traces(one, _axis(i))]
        label = axis_label(self.dependences[0].figure) if self.dependences else ""
        width = (1 + _GAP) / max(1, len(self.dependences))
        axes = {
            f"xaxis{_axis(i)[1:]}": {
                "domain": [i * width, min(1.0, (i + 1) * width - _GAP)],
                "title": {"text": chart_text(self._panel_title(one)).replace("\n", "<br>")},
                "tickvals": _ticks(one),
                "ticktext": [chart_text(_label(one.values[k])) for k in _ticks(one)],
                "range": [-0.5, len(one.values) - 0.5],
                "zeroline": False,
            }
            for i, one in enumerate(self.dependences)
        }
        return self._figure(*traces, x="", y=label).update_layout(axes)

    def _traces(self, one: Dependence, axis: str) -> list[Any]:
        import plotly.graph_objects as go

        common: dict[str, Any] = {"xaxis": axis, "showlegend": False}
        places = list(range(len(one.values)))
        value, low, high = ([_short(p[k]) for p in one.predicted] for k in range(3))
        traces: list[Any] = []
        if one.ordered:
            band = {"x": places, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", **common}
            traces += [go.Scatter(y=low, **band), go.Scatter(y=high, fill="tonexty", fillcolor=_BAND, **band)]
            line = {"mode": "lines+markers", "line": {"color": SHARE, "width": 3}, "marker": {"size": 7}}
        else:
            heights = [_short(b - a) for a, b in zip(low, high, strict=True)]
            bar = {"x": places, "width": 0.6, "marker": {"color": _BAND}, "hoverinfo": "skip", **common}
            traces.append(go.Bar(y=heights, base=low, **bar))
            dash = {"symbol": "line-ew", "size": 18, "line": {"color": SHARE, "width": 3}}
            line = {"mode": "markers", "marker": dash}
        for x, y, role, name in self._points(one):
            marker = {"symbol": MARKERS[role][0], "size": 6, "color": COLOURS[role]}
            hover = {"name": name, "hovertemplate": f"{name}: %{{y:.4g}}<extra></extra>"}
            traces.append(go.Scatter(x=x, y=y, mode="markers", marker=marker, **hover, **common))
        text = [
            f"{chart_text(_label(at))}: {predicted[0]:.4g} ({predicted[1]:.4g} to {predicted[2]:.4g})"
            for at, predicted in zip(one.values, one.predicted, strict=True)
        ]
        about = {"text": text, "hovertemplate": "%{text}<extra></extra>"}
        return [*traces, go.Scatter(x=places, y=value, **about, **line, **common)]

    def _draw_in(self, figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        panels = figure.subplots(1, max(1, len(self.dependences)), sharey=True, squeeze=False)[0]
        for axes, one in zip(panels, self.dependences, strict=False):
            self._draw_panel(axes, one)
            # Without tick marks: they are half of the image.
            axes.tick_params(bottom=False, left=False)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.3, axis="y")
        if self.dependences:
            # In two lines: the image is low.
            panels[0].set_ylabel(axis_label(self.dependences[0].figure).replace(", ", ",\n"))
            panels[0].yaxis.set_major_locator(MaxNLocator(5))
        figure.suptitle(self.title, x=0.01, ha="left", fontsize=11, parse_math=False)

    def _draw_panel(self, axes: Axes, one: Dependence) -> None:
        places = list(range(len(one.values)))
        value, low, high = ([p[k] for p in one.predicted] for k in range(3))
        if one.ordered:
            axes.fill_between(places, low, high, color=SHARE, alpha=0.2, linewidth=0)
        else:
            heights = [b - a for a, b in zip(low, high, strict=True)]
            axes.bar(places, heights, 0.6, bottom=low, color=SHARE, alpha=0.2, linewidth=0)
        for x, y, role, _ in self._points(one):
            axes.plot(x, y, linestyle="", marker=MARKERS[role][1], color=COLOURS[role], markersize=4)
        if one.ordered:
            axes.plot(places, value, color=SHARE, linewidth=2, marker="o", markersize=5)
        else:
            axes.plot(places, value, color=SHARE, linestyle="", marker="_", markersize=16, markeredgewidth=2)
        ticks = _ticks(one)
        axes.set_xticks(ticks, [_label(one.values[k]) for k in ticks], parse_math=False)
        if max(len(_label(one.values[k])) for k in ticks) > _UPRIGHT:
            for label in axes.get_xticklabels():
                label.set(rotation=35, ha="right")
        axes.set_xlim(-0.5, len(places) - 0.5)
        axes.set_xlabel(self._panel_title(one), parse_math=False)

    def _points(self, one: Dependence) -> list[tuple[list[float], list[float], Any, str]]:
        """Return x, y, role and name of the trials' markers; of many trials, every n-th one."""
        place = _placer(one)
        step = -(-len(one.measured) // _MAX_POINTS)
        shown = one.measured[:: step or 1]
        found = []
        for kept, role, name in _MEASURED:
            points = [(x, _short(m.value)) for m in shown if m.feasible is kept and (x := place(m.at)) is not None]
            if points:
                found.append(([x for x, _ in points], [y for _, y in points], role, name))
        return found


def dependence_chart(
    task: Task, space: SearchSpace, trials: Sequence[Trial], importances: Mapping[str, float]
) -> DependenceChart:
    """Return the chart of the two or three most important parameters; with a note in place of panels if there is none.

    The model is that of ``auto``, whatever strategy chose the trials.
    """
    scored = [trial for trial in trials if trial.state.finished and trial.score is not None]
    complete = sum(1 for trial in scored if not trial.baseline)
    direction = task.goal.direction
    if complete < MIN_TRIALS:
        note = (
            f"A model of the parameters needs {MIN_TRIALS} complete trials besides the default; there are {complete}."
        )
        return DependenceChart(direction=direction, note=note)
    ranked = sorted(importances, key=lambda name: -importances[name])
    names = [name for i, name in enumerate(ranked[:_MOST]) if i == 0 or importances[name] >= _MATTERS]
    if not names:
        return DependenceChart(direction=direction, note="No parameter distinguishes the trials: all are alike.")
    import numpy as np

    from autotune_nb.runner.proposals import default_point
    from autotune_nb.search import SearchProblem, observation
    from autotune_nb.search.dependence import partial_dependences

    problem = SearchProblem(space, (task.goal,), default_point(space, engine_of_study(task)))
    observed = [observation(trial, problem) for trial in scored]
    try:
        found = partial_dependences(problem, observed, names)
    except np.linalg.LinAlgError:
        note = f"No model could be fitted to the {complete} complete trials, so that there is no partial dependence."
        return DependenceChart(direction=direction, note=note)
    note = "" if found else "The parameters have a single allowed value each, so that there is no partial dependence."
    return DependenceChart(tuple(found), direction, note)


def _placer(one: Dependence) -> Callable[[Any], float | None]:
    """Return a function that returns the place of a value at the axis, between the shown ones where it is ordered."""
    if not one.ordered:
        places = {value_text(value): float(i) for i, value in enumerate(one.values)}
        return lambda value: places.get(value_text(value))
    values = [float(value) for value in one.values if isinstance(value, int | float)]

    def place(value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not values[0] <= value <= values[-1]:
            return None
        i = max(k for k, known in enumerate(values) if known <= value)
        if values[i] == value or i + 1 == len(values):
            return float(i)
        return round(i + (value - values[i]) / (values[i + 1] - values[i]), 2)

    return place


def _label(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else value_text(value)
    return text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"


def _ticks(one: Dependence) -> list[int]:
    """Return the places of values with a label: all of up to eight, else about six."""
    count = len(one.values)
    return list(range(0, count, 1 if count <= 8 else -(-(count - 1) // 5)))


def _axis(index: int) -> str:
    """Return Plotly's name of the horizontal axis of a panel."""
    return f"x{index + 1}" if index else "x"


def _short(value: float) -> float:
    return float(f"{value:.5g}")
