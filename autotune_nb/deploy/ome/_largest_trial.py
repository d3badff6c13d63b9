"""The trial of a task's search space that needs the most GPUs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from autotune_nb.deploy.ome._arguments import runtime_flags
from autotune_nb.deploy.ome.manifest import gpus_needed
from autotune_nb.engines.base import Engine
from autotune_nb.engines.engine_rules import EngineRule
from autotune_nb.engines.given_flags import all_flags
from autotune_nb.engines.registry import space_for
from autotune_nb.task.parameters import Int, Parameter, Value
from autotune_nb.task.rule import Rule
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task

_MAX_POINTS = 5000


def largest_trial(
    task: Task, engine: Engine, runner: Mapping[str, Any] | None = None
) -> tuple[int, Mapping[str, Value]]:
    """Return the most GPUs that a trial needs, and its parallel sizes.

    A rule applies if the grid of the parameters it names is small enough to enumerate. The result is an upper bound;
    it is exact unless a rule depends on a range without a step.
    """
    without = gpus_needed(task, engine, {}, runner)
    space = space_for(task, engine)
    whole = SearchSpace({name: _whole(parameter) for name, parameter in space.parameters.items()}, space.rules)
    counted = engine.counted_sizes(all_flags(task, engine, {}, runtime_flags(engine, runner)))
    sizes = [name for name in whole.parameters if _is_size(engine, name, counted) and _count(whole, name) < math.inf]
    if not sizes or task.deploy.gpus_per_trial is not None:
        return without, {}
    bounded = SearchSpace({name: whole.parameters[name] for name in _bound(whole, sizes)}, space.rules)
    best: tuple[int, Mapping[str, Value]] = (without, {})
    for point in islice(_descending(bounded, sizes), _MAX_POINTS):
        # If all these points break a rule, the last one is a bound: the others need no more GPUs.
        best = (gpus_needed(task, engine, point, runner), {name: point[name] for name in sizes})
        if bounded.broken_rule(point) is None:
            break
    return best if best[0] > without else (without, {})


def _whole(parameter: Parameter) -> Parameter:
    # A sampler may draw any integer of a logarithmic range, not only those of its grid.
    return parameter.model_copy(update={"log": False}) if isinstance(parameter, Int) else parameter


def _is_size(engine: Engine, name: str, counted: Sequence[str]) -> bool:
    flag = engine.flag_named(name)
    return flag is not None and flag.name in counted


def _bound(space: SearchSpace, sizes: Sequence[str]) -> list[str]:
    """Return the sizes and the parameters that rules relate to them, while their grid stays small."""
    names = list(sizes)
    while True:
        count = math.prod(_count(space, name) for name in names)
        more = (other for rule in space.rules if set(names) & set(_tuned(rule)) for other in _tuned(rule))
        fits = (name for name in more if name not in names and count * _count(space, name) <= _MAX_POINTS)
        found = next(fits, None)
        if found is None:
            return names
        names.append(found)


def _tuned(rule: Rule) -> Sequence[str]:
    return rule.tuned if isinstance(rule, EngineRule) else rule.names


def _count(space: SearchSpace, name: str) -> float:
    """Return the number of a parameter's values; infinite for a range without a step."""
    grid = space.parameters[name].grid()
    return math.inf if grid is None else len(grid)


def _descending(space: SearchSpace, sizes: Sequence[str]) -> Iterator[dict[str, Value]]:
    """Yield every point of the grid, regardless of rules, in descending order of the product of sizes."""
    axes = [_largest_first(parameter.grid() or ()) for parameter in space.parameters.values()]
    is_size = [name in sizes for name in space.parameters]

    def product(at: tuple[int, ...]) -> int:
        return math.prod(_gpus(axis[i]) for axis, i, size in zip(axes, at, is_size, strict=True) if size)

    first = (0,) * len(axes)
    heap, seen = [(-product(first), first)], {first}
    while heap:
        _, at = heapq.heappop(heap)
        yield {name: axis[i] for name, axis, i in zip(space.parameters, axes, at, strict=True)}
        for place, i in enumerate(at):
            after = (*at[:place], i + 1, *at[place + 1 :])
            if i + 1 < len(axes[place]) and after not in seen:
                seen.add(after)
                heapq.heappush(heap, (-product(after), after))


def _largest_first(values: Sequence[Value]) -> Sequence[Value]:
    # A range may have billions of values.
    return values[::-1] if isinstance(values, range) else sorted(values, key=_gpus, reverse=True)


def _gpus(value: Value) -> int:
    return max(1, value) if isinstance(value, int) else 1
