"""A search space as Optuna's distributions, and its points as Optuna's parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune_nb.task.parameters import Bool, Choice, Float, Int
from autotune_nb.task.space import Point, SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return a space as Optuna's distributions; a choice's list or mapping is its JSON text."""
    # Optuna takes a second to import, and is not needed to decode the points of stored trials.
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    result: dict[str, BaseDistribution] = {}
    for name, parameter in space.parameters.items():
        match parameter:
            case Choice():
                result[name] = CategoricalDistribution(list(parameter.codes.values()))
            case Bool():
                result[name] = CategoricalDistribution([False, True])
            case Int(low=low, high=high, step=step, log=log):
                result[name] = IntDistribution(low, high - (high - low) % step, step=step, log=log)
            case Float(low=low, high=high, step=step, log=log):
                top = high if step is None else parameter.canonical(low + int((high - low) / step + 1e-9) * step)
                result[name] = FloatDistribution(low, top, step=step, log=log)
    return result


def encode(space: SearchSpace, point: Point) -> dict[str, Any]:
    """Return a point as Optuna's parameters. Raises ValueError for a value that its choice does not have."""
    result: dict[str, Any] = {}
    for name, value in point.items():
        parameter = space.parameters[name]
        if isinstance(parameter, Choice):
            text = json.dumps(value, sort_keys=True)
            if text not in parameter.codes:
                raise ValueError(f"{text} is not a value of {name}")
            value = parameter.codes[text]
        result[name] = value
    return result


def decode(space: SearchSpace, params: Mapping[str, Any]) -> Point:
    """Return the point of Optuna's parameters."""
    return space.canonical({name: decode_value(space.parameters.get(name), value) for name, value in params.items()})


def decode_value(parameter: Choice | Bool | Int | Float | None, value: Any) -> Any:
    """Return the value of a parameter for Optuna's; of one that the space does not have, None, it is the same."""
    if isinstance(parameter, Choice):
        for one, code in zip(parameter.values, parameter.codes.values(), strict=True):
            if _same(code, value):
                return one
    return value


def _same(code: Any, value: Any) -> bool:
    return type(code) is type(value) and code == value
