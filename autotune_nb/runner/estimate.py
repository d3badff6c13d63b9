"""Estimates the size of a task's search space and the duration of its study, before it runs."""

from __future__ import annotations

import itertools
import math
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autotune_nb.engines.engine_rules import EngineRule
from autotune_nb.errors import TaskError
from autotune_nb.runner.trial_figures import gpus_held
from autotune_nb.task.limit_requests import limit_lines
from autotune_nb.task.parameters import Int, Value
from autotune_nb.task.rule import Rule
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import DEFAULT_TRIALS, Task
from autotune_nb.trial.cost import usd_text
from autotune_nb.verdict import detectable_gains, plan_text

#: Combinations of parameters with common rules are counted exactly up to this many evaluations of rules and this many
#: combinations; beyond, they are sampled. This bounds the time for any task.
_MAX_EVALUATIONS = 3000
_MAX_COMBINATIONS = 20_000
#: Seconds of a trial besides its levels: to start the engine, warm it up and take it down.
_START_UP_S = {"llama_cpp": 10.0, "vllm": 90.0, "sglang": 90.0, "command": 60.0}


@dataclass(frozen=True)
class Count:
    """A number of points, or None if they are not countable; it is not ``exact`` if it was estimated from a sample."""

    number: int | None
    exact: bool = True

    def __str__(self) -> str:
        if self.number is None:
            return "unbounded"
        return _number(self.number) if self.exact else f"about {_number(int(float(f'{self.number:.2g}')))}"


@dataclass(frozen=True)
class Estimate:
    """The estimate for a task; ``minutes`` is an upper bound, or None if neither the space nor the budget has one.

    ``starts`` are those of the confirmation, ``usd`` is None without a price, and ``gains`` are the gains that the
    confirmation finds, each with the standard deviation between starts that it assumes. ``each_trial`` is what a trial
    measures, in words; ``time_line`` is the line of ``text`` about the time, which has it too.
    """

    grid_size: int | None
    allowed: Count
    trials: int | None
    minutes: float | None
    text: tuple[str, ...]
    starts: int = 0
    usd: float | None = None
    gains: tuple[tuple[float, float], ...] = ()
    time_line: str = ""
    each_trial: str = ""

    def __str__(self) -> str:
        return "\n".join(self.text)


def estimate(task: Task, space: SearchSpace) -> Estimate:
    """Return the size of the space and the duration of the study; fast for any task, approximate for a large one."""
    allowed = count(space)
    trials = _trials(task, space, allowed)
    confirming = task.confirm.budget if task.confirmation is not None else 0
    starts = None if trials is None else trials + confirming
    minutes = None if starts is None else math.ceil(starts / task.deploy.parallel) * _seconds(task) / 60
    cap = task.budget.minutes
    capped = cap is not None and (minutes is None or cap < minutes)
    if capped:
        minutes = cap
    confirmed = () if task.confirmation is None else (plan_text(task.confirmation),)
    each = _each_trial(task)
    until, later = (", after which no trial starts", "; then no trial starts") if capped else ("", "")
    fewer = "; fewer once another one is not worth its time" if task.budget.patience == "auto" else ""
    time_line = _time_line(task, trials, minutes, each, until, fewer)
    text = (_space_line(space, allowed), time_line, *_cost_line(task, minutes), *limit_lines(task), *confirmed)
    gains = () if task.confirmation is None else detectable_gains(task.confirmation)
    usd, each = _usd(task, minutes), f"{each}{later}{fewer}"
    return Estimate(space.grid_size, allowed, trials, minutes, text, confirming, usd, gains, time_line, each)


def _seconds(task: Task) -> float:
    start_up = min(_START_UP_S.get(task.engine.kind, math.inf), task.deadlines.ready_s)
    return task.workload.most_levels * task.workload.most_seconds + start_up


def _trials(task: Task, space: SearchSpace, allowed: Count) -> int | None:
    """Return the number of trials like ``Task.num_trials``, but with the engine's rules and approximate counts."""
    grid = task.strategy.sampler == "grid"
    points = allowed if grid else count(_with_linear_ints(space))
    wanted = task.budget.trials or (None if grid else DEFAULT_TRIALS)
    if points.number is None or not (points.exact or grid):
        return wanted
    available = points.number + int(task.budget.baseline)
    return available if wanted is None else min(wanted, available)


def _with_linear_ints(space: SearchSpace) -> SearchSpace:
    """Return the space with every integer of a logarithmic range, which samplers may propose."""
    plain = {
        name: parameter.model_copy(update={"log": False}) if isinstance(parameter, Int) else parameter
        for name, parameter in space.parameters.items()
    }
    return SearchSpace(plain, space.rules)


