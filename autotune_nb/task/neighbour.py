"""The neighbours of a configuration: allowed ones that differ from it in one parameter, by one step."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.space import Point, SearchSpace, point_key

#: A step of a range is this share of it, or a factor of 2 if it is logarithmic.
_SHARE = 8
#: A grid with more values than this is searched like a range.
_LISTED = 64


def neighbour(space: SearchSpace, point: Mapping[str, Value], tried: Container[str]) -> Point | None:
    """Return the first neighbour that the space allows and whose ``point_key`` is not among ``tried``; None if none."""
    for name in space.parameters:
        for value in _steps(space, name, point.get(name)):
            candidate = space.canonical({**point, name: value})
            whole = len(candidate) == len(space.parameters)
            if whole and space.broken_rule(candidate) is None and point_key(candidate) not in tried:
                return candidate
    return None


def _steps(space: SearchSpace, name: str, value: Value) -> Iterator[Value]:
    """Yield the next higher and the next lower value of a parameter."""
    parameter = space.parameters[name]
    grid = (space.restrictions.get(name) or parameter).grid()
    values = list(grid) if grid is not None and (isinstance(parameter, Choice | Bool) or len(grid) <= _LISTED) else []
    at = next((place for place, one in enumerate(values) if one == value and type(one) is type(value)), None)
    if at is not None:
        yield from (values[place] for place in (at + 1, at - 1) if 0 <= place < len(values))
    elif isinstance(parameter, Int | Float) and isinstance(value, int | float) and not isinstance(value, bool):
        # Of a logarithmic range the grid has the powers only.
        yield from _in_range(parameter, value)


def _in_range(parameter: Int | Float, value: float) -> Iterator[Value]:
    step = (parameter.high - parameter.low) / _SHARE
    for moved in (value * 2, value / 2) if parameter.log else (value + step, value - step):
        near = min(parameter.high, max(parameter.low, moved))
        if isinstance(parameter, Int):
            unit = parameter.step or 1
            near = parameter.low + round((near - parameter.low) / unit) * unit
            near = near - unit if near > parameter.high else near
        if near != value:
            yield near
