"""Partial dependence: what the model of ``auto`` predicts by the value of one parameter, on average over trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autotune_nb.search.base import Observation, Predicted, SearchProblem
from autotune_nb.search.encoding import Encoding, Ints
from autotune_nb.search.figure_models import FigureModels
from autotune_nb.search.gaussian_process import OneHot
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.space import Point, SearchSpace

#: The most values of a parameter and the most configurations that are predicted, so that any study takes about as long.
_MAX_VALUES, _MAX_CONFIGURATIONS = 12, 32


@dataclass(frozen=True)
class Measured:
    """The value of the parameter and of the objective in one trial, and whether the trial keeps every limit."""

    at: Value
    value: float
    feasible: bool


@dataclass(frozen=True)
class Dependence:
    """An objective by the value of one parameter, predicted on average over configurations that were tried.

    ``predicted`` has for each of ``values`` the value and its 90 % interval. ``ordered`` is whether the values are
    numbers, which are then in ascending order.
    """

    parameter: str
    figure: str
    ordered: bool
    values: tuple[Value, ...]
    predicted: tuple[Predicted, ...]
    measured: tuple[Measured, ...]


def partial_dependences(
    problem: SearchProblem, observations: Sequence[Observation], parameters: Sequence[str]
) -> list[Dependence]:
    """Return the dependence of the first objective on each of these parameters.

    A value that the rules exclude in every configuration is left out, as is a parameter with fewer than two values.
    Raises LinAlgError if no model can be fitted.
    """
    encoding = Encoding(problem.space)
    complete, points, codes = _encoded(problem, observations, encoding)
    if not complete:
        return []
    models = FigureModels(problem, encoding)
    models.fit_objective(complete, codes, np.ones(len(problem.objectives)))
    one_hot = OneHot(encoding.dimensions)
    spread = np.linspace(0, len(points) - 1, min(len(points), _MAX_CONFIGURATIONS)).astype(int)
    found = []
    for name in parameters:
        values, predicted = [], []
        for value, allowed in _by_value(problem.space, name, [points[i] for i in spread]):
            rows = encoding.encode(allowed)
            average = models.predict_average(one_hot(rows), rows)
            if average is not None:
                values.append(value)
                predicted.append(average)
        if len(values) > 1:
            measured = tuple(
                Measured(point[name], one.values[0], one.feasible)
                for one, point in zip(complete, points, strict=True)
                if one.values is not None
            )
            figure, ordered = problem.objectives[0].figure, all(map(_is_number, values))
            found.append(Dependence(name, figure, ordered, tuple(values), tuple(predicted), measured))
    return found


def _encoded(
    problem: SearchProblem, observations: Sequence[Observation], encoding: Encoding
) -> tuple[list[Observation], list[Point], Ints]:
    """Return the complete trials with a point of the space, their points and codes."""
    complete: list[Observation] = []
    points: list[Point] = []
    rows = [np.zeros((0, len(encoding.dimensions)), dtype=np.int64)]
    for one in observations:
        point = problem.default if one.baseline else dict(one.params)
        if one.values is None or point is None or point.keys() != problem.space.parameters.keys():
            continue
        try:
            rows.append(encoding.encode([point]))
        except KeyError:
            # Imported results may have values that are not in the space.
            continue
        complete.append(one)
        points.append(point)
    return complete, points, np.concatenate(rows)


def _by_value(space: SearchSpace, name: str, points: Sequence[Point]) -> Iterator[tuple[Value, list[Point]]]:
    """Yield each value of a parameter, and the points with this value that keep the rules, if there are any."""
    for value in _values(space.parameters[name]):
        changed = [{**point, name: value} for point in points]
        allowed = [point for point in changed if space.broken_rule(point) is None]
        if allowed:
            yield value, allowed


def _values(parameter: Choice | Bool | Int | Float) -> list[Value]:
    """Return the values of a parameter; of more than can be shown, some that are spread over them."""
    if isinstance(parameter, Choice | Bool):
        values = list(parameter.grid())
        return _spread(sorted(values, key=_number) if all(map(_is_number, values)) else values)
    if not parameter.log and (grid := parameter.grid()) is not None:
        return _spread(grid)
    between = np.geomspace if parameter.log else np.linspace
    places = between(parameter.low, parameter.high, _MAX_VALUES).tolist()
    rounded = [round(x) if isinstance(parameter, Int) else min(parameter.high, max(parameter.low, x)) for x in places]
    return list(dict.fromkeys(rounded))


def _spread(values: Sequence[Value]) -> list[Value]:
    places = np.linspace(0, len(values) - 1, min(len(values), _MAX_VALUES)).astype(int)
    return [values[i] for i in places]


def _number(value: Value) -> float:
    assert isinstance(value, int | float)
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
