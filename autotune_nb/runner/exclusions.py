"""What each rule leaves out of a search space, before anything is tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune_nb.engines.engine_rules import EngineRule
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Value
from autotune_nb.task.rule import Rule
from autotune_nb.task.space import SearchSpace

#: Rules over more combinations of their parameters are left out: counting would take long.
_MOST_COMBINATIONS = 2000


@dataclass(frozen=True)
class Exclusion:
    """The combinations of a rule's parameters that it excludes, and the values that it excludes with any others."""

    rule: str
    owner: str
    parameters: tuple[str, ...]
    excluded: int
    combinations: int
    values: Mapping[str, tuple[Value, ...]]

    def __str__(self) -> str:
        count = f"{self.excluded} of {self.combinations}"
        names = " and ".join(self.parameters)
        what = f"combinations of {names}" if len(self.parameters) > 1 else f"values of {names}"
        return f"{self.owner}'s rule {self.rule!r} excludes {count} {what}"


def exclusions(space: SearchSpace) -> list[Exclusion]:
    """Return what each rule excludes by itself; rules that exclude nothing, or are too large to count, are left out."""
    return [found for rule in space.rules if (found := _exclusion(rule, space)) is not None]


def excluded_values(found: Sequence[Exclusion]) -> dict[str, list[str]]:
    """Return by parameter which of its values are in no allowed point, each rule in a sentence."""
    lines: dict[str, list[str]] = {}
    for one in found:
        for name, values in one.values.items():
            shown = ", ".join(map(str, values))
            lines.setdefault(name, []).append(f"never tried: {shown} ({one.owner}'s rule {one.rule!r})")
    return lines


def _exclusion(rule: Rule, space: SearchSpace) -> Exclusion | None:
    names = rule.tuned if isinstance(rule, EngineRule) else rule.names
    if not names or not all(name in space.parameters for name in names):
        return None
    grids: list[list[Value]] = []
    for name in names:
        grid = space.parameters[name].grid()
        if grid is None or len(grid) * math.prod(map(len, grids)) > _MOST_COMBINATIONS:
            return None
        grids.append(list(grid))
    kept: list[set[int]] = [set() for _ in names]
    excluded = 0
    for places in itertools.product(*(range(len(grid)) for grid in grids)):
        try:
            allowed = rule.allows(
                {name: grids[i][place] for i, (name, place) in enumerate(zip(names, places, strict=True))}
            )
        except TaskError:
            # The check of the task reports it.
            return None
        excluded += not allowed
        for i, place in enumerate(places):
            kept[i].update([place] if allowed else [])
    if not excluded:
        return None
    values = {
        name: tuple(value for place, value in enumerate(grids[i]) if place not in kept[i])
        for i, name in enumerate(names)
        if 0 < len(kept[i]) < len(grids[i])
    }
    return Exclusion(rule.text, rule.owner, tuple(names), excluded, math.prod(map(len, grids)), values)