def count(space: SearchSpace) -> Count:
    """Return the number of grid points that keep the rules.

    Only parameters with common rules are checked in combination; the numbers of values of the others are multiplied.
    """
    grids: dict[str, Sequence[Value]] = {}
    for name, parameter in space.parameters.items():
        grid = parameter.grid()
        if grid is None:
            return Count(None)
        grids[name] = grid
    groups = _groups(grids, space.rules)
    number, exact = 1, True
    for names, rules in groups:
        allowed = _count_group({name: grids[name] for name in names}, rules, _MAX_EVALUATIONS // len(groups))
        number, exact = number * (allowed.number or 0), exact and allowed.exact
    free = grids.keys() - {name for names, _ in groups for name in names}
    return Count(number * math.prod(len(grids[name]) for name in free), exact)


def _names(rule: Rule) -> tuple[str, ...]:
    return rule.tuned if isinstance(rule, EngineRule) else rule.names


def _groups(grids: Iterable[str], rules: Sequence[Rule]) -> list[tuple[list[str], list[Rule]]]:
    """Return the groups of parameters that are connected by rules, each with its rules."""
    groups: list[tuple[set[str], list[Rule]]] = []
    for rule in rules:
        joined = (set(_names(rule)), [rule])
        for group in [g for g in groups if g[0] & joined[0]]:
            groups.remove(group)
            joined = (joined[0] | group[0], [*group[1], *joined[1]])
        groups.append(joined)
    return [([name for name in grids if name in names], own) for names, own in groups]


def _count_group(grids: Mapping[str, Sequence[Value]], rules: Sequence[Rule], max_evaluations: int) -> Count:
    """Return the number of combinations of one group that keep its rules."""
    sizes = {name: len(grid) for name, grid in grids.items()}
    size = math.prod(sizes.values())
    needed = sum(math.prod(sizes[name] for name in _names(rule)) for rule in rules)
    exact = needed <= max_evaluations and size <= _MAX_COMBINATIONS
    if exact:
        points: Iterator[tuple[int, ...]] = itertools.product(*map(range, sizes.values()))
        drawn = size
    else:
        rng = random.Random(0)
        drawn = max(50, max_evaluations // len(rules))
        points = (tuple(rng.randrange(n) for n in sizes.values()) for _ in range(drawn))
    seen: list[dict[tuple[int, ...], bool]] = [{} for _ in rules]
    places = [[list(grids).index(name) for name in _names(rule)] for rule in rules]

    def allows(which: int, point: tuple[int, ...]) -> bool:
        # The key holds indices, since values may be lists, and 1 equals True.
        key = tuple(point[place] for place in places[which])
        if key not in seen[which]:
            values = {name: grids[name][i] for name, i in zip(grids, point, strict=True)}
            seen[which][key] = _keeps(rules[which], values)
        return seen[which][key]

    allowed = sum(all(allows(which, point) for which in range(len(rules))) for point in points)
    return Count(allowed if exact else size * allowed // drawn, exact)


def _keeps(rule: Rule, point: Mapping[str, Value]) -> bool:
    try:
        return rule.allows(point)
    except TaskError:
        return False


def _space_line(space: SearchSpace, allowed: Count) -> str:
    if space.grid_size is None:
        endless = [name for name, parameter in space.parameters.items() if parameter.grid() is None]
        ranges = "has a continuous range" if len(endless) == 1 else "have continuous ranges"
        return f"any number of configurations: {', '.join(endless)} {ranges}"
    many = f"{_number(space.grid_size)} configuration{'s' * (space.grid_size != 1)}"
    return f"{allowed} of {many} keep the rules" if space.rules else many


def _time_line(task: Task, trials: int | None, minutes: float | None, each: str, until: str, fewer: str) -> str:
    many = "no bound on the number of trials" if trials is None else f"{trials:,} trial{'s' * (trials != 1)}"
    if task.confirmation is not None:
        many += f" and {task.confirmation.budget} starts to confirm the best"
    if minutes is None:
        return f"{many}, {each}: set budget.trials or budget.minutes"
    return f"at most about {duration(minutes)}{until}: {many}, {each}{fewer}"


def _each_trial(task: Task) -> str:
    levels, searched = task.workload.most_levels, task.workload.load_search.high is not None
    ends = f"{task.workload.seconds_per_level:,} s or {task.workload.requests_per_level:,} requests"
    each = f"{'up to ' if searched else ''}{levels} level{'s' * (levels != 1)} of {ends}"
    beside = f", {task.deploy.parallel} trials at a time" if task.deploy.parallel > 1 else ""
    return f"each with {each}{beside}"


def cost_lines(task: Task, space: SearchSpace) -> tuple[str, ...]:
    """Return what a study costs at most, in words; empty without a price and a bound on the cost."""
    return _cost_line(task, estimate(task, space).minutes)


def _cost_line(task: Task, minutes: float | None) -> tuple[str, ...]:
    """Return what the study costs at most, if each trial has the GPUs of the engine's default and starts at once."""
    budget, usd = task.budget, _usd(task, minutes)
    bounds = [f"{budget.gpu_hours:g} GPU-hours"] if budget.gpu_hours is not None else []
    bounds += [usd_text(budget.usd)] if budget.usd is not None else []
    ends = f"; the budget ends the study at {' or '.join(bounds)}" if bounds else ""
    if usd is None:
        return (ends.removeprefix("; "),) if ends else ()
    return (f"at most about {usd_text(usd)}, at {_gpus(task)} GPUs a trial{ends}",)


def _usd(task: Task, minutes: float | None) -> float | None:
    price = task.price.per_hour(_gpus(task)) if task.price.is_set else None
    return None if price is None or minutes is None else minutes / 60 * task.deploy.parallel * price


def _gpus(task: Task) -> int:
    # Without asking the driver, which may take seconds.
    return gpus_held(task, {}, {"gpus": []} if shutil.which("nvidia-smi") is None else {}) or 0


def _number(number: int) -> str:
    return f"{number:,}" if number < 10**12 else f"10^{math.log10(number):.0f}"


def duration(minutes: float) -> str:
    """Return a duration in words, rounded as an estimate."""
    if minutes < 1:
        return "1 min"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:,.1f} days"
