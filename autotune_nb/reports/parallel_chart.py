"""Parallel coordinates: a line per trial through its values of every searched parameter to its objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from autotune_nb.reports.chart_text import chart_text
from autotune_nb.reports.drawing import COLOURS, LABELS
from autotune_nb.reports.plots import Role, role_of, short_names
from autotune_nb.reports.traced_chart import TracedChart, scatter
from autotune_nb.reports.value_axis import UNSET, ValueAxis
from autotune_nb.trial.formatting import params_text, value_text
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: The colours of the fifths of the trials by their objective, the worst first: cividis, which colour-blind readers can
#: tell apart, on a light and on a dark background.
_FIFTHS = {
    "worst fifth": "#8a8678",
    "4th fifth": "#7c7b78",
    "3rd fifth": "#5c82a8",
    "2nd fifth": "#3d9ad1",
    "best fifth": "#12b5cb",
}
_FAILED = "#a05050"
#: The most axes of parameters, and the most lines with the values in their tooltip.
_MAX_AXES, _MAX_TEXTS = 20, 300
#: With more axes, only the ends of names and of values have room; more lines are transparent.
_ROOMY, _OPAQUE = 10, 120
_NAME_END = 15
#: The lines of a tooltip, which Plotly does not wrap.
_MAX_PARTS, _PART_WIDTH = 14, 80


@dataclass(frozen=True)
class ParallelLine:
    """A trial: its values in the order of the axes, None where it sets none, and its objective, None if it failed."""

    number: int
    role: Role
    values: tuple[Any, ...]
    objective: float | None
    text: str


@dataclass(frozen=True)
class ParallelChart(TracedChart):
    """A line per trial; the last axis is the objective, better upwards."""

    parameters: tuple[str, ...]
    lines: tuple[ParallelLine, ...]
    figure_name: str
    direction: str = "maximize"
    #: How many parameters have one value in every trial, and how many are left out.
    constant: int = 0
    left_out: int = 0
    height_in: ClassVar[float] = 4.2

    @property
    def title(self) -> str:
        notes = [f"{self.constant} with a single value are left out" if self.constant else ""]
        notes += [f"{self.left_out} that matter least are left out" if self.left_out else ""]
        note = "; ".join(filter(None, notes))
        return f"Each line is a trial, from its parameters to {self.figure_name}" + (f" ({note})" if note else "")

    @cached_property
    def axis_list(self) -> list[ValueAxis]:
        """The axes of the parameters and of the objective."""
        own = [ValueAxis.of(name, (line.values[i] for line in self.lines)) for i, name in enumerate(self.parameters)]
        return [*own, ValueAxis.of(self.figure_name, (line.objective for line in self.lines))]

    def frame(self) -> pd.DataFrame:
        """Return one row per trial: number, role, each parameter, the objective."""
        import pandas as pd

        rows = [(line.number, line.role, *line.values, line.objective) for line in self.lines]
        return pd.DataFrame(rows, columns=["number", "role", *self.parameters, self.figure_name])

    def traces(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, (lines, colour, width) in self._groups().items():
            x: list[float | None] = []
            y: list[float | None] = []
            trials: list[int] = []
            text: list[str] = []
            for line in lines:
                places = self._places(line)
                x += [*range(len(places)), None]
                y += [*places, None]
                trials += [line.number] * (len(places) + 1)
                text += [line.text] * (len(places) + 1)
            dash = "dot" if name == "failed" else "solid"
            if name in _FIFTHS:
                colour = _faded(colour, len(self.lines))
            style = {
                "line": {"color": colour, "width": width, "dash": dash},
                "marker": {"color": colour, "size": 4 + width},
            }
            about: dict[str, Any] = {"hovertemplate": "trial %{customdata}<extra></extra>"}
            if len(self.lines) <= _MAX_TEXTS:
                about = {"text": text, "hovertemplate": "%{text}<extra></extra>"}
            found[name] = scatter(x, y, trials, mode="lines+markers", name=name, **about, **style)
        return found

    def _places(self, line: ParallelLine) -> list[float]:
        axes = self.axis_list
        places = [axis.place(value) for axis, value in zip(axes, line.values, strict=False)]
        last = axes[-1].place(line.objective)
        return [*places, 1 - last if self.direction == "minimize" and line.objective is not None else last]

    def _groups(self) -> dict[str, tuple[list[ParallelLine], str, float]]:
        """Return the lines by the name of their group in the order of drawing, each with its colour and width."""
        sign = 1 if self.direction == "maximize" else -1
        others = sorted(
            (line for line in self.lines if line.role == "other" and line.objective is not None),
            key=lambda line: sign * (line.objective or 0.0),
        )
        found: dict[str, tuple[list[ParallelLine], str, float]] = {}
        failed = [line for line in self.lines if line.objective is None]
        broken = [line for line in self.lines if line.objective is not None and line.role == "infeasible"]
        found["failed"] = (failed, _FAILED, 0.8)
        found[LABELS["infeasible"]] = (broken, COLOURS["infeasible"], 0.8)
        for i, (name, colour) in enumerate(_FIFTHS.items()):
            own = others[i * len(others) // 5 : (i + 1) * len(others) // 5]
            found[name] = (own, colour, 1.0 + 0.2 * i)
        for role in ("default", "best"):
            own = [line for line in self.lines if line.role == role and line.objective is not None]
            found[LABELS[role]] = (own, COLOURS[role], 3.0)
        return {name: group for name, group in found.items() if group[0]}

    def axes(self) -> dict[str, Any]:
        axes = self.axis_list
        last = len(axes) - 1
        names = _names([axis.name for axis in axes])
        turned = len(axes) > 7 or max(map(len, names)) * len(axes) > 150
        shapes = [
            {"type": "line", "x0": i, "x1": i, "y0": 0, "y1": 1, "line": {"color": "rgba(128,128,128,0.7)", "width": 1}}
            for i in range(len(axes))
        ]
        ticks = [(i, *tick) for i, axis in enumerate(axes) for tick in self._ticks(axis, objective=i == last)]
        beside = {"showarrow": False, "font": {"size": 10}, "bgcolor": "rgba(128,128,128,0.12)", "yanchor": "middle"}
        marks = [
            {"x": i, "y": y, "text": chart_text(text), **beside, "xanchor": "left", "xshift": 4} for i, y, text in ticks
        ]
        return {
            "xaxis": {
                "tickvals": list(range(len(axes))),
                "ticktext": [chart_text(name) for name in names],
                "range": [-0.15, last + 0.15],
                "showgrid": False,
                "zeroline": False,
                "side": "top",
                "tickangle": -40 if last >= _ROOMY else -25 if turned else 0,
                "fixedrange": True,
            },
            "yaxis": {"visible": False, "range": [UNSET - 0.06, 1.06], "fixedrange": True},
            "shapes": shapes,
            "annotations": marks,
            "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0, "font": {"size": 11}},
            "margin": {"l": 24, "r": 120 if turned else 60, "t": 30, "b": 30},
            "dragmode": "select",
            # Any box, so that one on an axis is a brush.
            "selectdirection": "d",
        }

    def _ticks(self, axis: ValueAxis, *, objective: bool) -> list[tuple[float, str]]:
        if not objective:
            unset = any(self._value(line, axis.name) is None for line in self.lines)
            ticks = axis.ticks_apart(1.0) if len(self.parameters) > _ROOMY else axis.ticks
            return [*ticks, *([(UNSET, "not set")] if unset else [])]
        ends = [axis.values[0], axis.values[-1]] if axis.values else []
        turned = self.direction == "minimize"
        found = [(1 - axis.place(v) if turned else axis.place(v), value_text(v, self.figure_name)) for v in ends]
        none = any(line.objective is None for line in self.lines)
        return [*dict.fromkeys(found), *([(UNSET, "failed")] if none else [])]

    def _value(self, line: ParallelLine, name: str) -> Any:
        return line.values[self.parameters.index(name)]

    def _draw_in(self, figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, (lines, colour, width) in self._groups().items():
            for k, line in enumerate(lines):
                axes.plot(self._places(line), color=colour, linewidth=width, label=name if k == 0 else None)
        for i, axis in enumerate(self.axis_list):
            axes.axvline(i, color="#888888", linewidth=0.8)
            for y, text in self._ticks(axis, objective=i == len(self.axis_list) - 1):
                axes.text(i, y, text, fontsize=7, parse_math=False)
        names = short_names([axis.name for axis in self.axis_list])
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right", parse_math=False)
        axes.set_yticks([])
        axes.set_title(self.title, loc="left", fontsize=11, parse_math=False)
        if self.lines:
            axes.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def parallel_chart(
    trials: Sequence[Trial], best: Trial | None, objective: Objective, importances: Mapping[str, float]
) -> ParallelChart:
    """Return the chart of all ended trials; the most important parameters are next to the objective."""
    ended = [trial for trial in trials if trial.state.finished]
    names = list(dict.fromkeys(name for trial in ended for name in trial.params))
    # The default sets no parameter, and so does not make one vary.
    searched = [trial for trial in ended if not trial.baseline]
    varied = [name for name in names if len(ValueAxis.of(name, (t.params.get(name) for t in searched)).values) > 1]
    ranked = sorted(varied, key=lambda name: importances.get(name, 0.0))
    shown = ranked[-_MAX_AXES:]
    lines = tuple(
        ParallelLine(
            trial.number,
            role_of(trial, best),
            tuple(None if trial.baseline else trial.params.get(name) for name in shown),
            trial.score.value if trial.state.scored and trial.score is not None else None,
            _tip(trial, objective),
        )
        for trial in ended
    )
    return ParallelChart(
        tuple(shown),
        lines if shown else (),
        objective.figure,
        objective.direction,
        len(names) - len(varied),
        len(varied) - len(shown),
    )


def _names(names: Sequence[str]) -> list[str]:
    """Return the names as they fit above the axes: of many, the ends of long ones."""
    if len(names) > _ROOMY:
        ends = [name if len(name) <= _NAME_END else f"…{name[-_NAME_END:]}" for name in names]
        if len(set(ends)) == len(names):
            return ends
    return short_names(names)


def _faded(colour: str, lines: int) -> str:
    """Return a colour that is the more transparent the more lines cross."""
    if lines <= _OPAQUE:
        return colour
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {max(0.12, _OPAQUE / lines):.2f})"


def _tip(trial: Trial, objective: Objective) -> str:
    value = value_text(trial.score.value, objective.figure) if trial.score is not None else str(trial.state)
    parts = params_text(trial).split(" ")[:_MAX_PARTS]
    return "<br>".join([f"trial {trial.number}: {value}", *(chart_text(part[:_PART_WIDTH]) for part in parts)])
