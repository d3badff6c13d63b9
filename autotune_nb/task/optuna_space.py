"""A search space as Optuna's distributions, and its points as Optuna's parameters."""

from __future__ import annotations

import json
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autotune_nb.task.parameters import Bool, Choice, Float, Int
from autotune_nb.task.space import Point, SearchSpace


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return a space as Optuna's distributions; a choice's list or mapping is its JSON text."""
    result: dict[str, BaseDistribution] = {}
    for name, parameter in space.parameters.items():
        match parameter:
            case Choice():
                result[name] = CategoricalDistribution(_codes(parameter))
            case Bool():
                result[name] = CategoricalDistribution([False, True])
            case Int(low=low, high=high, step=step, log=log):
                result[name] = IntDistribution(low, high - (high - low) % step, step=step, log=log)
            case Float(low=low, high=high, step=step, log=log):
                top = high if step is None else parameter.canonical(low + int((high - low) / step + 1e-9) * step)
                result[name] = FloatDistribution(low, top, step=step, log=log)
    return result


def encode(space: SearchSpace, point: Point) -> dict[str, Any]:
    """Return a point as Optuna's parameters."""
    result: dict[str, Any] = {}
    for name, value in point.items():
        parameter = space.parameters[name]
        if isinstance(parameter, Choice):
            texts = [json.dumps(v, sort_keys=True) for v in parameter.values]
            value = _codes(parameter)[texts.index(json.dumps(value, sort_keys=True))]
        result[name] = value
    return result


def _codes(parameter: Choice) -> list[bool | int | float | str | None]:
    """Return Optuna's value for each value of a choice. They are distinct: to Optuna 1, 1.0 and True are equal."""
    codes: list[bool | int | float | str | None] = []
    for value in parameter.values:
        code = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        while code in codes:
            code = json.dumps(code)
        codes.append(code)
    return codes


def decode(space: SearchSpace, params: dict[str, Any]) -> Point:
    """Return the point of Optuna's parameters."""
    point: Point = {}
    for name, value in params.items():
        parameter = space.parameters.get(name)
        if isinstance(parameter, Choice):
            codes = _codes(parameter)
            matches = [v for v, code in zip(parameter.values, codes, strict=True) if _same(code, value)]
            point[name] = matches[0] if matches else value
        else:
            point[name] = value
    return space.canonical(point)


def _same(code: Any, value: Any) -> bool:
    return type(code) is type(value) and code == value
