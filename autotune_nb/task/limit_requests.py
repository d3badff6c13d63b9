"""How many requests the levels of a task need for its limits on percentiles, and levels for its load, in words."""

from __future__ import annotations

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task
from autotune_nb.task.workload import BATCH_TASKS
from autotune_nb.trial.formatting import duration_text, value_text
from autotune_nb.trial.measurement import Level


def limit_lines(task: Task) -> tuple[str, ...]:
    """Return how many requests decide each limit on a percentile, and how fast they must be to fit into a level."""
    try:
        limits = [(limit, limit.tail) for limit in task.goal.limits]
    except TaskError:
        # A draft's limits or its objective may be invalid.
        return ()
    found = {limit.figure: tail.requests for limit, tail in limits if tail is not None}
    if not found:
        return ()
    most, workload = max(found.values()), task.workload
    needs = " and ".join(f"{figure} by {count}" for figure, count in found.items())
    decided = f"limits are decided by the requests of a level: {needs} or more"
    levels = workload.levels if task.goal.level is None else (task.goal.level,)
    levels = tuple(one for one in levels if any(limit.bounds(one) for limit, tail in limits if tail is not None))
    if any(level.rate for level in levels):
        lasts = ", ".join(dict.fromkeys(f"{most / level.rate:.3g} s at {level.load}" for level in levels))
        return (f"{decided}; {most} arrive in {lasts}",)
    fits = [
        f"{value_text(workload.longest_s * level.concurrency / most, 'ttft_s')} at {_load_text(task, level)}"
        for level in levels
    ]
    # Scenarios have the same loads.
    each = ", ".join(dict.fromkeys(fits))
    return (f"{decided}; {most} fit into {workload.longest_s:g} s if one takes at most {each}",)


def load_lines(task: Task) -> tuple[str, ...]:
    """Return how many levels a trial takes at most that searches its load, and how long they last."""
    workload, search = task.workload, task.workload.load_search
    if search.high is None:
        return ()
    levels, each_s = workload.most_levels, workload.most_seconds
    return (
        f"each trial searches its highest load from {search.low} to {search.high}: at most {levels} levels of up to "
        f"{each_s:g} s, so {duration_text(levels * each_s)}",
    )


def _load_text(task: Task, level: Level) -> str:
    return f"batch {level.batch_size}" if task.workload.task in BATCH_TASKS else f"concurrency {level.concurrency}"
