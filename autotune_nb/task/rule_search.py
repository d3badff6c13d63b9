"""Finds points that keep rules which random points hardly ever keep, or shows that there are none."""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Iterator, Mapping, Sequence

from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.restriction import Restriction
from autotune_nb.task.rule import Rule

#: With more values than this, or values that are not countable, some are drawn.
_LIST_UP_TO, _DRAWN = 4_000, 60
#: How many values of parameters are tried in all, about a second.
_MAX_STEPS = 40_000
_Parameters = Mapping[str, Choice | Bool | Int | Float]


class RuleSearch:
    """Assigns values to the parameters of rules one by one, and goes back where a rule is broken.

    After ``solutions`` is exhausted, ``complete`` is whether it has tried everything: then there are no others.
    """

    def __init__(
        self,
        parameters: _Parameters,
        restrictions: Mapping[str, Restriction],
        rules: Sequence[Rule],
        rng: random.Random,
    ) -> None:
        names = {name for rule in rules for name in rule.names}
        self.complete = True
        self.num_steps = 0
        self._rng = rng
        self._parameters, self._restrictions = parameters, restrictions
        named = [number for rule in rules for number in _numbers(rule.tree)]
        self._values = {name: self._listed(name, named) for name in parameters if name in names}
        self._conditions = [part for rule in rules for part in self._parts(rule)]

    def solutions(self) -> Iterator[dict[str, Value]]:
        """Yield values of the rules' parameters that keep every rule, until too many have been tried."""
        if any(self._contradicts(rule) for rule in self._conditions):
            self.complete = True
            return
        order: list[str] = []
        # A parameter with few values first, then those that share a rule with it.
        while len(order) < len(self._values):
            near = {n for rule in self._conditions if set(rule.names) & set(order) for n in rule.names} - set(order)
            order.append(min(near or self._values.keys() - set(order), key=lambda n: (len(self._values[n]), n)))
        decided = [[r for r in self._conditions if name in r.names and set(r.names) <= set(order[: place + 1])]
                   for place, name in enumerate(order)]  # fmt: skip
        yield from self._below(order, decided, {})

    def _below(
        self, order: Sequence[str], decided: Sequence[Sequence[Rule]], point: dict[str, Value]
    ) -> Iterator[dict[str, Value]]:
        if len(point) == len(order):
            yield dict(point)
            return
        name = order[len(point)]
        for value in self._values[name]:
            self.num_steps += 1
            if self.num_steps > _MAX_STEPS:
                self.complete = False
                return
            point[name] = value
            if all(rule.allows(point) for rule in decided[len(point) - 1]):
                yield from self._below(order, decided, point)
            del point[name]

    def _listed(self, name: str, named: Sequence[float]) -> list[Value]:
        """Return the values of a parameter in random order; with too many only some, and those that rules name."""
        parameter, restriction = self._parameters[name], self._restrictions.get(name)
        values = restriction or parameter
        every = values.grid()
        if every is not None and len(every) <= _LIST_UP_TO:
            listed = list(every)
        else:
            self.complete = False
            ends = [parameter.low, parameter.high] if isinstance(parameter, Int | Float) else []
            listed = [value for value in (*ends, *named) if parameter.contains(value)]
            listed = [value for value in listed if restriction is None or restriction.permits(value)]
            listed += [values.random(self._rng) for _ in range(_DRAWN)]
        self._rng.shuffle(listed)
        return listed

    def _parts(self, rule: Rule) -> list[Rule]:
        """Return the conditions of which a rule is made: each is decided as soon as its own parameters are."""
        # A rule allows a point without one of its parameters, so that its parts say less.
        if not isinstance(rule.tree, ast.BoolOp) or not isinstance(rule.tree.op, ast.And) or self._optional(rule):
            return [rule]
        try:
            return [Rule(ast.unparse(part), list(self._values)) for part in rule.tree.values]
        except TaskError:
            return [rule]

    def _optional(self, rule: Rule) -> bool:
        return any(value is None for name in rule.names for value in self._values[name])

    def _contradicts(self, rule: Rule) -> bool:
        """Whether no values can keep a comparison, by the ranges of its sides."""
        tree = rule.tree
        if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or self._optional(rule):
            return False
        left, right = self._range(tree.left), self._range(tree.comparators[0])
        if left is None or right is None:
            return False
        match tree.ops[0]:
            case ast.Lt():
                return left[0] >= right[1]
            case ast.LtE():
                return left[0] > right[1]
            case ast.Gt():
                return left[1] <= right[0]
            case ast.GtE():
                return left[1] < right[0]
            case ast.Eq():
                return left[1] < right[0] or right[1] < left[0]
        return False

    def _range(self, node: ast.expr) -> tuple[float, float] | None:
        """Return between which numbers the values of an expression are; None if that is not known."""
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return number, number
            case ast.Name(id=name):
                return self._bounds(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._range(operand)
                return None if inner is None else (-inner[1], -inner[0])
            case ast.BinOp(left=first, op=ast.Add() | ast.Sub() | ast.Mult() as operator, right=second):
                left, right = self._range(first), self._range(second)
                if left is None or right is None:
                    return None
                calculate = {ast.Add: float.__add__, ast.Sub: float.__sub__, ast.Mult: float.__mul__}[type(operator)]
                ends = [calculate(float(a), float(b)) for a in left for b in right]
                return (min(ends), max(ends)) if all(map(math.isfinite, ends)) else None
        return None

    def _bounds(self, name: str) -> tuple[float, float] | None:
        parameter = self._parameters.get(name)
        if isinstance(parameter, Int | Float):
            return parameter.low, parameter.high
        values = parameter.values if isinstance(parameter, Choice) else []
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        return (min(numbers), max(numbers)) if numbers and len(numbers) == len(values) else None


def _numbers(tree: ast.AST) -> list[int | float]:
    """Return the numbers in an expression, both signs of each."""
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    return [signed for number in numbers for signed in (number, -number)]
