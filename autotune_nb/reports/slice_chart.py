"""Slices: the importance of each parameter, and a panel per parameter with the objective of the trials by its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from autotune_nb.reports.chart_text import chart_text
from autotune_nb.reports.drawing import COLOURS, LABELS, MARKERS, SHARE
from autotune_nb.reports.plots import Role, axis_label, role_of, short_names
from autotune_nb.reports.traced_chart import TracedChart, marker, scatter
from autotune_nb.reports.value_axis import UNSET, ValueAxis
from autotune_nb.trial.score import Objective
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: The most panels, in rows of at most so many.
_MAX_PANELS, _IN_ROW = 7, 4
_MAX_BARS = 12
_ROLES: tuple[Role, ...] = ("infeasible", "other", "default", "best")
_GAP_X, _GAP_Y = 0.02, 0.26


@dataclass(frozen=True)
class SlicePoint:
    """A trial: its values in the order of the panels, and its objective."""

    number: int
    role: Role
    values: tuple[Any, ...]
    objective: float


@dataclass(frozen=True)
class SliceChart(TracedChart):
    """A panel of importances, if they are known, and a panel per parameter, the most important first."""

    parameters: tuple[str, ...]
    points: tuple[SlicePoint, ...]
    figure_name: str
    importances: Mapping[str, float]
    left_out: int = 0
    height_in: ClassVar[float] = 5.0

    @property
    def title(self) -> str:
        first = "Objective by the value of one parameter"
        if self.importances:
            name, share = max(self.importances.items(), key=lambda item: item[1])
            first = f"{short_names([name])[0]} matters most: {100 * share:.0f} % of what distinguishes the best trials"
        else:
            first += "; importances need ten complete trials"
        return f"{first} (the {len(self.parameters)} most important parameters)" if self.left_out else first

    @cached_property
    def axis_list(self) -> list[ValueAxis]:
        return [ValueAxis.of(name, (p.values[i] for p in self.points)) for i, name in enumerate(self.parameters)]

    def frame(self) -> pd.DataFrame:
        """Return one row per trial: number, role, the value of each parameter, the objective."""
        import pandas as pd

        rows = [(one.number, one.role, *one.values, one.objective) for one in self.points]
        return pd.DataFrame(rows, columns=["number", "role", *self.parameters, self.figure_name])

    @property
    def _bars(self) -> list[tuple[str, float]]:
        return sorted(self.importances.items(), key=lambda item: item[1])[-_MAX_BARS:]

    def traces(self) -> dict[str, dict[str, Any]]:
        if not self.points:
            return {}
        found: dict[str, dict[str, Any]] = {}
        first = 1
        if bars := self._bars:
            names = [chart_text(name) for name in short_names([name for name, _ in bars])]
            style = {"marker": {"color": SHARE}, "showlegend": False, "hovertemplate": "%{y}: %{x:.0%}<extra></extra>"}
            shares = [round(share, 4) for _, share in bars]
            found["importance"] = {"type": "bar", "orientation": "h", "x": shares, "y": names, **style}
            first = 2
        for i, axis in enumerate(self.axis_list):
            where = {"xaxis": _axis("x", first + i), "yaxis": _axis("y", first + i)}
            for role in _ROLES:
                own = [one for one in self.points if one.role == role]
                if not own:
                    continue
                style = {
                    "mode": "markers",
                    "name": LABELS[role],
                    "legendgroup": role,
                    "showlegend": i == 0,
                    "hovertemplate": "trial %{customdata}: %{y:.4g}<extra></extra>",
                    "marker": marker((COLOURS[role], MARKERS[role][0]), 11 if role == "best" else 6),
                }
                x = [round(axis.place(one.values[i]), 4) for one in own]
                found[f"{i} {role}"] = scatter(
                    x, [one.objective for one in own], [o.number for o in own], **style, **where
                )
        return found

    def axes(self) -> dict[str, Any]:
        panels = len(self.parameters) + bool(self.importances)
        in_row = min(_IN_ROW, panels) or 1
        rows = -(-panels // in_row) or 1
        found: dict[str, Any] = {"margin": {"l": 66, "r": 12, "t": 8, "b": 40}, "dragmode": "select"}
        found["legend"] = {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 1,
            "xanchor": "right",
            "font": {"size": 11},
        }
        names = short_names(list(self.parameters))
        for k in range(panels):
            row, column = divmod(k, in_row)
            left = column / in_row
            x, y = _axis("xaxis", k + 1), _axis("yaxis", k + 1)
            # Names of parameters at the left need more room.
            room = 0.09 if k == 0 and self.importances and in_row > 1 else 0.0
            across = [
                left + room + (_GAP_X if column else 0),
                left + 1 / in_row - (_GAP_X if column + 1 < in_row else 0),
            ]
            height = (1 - _GAP_Y * (rows - 1)) / rows
            up = [max(0.0, 1 - row * (height + _GAP_Y) - height), 1 - row * (height + _GAP_Y)]
            found[x] = {"domain": across, "anchor": _axis("y", k + 1)}
            found[y] = {"domain": up, "anchor": _axis("x", k + 1)}
            if k == 0 and self.importances:
                found[x] |= {
                    "title": {"text": "importance (PED-ANOVA)", "standoff": 4},
                    "tickformat": ".0%",
                    "rangemode": "tozero",
                }
                found[y] |= {"type": "category", "tickfont": {"size": 10}}
                continue
            axis = self.axis_list[k - bool(self.importances)]
            share = self.importances.get(axis.name)
            name = chart_text(names[k - bool(self.importances)])
            ticks = axis.ticks_apart(0.24)
            if any(one.values[k - bool(self.importances)] is None for one in self.points):
                ticks = [(UNSET, "not set"), *ticks]
            found[x] |= {
                "title": {"text": name if share is None else f"{name} · {share:.0%}", "standoff": 4},
                "tickvals": [place for place, _ in ticks],
                "ticktext": [chart_text(text) for _, text in ticks],
                "tickfont": {"size": 10},
                "tickangle": 0,
                "range": [UNSET - 0.06, 1.06],
                "zeroline": False,
            }
            # All panels have the scale of the first one.
            own_first = 1 + bool(self.importances)
            if k + 1 != own_first:
                found[y] |= {"matches": _axis("y", own_first)}
            if column == 0 or k + 1 == own_first:
                found[y] |= {
                    "title": {"text": axis_label(self.figure_name).replace(", ", ",<br>"), "font": {"size": 10}}
                }
            else:
                found[y] |= {"showticklabels": False}
        return found

    def _draw_in(self, figure: Figure) -> None:
        panels = len(self.parameters) or 1
        columns = min(_IN_ROW, panels)
        grid = figure.subplots(-(-panels // columns), columns, sharey=True, squeeze=False)
        for axes, axis, i in zip(grid.flat, self.axis_list, range(panels), strict=False):
            for role in _ROLES:
                own = [one for one in self.points if one.role == role]
                x, y = [axis.place(one.values[i]) for one in own], [one.objective for one in own]
                axes.plot(x, y, linestyle="", marker=MARKERS[role][1], color=COLOURS[role], markersize=4)
            ticks = axis.ticks
            axes.set_xticks([p for p, _ in ticks], [text for _, text in ticks], fontsize=7, parse_math=False)
            axes.set_xlabel(short_names([axis.name])[0], fontsize=8, parse_math=False)
        for axes in grid.flat[panels:]:
            axes.set_visible(False)
        figure.suptitle(self.title, x=0.01, ha="left", fontsize=11, parse_math=False)


def slice_chart(
    trials: Sequence[Trial], best: Trial | None, objective: Objective, importances: Mapping[str, float]
) -> SliceChart:
    """Return the chart of all trials with a score."""
    scored = [trial for trial in trials if trial.state.scored and trial.score is not None]
    names = list(dict.fromkeys(name for trial in scored for name in trial.params))
    searched = [trial for trial in scored if not trial.baseline]
    varied = [name for name in names if len(ValueAxis.of(name, (t.params.get(name) for t in searched)).values) > 1]
    shown = sorted(varied, key=lambda name: -importances.get(name, 0.0))[:_MAX_PANELS]
    points = tuple(
        SlicePoint(
            trial.number,
            role_of(trial, best),
            tuple(None if trial.baseline else trial.params.get(name) for name in shown),
            trial.score.value,
        )
        for trial in scored
        if trial.score is not None
    )
    return SliceChart(tuple(shown), points if shown else (), objective.figure, importances, len(varied) - len(shown))


def _axis(letter: str, number: int) -> str:
    return f"{letter}{number}" if number > 1 else letter
