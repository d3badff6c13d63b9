"""The columns of the table of configurations: which there are, their heads with units, and which are shown at first."""

from __future__ import annotations

from dataclasses import dataclass
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


def parameter_column(name: str, engine: Engine | None, *, numeric: bool, shown: bool) -> Column:
    """Return the column of a parameter, with the engine's default and its other names."""
    flag = engine.flag_named(name) if engine is not None else None
    default = flag.default if flag is not None else None
    about = f"{flag.help}. " if flag is not None and flag.help else ""
    text = f"The engine's default is {default}" if default is not None else "The engine's default is not known"
    other = (flag.name, *flag.aliases) if flag is not None else ()
    return Column(
        name,
        name,
        "number" if numeric else "text",
        "parameter",
        help=f"{about}{text}",
        shown=shown,
        aliases=tuple(one for one in other if one != name),
        default=default,
    )


def figure_column(figure: str, largest: float | None, objective: Objective) -> Column:
    """Return the column of a figure; times below a second are in ms."""
    head, unit = figure_head(figure)
    scale = 1.0
    if unit == "s" and largest is not None and largest < 1:
        unit, scale = "ms", 1000.0
    elif unit == "%":
        scale = 100.0
    aim = next((one.direction for one in objective.every if one.figure == figure), None)
    aimed = f"; the objective: {'more' if aim == 'maximize' else 'less'} is better" if aim else ""
    help_ = f"{figure} at the level of the score, the mean of all starts{aimed}"
    own = aim is not None or any(limit.figure == figure for limit in objective.limits)
    shown = largest is not None and (own or figure != "e2e_latency_mean_s")
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
