"""The columns of the table of configurations: which there are, their heads with units, and which are shown at first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from autotune_nb.engines.base import Engine
from autotune_nb.trial.formatting import figure_head
from autotune_nb.trial.score import Limit, Objective
from autotune_nb.trial.trial import Value

Cell = Value
Kind = Literal["number", "text"]
Group = Literal["trial", "figure", "limit", "parameter"]

#: Figures besides those of objectives and limits.
_COMMON = ("output_tokens_per_s", "ttft_p99_s", "tpot_mean_s", "e2e_latency_mean_s")


@dataclass(frozen=True)
class Column:
    """A column: its name in filters, its head, and whether it is shown at first.

    Cells hold seconds and shares; ``scale`` makes a cell what ``unit`` says. ``aliases`` are other names in filters,
    ``default`` is the engine's default of a parameter, None if it is unknown or that the flag is not set.
    """

    key: str
    head: str
    kind: Kind
    group: Group = "trial"
    unit: str = ""
    scale: float = 1.0
    help: str = ""
    shown: bool = True
    aliases: tuple[str, ...] = ()
    default: Value = None
    #: The figure that a limit bounds.
    figure: str = ""

    @property
    def title(self) -> str:
        """The head with its unit, such as ``TTFT p99, ms``."""
        return f"{self.head}, {self.unit}" if self.unit else self.head

    def to_dict(self) -> dict[str, Any]:
        """Return the column for JSON, without fields that are not set."""
        found = {"key": self.key, "head": self.head, "kind": self.kind, "group": self.group}
        more = {
            "unit": self.unit,
            "scale": self.scale if self.scale != 1 else None,
            "help": self.help,
            "hidden": not self.shown,
            "aliases": list(self.aliases),
            "default": self.default,
            "figure": self.figure,
        }
        return {**found, **{name: value for name, value in more.items() if value}}


def figure_names(objective: Objective) -> tuple[str, ...]:
    """Return the figures of the table: those of the objectives first, then those of the limits."""
    own = (*objective.figures, *(limit.figure for limit in objective.limits))
    return tuple(dict.fromkeys((*own, *_COMMON)))


def parameter_columns(names: Iterable[str], constant: Iterable[str], engine: Engine | None) -> list[Column]:
    """Return a column per parameter with the engine's default; ``constant`` ones are hidden."""
    hidden = set(constant)
    found = []
    for name in names:
        flag = engine.flag_named(name) if engine is not None else None
        default = flag.default if flag is not None else None
        about = f"{flag.help}. " if flag is not None and flag.help else ""
        text = f"the engine's default is {default}" if default is not None else "the engine's default is not known"
        other = (flag.name, *flag.aliases) if flag is not None else ()
        aliases = tuple(one for one in other if one != name)
        found.append(
            Column(
                name,
                name,
                "text",
                "parameter",
                help=f"{about}{text[0].upper()}{text[1:]}",
                shown=name not in hidden,
                aliases=aliases,
                default=default,
            )
        )
    return found


def figure_column(figure: str, values: Sequence[float], objective: Objective) -> Column:
    """Return the column of a figure; times below a second are in ms."""
    head, unit = figure_head(figure)
    scale = 1.0
    if unit == "s" and values and max(values) < 1:
        unit, scale = "ms", 1000.0
    elif unit == "%":
        scale = 100.0
    aim = next((one.direction for one in objective.every if one.figure == figure), None)
    aimed = f"; the objective: {'more' if aim == 'maximize' else 'less'} is better" if aim else ""
    help_ = f"{figure} at the level of the score, the mean of all starts{aimed}"
    own = aim is not None or any(limit.figure == figure for limit in objective.limits)
    shown = bool(values) and (own or figure != "e2e_latency_mean_s")
    return Column(figure, head, "number", "figure", unit, scale, help_, shown, (head,))


def limit_column(name: str) -> Column:
    """Return the column of one limit: kept, broken or undecided."""
    limit = Limit.parse(name)
    head, unit = figure_head(limit.figure)
    small = unit == "s" and abs(limit.bound) < 1
    bound = f"{limit.bound * 1000:g} ms" if small else f"{limit.bound:g} {unit}".strip()
    sign = "≤" if limit.operator == "<=" else "≥"
    scenario = f" of {limit.scenario}" if limit.scenario else ""
    help_ = f"{name}: whether it is kept at the level of the score"
    # Its figure has a mark; the column of all limits has the word.
    return Column(
        name, f"{head} {sign} {bound}{scenario}", "text", "limit", help=help_, shown=False, figure=limit.figure
    )


def with_kinds(columns: Sequence[Column], cells: Mapping[str, Sequence[Cell]]) -> list[Column]:
    """Return the columns of parameters as numbers where every value is one."""
    found = []
    for column in columns:
        values = [one for one in cells.get(column.key, ()) if one is not None]
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        kind: Kind = "number" if values and numbers else "text"
        found.append(replace(column, kind=kind) if column.group == "parameter" else column)
    return found
