"""What a study was asked, in a sentence: the goal, the model, the engine and the load."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.task.external_results import is_imported
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level


def asked_text(task: Task | None) -> str:
    """Return the sentence; empty without a task, and for imported results, whose task is derived from them."""
    if task is None or is_imported(task):
        return ""
    goal = task.goal
    aims = [f"the {'highest' if one.direction == 'maximize' else 'lowest'} {one.figure}" for one in goal.every]
    limits = f" with {_and([str(limit) for limit in goal.limits])}" if goal.limits else ""
    at = f", read under {goal.level}" if goal.level else ""
    model = task.model.id_or_path or "a model of random weights"
    return f"Asked for: {_and(aims)}{limits}{at}, of {model} on {task.engine.kind}, under {_loads(task)}."


def _loads(task: Task) -> str:
    """Return the levels, such as ``D(512,128) at concurrency 1, 8 and 32``."""
    if task.workload.load_search.high is not None:
        return f"{_and(list(task.workload.scenarios))} at a concurrency that each trial searches"
    found: dict[str, list[Level]] = {}
    for level in task.workload.levels:
        found.setdefault(level.scenario, []).append(level)
    return "; ".join(
        f"{levels[0]}{_more([one.load.rpartition(' ')[2] for one in levels[1:]])}" for levels in found.values()
    )


def _more(loads: Sequence[str]) -> str:
    return "" if not loads else f" and {loads[0]}" if len(loads) == 1 else f", {_and(loads)}"


def _and(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
