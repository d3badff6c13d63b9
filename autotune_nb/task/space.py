"""The search space: parameters, the rules between them, and the points that keep the rules."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value, other_type_text
from autotune_nb.task.restriction import Restriction
from autotune_nb.task.rule import Rule
from autotune_nb.task.rule_search import RuleSearch

Point = dict[str, Value]
_ENUMERATE_UP_TO = 200_000
_RANDOM_TRIES = 20_000
_SEARCH_DRAWS = 2000


class _OneOf(Rule):
    """Allows the points with these keys."""

    def __init__(self, keys: Set[str]) -> None:
        self.text = "one of the recorded configurations"
        self.names = ()
        self._keys = keys

    def allows(self, point: Mapping[str, Value]) -> bool:
        return point_key(point) in self._keys


def _product(values: Sequence[Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    # Unlike itertools.product it does not copy the values: a range may have billions.
    if not values:
        yield ()
        return
    for first in values[0]:
        for rest in _product(values[1:]):
            yield (first, *rest)


def point_key(point: Mapping[str, Value]) -> str:
    """Return a text that identifies a point, independent of the order of its parameters."""
    return json.dumps(point, sort_keys=True, default=str)


@dataclass(frozen=True)
class SearchSpace:
    """The parameters and the rules between them."""

    parameters: Mapping[str, Choice | Bool | Int | Float]
    rules: tuple[Rule, ...] = ()
    #: The effect of the study's edits, by parameter.
    restrictions: Mapping[str, Restriction] = field(default_factory=dict)
    #: The only points of the space, such as the recorded ones in a replay; None for all of its points.
    points: tuple[Point, ...] | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, Choice | Bool | Int | Float], rules: Sequence[str]) -> SearchSpace:
        """Create a space. Raises TaskError for an empty space, an invalid rule, or rules that no point keeps."""
        if not parameters:
            raise TaskError("there is nothing to tune: name at least one parameter", field="parameters")
        names = list(parameters)
        parsed = tuple(Rule(text, names, field=f"rules[{i}]") for i, text in enumerate(rules))
        space = cls(parameters, parsed)
        space.require_allowed()
        return space

    @cached_property
    def grid_size(self) -> int | None:
        """The number of grid points before the rules, or None if the values of a parameter are not countable."""
        if self.points is not None:
            return len(self.points)
        sizes = [None if values is None else len(values) for values in self._grid_values.values()]
        if 0 in sizes:
            return 0
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @cached_property
    def _grid_values(self) -> dict[str, Sequence[Value] | None]:
        return {name: (self.restrictions.get(name) or p).grid() for name, p in self.parameters.items()}

    def grid(self) -> Iterator[Point]:
        """Yield every grid point that keeps the rules, the last parameter changing fastest.

        Raises TaskError if the values of a parameter are not countable.
        """
        if self.points is not None:
            yield from (dict(point) for point in self.points if self.broken_rule(point) is None)
            return
        values = []
        for name, grid in self._grid_values.items():
            if grid is None:
                raise TaskError("a grid needs a step, or a choice of values", field=f"parameters.{name}.step")
            values.append(grid)
        for combination in _product(values):
            point = dict(zip(self.parameters, combination, strict=True))
            if self.broken_rule(point) is None:
                yield point

    def with_points(self, points: Sequence[Point]) -> SearchSpace:
        """Return the space of those points that it allows, and no others."""
        allowed = [
            self.canonical(point)
            for point in points
            if point.keys() == self.parameters.keys()
            and all(parameter.contains(point[name]) for name, parameter in self.parameters.items())
            and self.broken_rule(self.canonical(point)) is None
        ]
        known = {point_key(point): point for point in allowed}
        return replace(self, rules=(*self.rules, _OneOf(known.keys())), points=tuple(known.values()))

    def restricted(self, restrictions: Mapping[str, Restriction]) -> SearchSpace:
        """Return the space with these restrictions."""
        return replace(self, restrictions=dict(restrictions))

    def broken_rule(self, point: Mapping[str, Value]) -> Rule | Restriction | None:
        """Return the first rule or restriction that the point breaks, or None if it is allowed."""
        return next((rule for rule in self._conditions if not rule.allows(point)), None)

    @cached_property
    def _conditions(self) -> list[Rule | Restriction]:
        # Restrictions first, since they are the cheapest to check.
        return [*self.restrictions.values(), *self.rules]

    def canonical(self, point: Mapping[str, Any]) -> Point:
        """Return the point in the order of the parameters, with floats rounded to their steps."""
        result: Point = {}
        for name, parameter in self.parameters.items():
            if name in point:
                value = point[name]
                result[name] = parameter.canonical(value) if isinstance(parameter, Float) else value
        return result

    def check(self, point: Mapping[str, Any]) -> Point:
        """Return the canonical point.

        Raises TaskError naming the parameter that is unknown, missing or out of its range, or the broken rule.
        """
        for name in point:
            if name not in self.parameters:
                raise UnknownNameError("parameter", name, self.parameters, field="point")
        missing = [name for name in self.parameters if name not in point]
        if missing:
            others = f" (so are {', '.join(missing[1:])})" if missing[1:] else ""
            raise TaskError(
                f"is missing{others}: a configuration must set every parameter", field=f"point.{missing[0]}"
            )
        for name, parameter in self.parameters.items():
            if not parameter.contains(point[name]):
                problem = other_type_text(parameter, point[name]) or f"{point[name]!r} is not in the space"
                raise TaskError(problem, field=f"point.{name}")
        point = self.canonical(point)
        rule = self.broken_rule(point)
        if isinstance(rule, Restriction):
            raise TaskError(f"excluded by the study's edits: {rule.text}; free it first", field=f"point.{rule.name}")
        if rule is not None:
            raise TaskError(f"breaks the rule {rule.text!r}", field="point")
        return point

    def _draw(self, rng: random.Random) -> Point:
        if self.points is not None:
            return dict(rng.choice(self.points))
        drawn = {**self.parameters, **self.restrictions}
        return {name: drawn[name].random(rng) for name in self.parameters}

    def projected(self, point: Point, rng: random.Random) -> Point:
        """Return the point with every value that restrictions exclude replaced by a permitted one."""
        left = self.restrictions
        lost = {n for n in point if n in left and left[n].any_left and not left[n].permits(point[n])}
        return {name: left[name].random(rng) if name in lost else value for name, value in point.items()}

    @property
    def _all_have_values(self) -> bool:
        return all(left.any_left for left in self.restrictions.values())

    def may_have_points(self, *, of_grid: bool = False) -> bool:
        """Return whether a search finds an allowed point, or with ``of_grid`` an allowed grid point."""
        rng = random.Random(0)
        grid = self if of_grid else self._with_linear_ints
        small = grid.grid_size is not None and grid.grid_size <= _ENUMERATE_UP_TO
        if not self._all_have_values or grid.grid_size == 0:
            return False
        if not (of_grid and small) and any(self.broken_rule(self._draw(rng)) is None for _ in range(_SEARCH_DRAWS)):
            return True
        if small:
            return next(grid.grid(), None) is not None
        return not of_grid and self._searched_point(rng)[0] is not None

    def random_point(self, rng: random.Random, *, exclude: frozenset[str] | set[str] = frozenset()) -> Point | None:
        """Return an allowed point whose key is not excluded, or None if none was found."""
        if not self._all_have_values:
            return None
        for _ in range(_RANDOM_TRIES):
            point = self._draw(rng)
            if point_key(point) not in exclude and self.broken_rule(point) is None:
                return point
        size = self._with_linear_ints.grid_size
        if size is not None and size <= _ENUMERATE_UP_TO:
            left = [point for point in self._with_linear_ints.grid() if point_key(point) not in exclude]
            return rng.choice(left) if left else None
        return self._searched_point(rng, exclude)[0]

    def _searched_point(self, rng: random.Random, exclude: Set[str] = frozenset()) -> tuple[Point | None, bool]:
        """Return an allowed point that random draws miss, or None and whether it is certain that there is none."""
        if self.points is not None:
            return None, False
        space = self._with_linear_ints
        search = RuleSearch(space.parameters, space.restrictions, space.rules, rng)
        for values in search.solutions():
            point = space.canonical({**space._draw(rng), **values})
            if point_key(point) not in exclude and self.broken_rule(point) is None:
                return point, False
        return None, search.complete

    @cached_property
    def _with_linear_ints(self) -> SearchSpace:
        """The same space with a grid that has every integer of a logarithmic range."""
        plain = {
            name: parameter.model_copy(update={"log": False}) if isinstance(parameter, Int) else parameter
            for name, parameter in self.parameters.items()
        }
        if plain == self.parameters:
            return self
        left = {name: replace(one, parameter=plain[name]) for name, one in self.restrictions.items()}
        return replace(self, parameters=plain, restrictions=left)

    def allowed_points(self, at_most: int) -> list[Point] | None:
        """Return every allowed point, or None if there are more than ``at_most`` or too many to enumerate."""
        grid = self._with_linear_ints
        if grid.grid_size is None or grid.grid_size > _ENUMERATE_UP_TO:
            return None
        points = [self.canonical(point) for point in itertools.islice(grid.grid(), at_most + 1)]
        return points if len(points) <= at_most else None

    def random_points(self, rng: random.Random, draws: int) -> list[Point]:
        """Return the different allowed points among so many random ones."""
        if not self._all_have_values:
            return []
        drawn = [self.canonical(self._draw(rng)) for _ in range(draws)]
        return list({point_key(point): point for point in drawn if self.broken_rule(point) is None}.values())

    @cached_property
    def num_allowed(self) -> int | None:
        """The number of grid points that keep the rules, or None if there are too many to count."""
        if self.grid_size is None or self.grid_size > _ENUMERATE_UP_TO:
            return None
        if self.grid_size == 0:
            return 0
        return sum(1 for _ in self.grid()) if self.rules or self.restrictions else self.grid_size

    @property
    def num_points(self) -> int | None:
        """The number of points that a sampler can propose, or None if it is unbounded or unknown."""
        return self._with_linear_ints.num_allowed

    def require_allowed(self) -> None:
        """Raise TaskError if no point keeps every rule; it names a rule that no point keeps if there is one."""
        if self.rules and self._allowed_point is not None:
            # A rule that cannot be evaluated at some point should raise now, not in the middle of a study.
            rng = random.Random(0)
            for _ in range(200):
                self.broken_rule({name: parameter.random(rng) for name, parameter in self.parameters.items()})
        elif self.rules and self._none_allowed:
            alone = [rule for rule in self.rules if SearchSpace(self.parameters, (rule,))._none_allowed]
            reason = (
                f"no point keeps {alone[0].text!r}, a rule of {alone[0].owner}"
                if alone
                else "no point keeps all of the rules together"
            )
            raise TaskError(f"{reason}: loosen a rule or widen a range", field="rules")

    @property
    def note(self) -> str:
        """What is unusual about the rules, for the user; empty if nothing is."""
        if not self.rules or self._allowed_point is not None or self._none_allowed:
            return ""
        return f"none of {_RANDOM_TRIES:,} random points keeps all of the rules, and a search found none; it goes on"

    @cached_property
    def _allowed_point(self) -> Point | None:
        return self.random_point(random.Random(0))

    @cached_property
    def _none_allowed(self) -> bool:
        """Whether it is certain that no point keeps every rule."""
        size = self._with_linear_ints.grid_size
        if size is not None and size <= _ENUMERATE_UP_TO:
            return next(self._with_linear_ints.grid(), None) is None
        return self._searched_point(random.Random(0))[1]
