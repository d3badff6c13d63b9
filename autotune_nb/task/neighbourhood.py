"""The part of a space around one configuration, to search on from the best of an earlier study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value

#: The share of a range that stays on each side of a value.
_SHARE = 1 / 8


def neighbourhood(
    parameters: Mapping[str, Choice | Bool | Int | Float], point: Mapping[str, Value]
) -> dict[str, Choice | Bool | Int | Float]:
    """Return the parameters around a configuration.

    Of listed numbers, the value and its neighbours stay; of a range, an eighth on each side. Words have no order, so
    all of them stay, as does a parameter without a number in the configuration.
    """
    return {name: _around(parameter, point.get(name)) for name, parameter in parameters.items()}


def _around(parameter: Choice | Bool | Int | Float, value: Value) -> Choice | Bool | Int | Float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not parameter.contains(value):
        return parameter
    change: dict[str, Any] = {}
    if isinstance(parameter, Choice):
        numbers = [one for one in parameter.values if isinstance(one, int | float) and not isinstance(one, bool)]
        order = sorted(numbers)
        at = order.index(value)
        change = {"values": [*(one for one in parameter.values if one in order[max(at - 1, 0) : at + 2])]}
    elif isinstance(parameter, Int | Float):
        low, high = _range(parameter, value)
        change = {"low": low, "high": high}
    return type(parameter).model_validate({**parameter.model_dump(exclude_defaults=True), **change})


def _range(parameter: Int | Float, value: float) -> tuple[float, float]:
    if parameter.log:
        factor = math.exp(math.log(parameter.high / parameter.low) * _SHARE)
        low, high = value / factor, value * factor
    else:
        side = (parameter.high - parameter.low) * _SHARE
        if parameter.step:
            side = max(1, round(side / parameter.step)) * parameter.step
        low, high = value - side, value + side
    if isinstance(parameter, Int):
        low, high = math.floor(low), math.ceil(high)
    elif parameter.step:
        low, high = parameter.canonical(low), parameter.canonical(high)
    else:
        low, high = float(f"{low:.3g}"), float(f"{high:.3g}")
    return max(parameter.low, low), min(parameter.high, high)
