"""The values of one parameter that remain after the edits of a study; checked like a rule."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property

from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value

#: With at most this many values, those that are not banned are listed; with more, a banned draw is repeated.
_LIST_UP_TO = 10_000
_DRAWS = 200


@dataclass(frozen=True)
class Restriction:
    """A subset of a parameter's values: from ``low`` to ``high``, in ``only`` (None: any), and not in ``banned``."""

    name: str
    parameter: Choice | Bool | Int | Float
    low: float | None = None
    high: float | None = None
    only: tuple[Value, ...] | None = None
    banned: tuple[Value, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def empty(self) -> bool:
        """Whether it restricts nothing."""
        return self.low is None and self.high is None and self.only is None and not self.banned

    @property
    def text(self) -> str:
        """The restriction in words."""
        parts = []
        if self.only is not None:
            listed = ", ".join(map(value_text, self.only))
            parts.append(f"pinned to {listed}" if len(self.only) == 1 else f"only {listed}")
        if self.low is not None or self.high is not None:
            parts.append(f"narrowed {bounds_text(self.low, self.high)}")
        if self.banned:
            parts.append(f"without {', '.join(map(value_text, self.banned))}")
        return f"{self.name} {', '.join(parts)}"

    def with_banned(self, values: Sequence[Value]) -> Restriction:
        return replace(self, banned=self._distinct((*self.banned, *values)))

    def with_only(self, values: Sequence[Value]) -> Restriction:
        # Values given explicitly are no longer banned.
        only = self._distinct(values)
        named = set(map(_key, only))
        banned = tuple(value for value in self.banned if _key(value) not in named)
        return replace(self, only=only, banned=banned, low=None, high=None)

    def with_range(self, low: float | None, high: float | None) -> Restriction:
        low = low if low is not None else self.low
        high = high if high is not None else self.high
        return replace(self, low=low, high=high, only=None)

    def allows(self, point: Mapping[str, Value]) -> bool:
        """Return whether the point's value is permitted; True for a point without this parameter."""
        return self.name not in point or self.permits(point[self.name])

    def permits(self, value: Value) -> bool:
        """Return whether a value is permitted."""
        if self.only is not None and self._key_of(value) not in self._only_keys:
            return False
        if self.banned and self._key_of(value) in self._banned_keys:
            return False
        if self.low is None and self.high is None:
            return True
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.low is None or value >= self.low - 1e-12) and (self.high is None or value <= self.high + 1e-12)

    @property
    def any_left(self) -> bool:
        """Whether any value is permitted."""
        return self._values is None or bool(self._values)

    def grid(self) -> Sequence[Value] | None:
        """Return the permitted values of the grid, and those given explicitly; None if they are not countable.

        A very long grid still contains banned values.
        """
        p = self.parameter
        if isinstance(p, Choice | Bool):
            return [value for value in p.grid() if self.permits(value)]
        if self.only is not None:
            return sorted(value for value in self._values or () if isinstance(value, int | float))
        narrowed = self._narrowed
        if narrowed is None:
            return []
        every = p.grid() if p.log and p.low < p.high else narrowed.grid()
        if every is None or len(every) > _LIST_UP_TO:
            return narrowed.grid() if every is None else every
        return [value for value in every if self.permits(value)]

    def random(self, rng: random.Random) -> Value:
        """Draw a permitted value, from the distribution of the parameter."""
        if self._values is not None:
            return rng.choice(self._values)
        narrowed = self._narrowed
        assert narrowed is not None
        value = narrowed.random(rng)
        for _ in range(_DRAWS):
            if self.permits(value):
                break
            value = narrowed.random(rng)
        return value

    def _distinct(self, values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple({_key(value): value for value in map(self._canonical, values)}.values())

    def _key_of(self, value: Value) -> str:
        return _key(self._canonical(value))

    def _canonical(self, value: Value) -> Value:
        # In a range 1 and 1.0 are the same number; in a choice they are different values.
        if isinstance(self.parameter, Float) and isinstance(value, int | float) and not isinstance(value, bool):
            return self.parameter.canonical(value)
        return value

    @cached_property
    def _only_keys(self) -> frozenset[str]:
        return frozenset(map(_key, self.only or ()))

    @cached_property
    def _banned_keys(self) -> frozenset[str]:
        return frozenset(map(_key, self.banned))

    @cached_property
    def _values(self) -> list[Value] | None:
        """Every permitted value, or None if they are drawn from a range instead."""
        if self.only is not None:
            return [value for value in self.only if self.permits(value)]
        narrowed = self._narrowed
        if narrowed is None:
            return []
        if isinstance(narrowed, Int):
            if narrowed.log and not self.banned:
                return None
            every: Sequence[Value] | None = range(narrowed.low, narrowed.high + 1, narrowed.step)
        else:
            every = narrowed.grid()
        if every is None or len(every) > _LIST_UP_TO:
            return None
        return [value for value in every if self.permits(value)]

    @cached_property
    def _narrowed(self) -> Choice | Bool | Int | Float | None:
        """The parameter within the range, or None if the range is empty."""
        p = self.parameter
        if isinstance(p, Choice | Bool):
            return p
        low = p.low if self.low is None else max(p.low, self.low)
        high = p.high if self.high is None else min(p.high, self.high)
        if isinstance(p, Int):
            first = p.low + math.ceil((low - p.low) / p.step) * p.step
            last = p.low + math.floor((high - p.low) / p.step) * p.step
            return p.model_copy(update={"low": first, "high": last}) if first <= last else None
        if p.step is not None:
            high = min(high, p.canonical(p.high))
            base, step = Decimal(repr(p.low)), Decimal(repr(p.step))
            nearest = Decimal("1e-9")
            first_step = math.ceil((Decimal(repr(low)) - base) / step - nearest)
            last_step = math.floor((Decimal(repr(high)) - base) / step + nearest)
            low, high = float(base + first_step * step), float(base + last_step * step)
        return p.model_copy(update={"low": low, "high": high}) if low <= high else None


def value_text(value: Value) -> str:
    """Format a value as in a task file."""
    if isinstance(value, str):
        return value
    if type(value) is int:
        # As JSON has it, without an encoder for each of thousands of values.
        return str(value)
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        return repr(value)


def bounds_text(low: float | None, high: float | None) -> str:
    """Format the ends of a range, with all of their digits."""
    ends = (("from", low), ("to", high))
    return " ".join(f"{word} {number_text(end)}" for word, end in ends if end is not None)


def number_text(number: float) -> str:
    """Format a number with all of its digits."""
    return str(number) if isinstance(number, int) else f"{number:.15g}"


def _key(value: Value) -> str:
    return json.dumps(value, sort_keys=True)
