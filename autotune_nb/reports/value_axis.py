"""The values of one parameter, or of a figure, on an axis from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autotune_nb.task.restriction import value_text

#: From this ratio of the largest to the smallest value on, the axis is logarithmic.
_LOG_RATIO = 16
#: The least distance between two ticks of an axis that points upwards.
_APART = 0.12
_MAX_LABEL = 14
#: Where trials are that do not set the parameter, such as the engine's default, or that have no value.
UNSET = -0.13


@dataclass(frozen=True)
class ValueAxis:
    """The different values of a parameter in the order of the axis. None is no value, which is at ``UNSET``."""

    name: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, name: str, values: Iterable[Any]) -> ValueAxis:
        different = list({(type(one), value_text(one)): one for one in values if one is not None}.values())
        if all(map(_is_number, different)):
            different.sort()
        return cls(name, tuple(different))

    @cached_property
    def numeric(self) -> bool:
        """Whether the values are numbers, which are at their distances."""
        return bool(self.values) and all(map(_is_number, self.values))

    @cached_property
    def logarithmic(self) -> bool:
        return self.numeric and self.values[0] > 0 and self.values[-1] / self.values[0] >= _LOG_RATIO

    @cached_property
    def _places(self) -> dict[tuple[type, str], float]:
        count = len(self.values)
        return {(type(one), value_text(one)): (i + 0.5) / count for i, one in enumerate(self.values)}

    def place(self, value: Any) -> float:
        """Return where a value is, from 0 to 1; ``UNSET`` for None and for values that are not on the axis."""
        if value is None:
            return UNSET
        if not self.numeric:
            return self._places.get((type(value), value_text(value)), UNSET)
        if not _is_number(value):
            return UNSET
        low, high = self.values[0], self.values[-1]
        if low == high:
            return 0.5
        if self.logarithmic:
            return math.log(max(value, low) / low) / math.log(high / low)
        return float((value - low) / (high - low))

    def value_at(self, place: float) -> float:
        """Return the number at a place of a numeric axis, from 0 to 1."""
        low, high = self.values[0], self.values[-1]
        inside = min(1.0, max(0.0, place))
        return float(low * (high / low) ** inside if self.logarithmic else low + (high - low) * inside)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The places and texts of values, as an axis that points upwards has them."""
        return self.ticks_apart(_APART)

    def ticks_apart(self, apart: float) -> list[tuple[float, str]]:
        """Return the places and texts of values that are at least so far apart, the first and the last included."""
        places = [(self.place(one), label(one)) for one in self.values]
        if len(places) < 3:
            return places
        shown, last = [places[0]], places[-1]
        shown += [one for one in places[1:-1] if last[0] - one[0] >= apart]
        kept = [shown[0]]
        for one in shown[1:]:
            if one[0] - kept[-1][0] >= apart:
                kept.append(one)
        return [*kept, last]


def label(value: Any) -> str:
    """Return a value as the label of a tick."""
    text = f"{value:.4g}" if isinstance(value, float) else value_text(value)
    return text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
