"""What a task asks for, before it runs: the size of its grid, the points its rules leave, the minutes it may take."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autotune_nb.engines.registry import EngineRule
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Int, Value
from autotune_nb.task.space import Rule, SearchSpace
from autotune_nb.task.task import DEFAULT_TRIALS, Task

#: Of parameters that rules tie together: up to so many looks at a rule and so many combinations all are counted, of
#: more a share is drawn. It bounds the time, whatever the task.
_LOOKS = 3000
_COMBINATIONS = 20_000
#: Seconds a trial takes besides its levels: the engine's start, the warm-up, taking it down.
_START_UP_S = {"llama_cpp": 10.0, "vllm": 90.0, "sglang": 90.0, "command": 60.0}


@dataclass(frozen=True)
class Count:
    """A number of points; not ``exact`` where only a share of them was drawn. None: there is no end of them."""

    number: int | None
    exact: bool = True

    def __str__(self) -> str:
        if self.number is None:
            return "endless"
        return _number(self.number) if self.exact else f"about {_number(int(float(f'{self.number:.2g}')))}"


@dataclass(frozen=True)
class Estimate:
    """``minutes`` is an upper bound; None where neither the space nor the budget ends the study."""

    grid_size: int | None
    allowed: Count
    trials: int | None
    minutes: float | None
    text: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.text)


def estimate(task: Task, space: SearchSpace) -> Estimate:
    """How large the space is and how long the budget may take; quick for any task, so rough for a large one."""
    allowed = count(space)
    trials = _trials(task, space, allowed)
    minutes = None if trials is None else math.ceil(trials / task.deploy.parallel) * _seconds(task) / 60
    cap = task.budget.minutes
    capped = cap is not None and (minutes is None or cap < minutes)
    if capped:
        minutes = cap
    text = (_space_line(space, allowed), _time_line(task, trials, minutes, capped))
    return Estimate(space.grid_size, allowed, trials, minutes, text)


def _seconds(task: Task) -> float:
    start_up = min(_START_UP_S.get(task.engine.kind, math.inf), task.deadlines.ready_s)
    return len(task.workload.levels) * task.workload.seconds_per_level + start_up


def _trials(task: Task, space: SearchSpace, allowed: Count) -> int | None:
    """As ``Task.num_trials``, with the engine's own rules and without its patience."""
    grid = task.strategy.sampler == "grid"
    points = allowed if grid else count(_every(space))
    wanted = task.budget.trials or (None if grid else DEFAULT_TRIALS)
    if points.number is None or not (points.exact or grid):
        return wanted
    there_are = points.number + int(task.budget.baseline)
    return there_are if wanted is None else min(wanted, there_are)


def _every(space: SearchSpace) -> SearchSpace:
    """The space with every whole number of a logarithmic range, which samplers may propose."""
    plain = {
        name: parameter.model_copy(update={"log": False}) if isinstance(parameter, Int) else parameter
        for name, parameter in space.parameters.items()
    }
    return SearchSpace(plain, space.rules)


def count(space: SearchSpace) -> Count:
    """How many points of the grid the rules leave.

    Only parameters that rules tie together are looked at in combination; the others multiply.
    """
    grids: dict[str, Sequence[Value]] = {}
    for name, parameter in space.parameters.items():
        grid = parameter.grid()
        if grid is None:
            return Count(None)
        grids[name] = grid
    groups = _tied(grids, space.rules)
    number, exact = 1, True
    for names, rules in groups:
        left = _left({name: grids[name] for name in names}, rules, _LOOKS // len(groups))
        number, exact = number * (left.number or 0), exact and left.exact
    free = grids.keys() - {name for names, _ in groups for name in names}
    return Count(number * math.prod(len(grids[name]) for name in free), exact)


def _names(rule: Rule) -> tuple[str, ...]:
    return rule.tuned if isinstance(rule, EngineRule) else rule.names


def _tied(grids: Iterable[str], rules: Sequence[Rule]) -> list[tuple[list[str], list[Rule]]]:
    """The groups of parameters that rules tie together, each with its rules."""
    groups: list[tuple[set[str], list[Rule]]] = []
    for rule in rules:
        joined = (set(_names(rule)), [rule])
        for group in [g for g in groups if g[0] & joined[0]]:
            groups.remove(group)
            joined = (joined[0] | group[0], [*group[1], *joined[1]])
        groups.append(joined)
    return [([name for name in grids if name in names], own) for names, own in groups]


def _left(grids: Mapping[str, Sequence[Value]], rules: Sequence[Rule], looks: int) -> Count:
    """How many combinations of one group keep its rules."""
    sizes = {name: len(grid) for name, grid in grids.items()}
    size = math.prod(sizes.values())
    needed = sum(math.prod(sizes[name] for name in _names(rule)) for rule in rules)
    exact = needed <= looks and size <= _COMBINATIONS
    if exact:
        points: Iterator[tuple[int, ...]] = itertools.product(*map(range, sizes.values()))
        drawn = size
    else:
        rng = random.Random(0)
        drawn = max(50, looks // len(rules))
        points = (tuple(rng.randrange(n) for n in sizes.values()) for _ in range(drawn))
    seen: list[dict[tuple[int, ...], bool]] = [{} for _ in rules]
    places = [[list(grids).index(name) for name in _names(rule)] for rule in rules]

    def allows(which: int, point: tuple[int, ...]) -> bool:
        # By place, not by value: values may be lists, and 1 equals True.
        key = tuple(point[place] for place in places[which])
        if key not in seen[which]:
            values = {name: grids[name][i] for name, i in zip(grids, point, strict=True)}
            seen[which][key] = _keeps(rules[which], values)
        return seen[which][key]

    kept = sum(all(allows(which, point) for which in range(len(rules))) for point in points)
    return Count(kept if exact else size * kept // drawn, exact)


def _keeps(rule: Rule, point: Mapping[str, Value]) -> bool:
    try:
        return rule.allows(point)
    except TaskError:
        return False


def _space_line(space: SearchSpace, allowed: Count) -> str:
    if space.grid_size is None:
        endless = [name for name, parameter in space.parameters.items() if parameter.grid() is None]
        return f"no end of points: {', '.join(endless)} {'has' if len(endless) == 1 else 'have'} no step"
    points = f"{_number(space.grid_size)} grid point{'s' * (space.grid_size != 1)}"
    return f"{points}, the rules leave {allowed}" if space.rules else points


def _time_line(task: Task, trials: int | None, minutes: float | None, capped: bool) -> str:
    levels = len(task.workload.levels)
    many = "trials without end" if trials is None else f"{trials:,} trial{'s' * (trials != 1)}"
    ends = f"{task.workload.seconds_per_level:,} s or {task.workload.requests_per_level:,} requests"
    each = f"{levels} level{'s' * (levels != 1)} × {ends}"  # noqa: RUF001
    beside = f", {task.deploy.parallel} at a time" if task.deploy.parallel > 1 else ""
    if minutes is None:
        return f"{many} of {each}{beside}: give the budget trials or minutes"
    until = ", then no more begin" if capped else ""
    return f"{many} of {each}{beside}: at most about {_duration(minutes)}{until}"


def _number(number: int) -> str:
    return f"{number:,}" if number < 10**12 else f"10^{math.log10(number):.0f}"


def _duration(minutes: float) -> str:
    if minutes < 1:
        return "1 min"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:,.1f} days"
