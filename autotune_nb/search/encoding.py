"""Configurations as numbers: ordered values by rank or position, the others as categories."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.space import Point, SearchSpace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: A range has at most so many different positions to the models.
_POSITIONS = 33
_NAME_AND_NUMBER = re.compile(r"(.*?)[-_ ](\d+)")


class Reading(Enum):
    """In which draws of the hyperparameters a dimension is read: values such as ``sarathi-512`` have two readings."""

    ALWAYS = 0
    AS_NAME_AND_NUMBER = 1
    AS_ONE_VALUE = 2


@dataclass(frozen=True)
class Dimension:
    """One dimension of the encoded space: ``code`` returns a value's index in ``positions``.

    ``positions`` are from 0 to 1; with ``ordered`` False the distance between any two different values is 1.
    """

    name: str
    code: Callable[[Value], int]
    positions: Floats
    ordered: bool
    reading: Reading = Reading.ALWAYS

    @property
    def squared_distances(self) -> Floats:
        """The squared distance between each two values."""
        size = len(self.positions)
        difference = self.positions[:, None] - self.positions[None]
        return difference**2 if self.ordered else 1.0 - np.eye(size)


class Encoding:
    """Encodes the points of a space."""

    def __init__(self, space: SearchSpace) -> None:
        self.names = tuple(space.parameters)
        self.dimensions: tuple[Dimension, ...] = tuple(
            dimension
            for name, parameter in space.parameters.items()
            for dimension in _dimensions(name, parameter)
            if len(dimension.positions) > 1
        )

    def encode(self, points: Sequence[Point]) -> Ints:
        """Return one row of codes a point. Raises KeyError for a value that is not in the space."""
        rows = [[d.code(point[d.name]) for d in self.dimensions] for point in points]
        return np.array(rows, dtype=np.int64).reshape(len(points), len(self.dimensions))


def _dimensions(name: str, parameter: Choice | Bool | Int | Float) -> list[Dimension]:
    if isinstance(parameter, Bool):
        return [_category(name, [False, True])]
    if isinstance(parameter, Choice):
        return _choice(name, parameter.values)
    low, high = (float(parameter.low), float(parameter.high))
    if parameter.log:
        low, high = math.log(low), math.log(high)
    count = _POSITIONS
    if isinstance(parameter, Int) and not parameter.log:
        count = min(_POSITIONS, (parameter.high - parameter.low) // parameter.step + 1)
    if high <= low:
        return []
    log = parameter.log

    def code(value: Value) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise KeyError(value)
        place = ((math.log(value) if log else value) - low) / (high - low)
        return min(count - 1, max(0, round(place * (count - 1))))

    return [Dimension(name, code, np.linspace(0.0, 1.0, count), ordered=True)]


def _choice(name: str, values: Sequence[Value]) -> list[Dimension]:
    numbers = [_number(value) for value in values]
    if None not in numbers:
        return [_ranked(name, values, [n for n in numbers if n is not None])]
    pairs = [_name_and_number(value) for value in values]
    texts = [text for text, _ in pairs]
    if len(set(texts)) == len(texts):
        return [_category(name, values)]
    # Read as a name and a number by half of the draws: always would be a trap where the name alone matters.
    ranked = [number if number is not None else 0.0 for _, number in pairs]
    return [
        _category(name, values, texts, Reading.AS_NAME_AND_NUMBER),
        _ranked(name, values, ranked, Reading.AS_NAME_AND_NUMBER),
        _category(name, values, reading=Reading.AS_ONE_VALUE),
    ]


def _number(value: Value) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _name_and_number(value: Value) -> tuple[str, float | None]:
    """Return ``sarathi`` and 512 for ``sarathi-512``; a number among other values has the empty name."""
    number = _number(value)
    if number is not None:
        return "", number
    match = _NAME_AND_NUMBER.fullmatch(value) if isinstance(value, str) else None
    return (match.group(1), float(match.group(2))) if match else (value_key(value), None)


def value_key(value: Value) -> str:
    """Return a text that is the same for equal values alone: 1, 1.0 and True are three."""
    return _plain_key(value) if isinstance(value, int | str) else json.dumps(value, sort_keys=True)


@functools.lru_cache(maxsize=4096, typed=True)
def _plain_key(value: int | str) -> str:
    return json.dumps(value)


def _ranked(
    name: str, values: Sequence[Value], numbers: Sequence[float], reading: Reading = Reading.ALWAYS
) -> Dimension:
    ranks = {number: rank for rank, number in enumerate(sorted(set(numbers)))}
    codes = {value_key(value): ranks[number] for value, number in zip(values, numbers, strict=True)}
    return Dimension(
        name, lambda v: codes[value_key(v)], np.linspace(0.0, 1.0, len(ranks)), ordered=True, reading=reading
    )


def _category(
    name: str, values: Sequence[Value], texts: Sequence[str] | None = None, reading: Reading = Reading.ALWAYS
) -> Dimension:
    texts = texts or [value_key(value) for value in values]
    indices = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    codes = {value_key(value): indices[text] for value, text in zip(values, texts, strict=True)}
    return Dimension(name, lambda v: codes[value_key(v)], np.zeros(len(indices)), ordered=False, reading=reading)
