"""What a study was asked, in a sentence: the goal, the model, the engine and the load."""

from __future__ import annotations

from autotune_nb.task.external_results import is_imported
from autotune_nb.task.task import Task
from autotune_nb.trial.formatting import and_text, levels_text


def asked_text(task: Task | None) -> str:
    """Return the sentence; empty without a task, and for imported results, whose task is derived from them."""
    if task is None or is_imported(task):
        return ""
    goal = task.goal
    aims = [f"the {'highest' if one.direction == 'maximize' else 'lowest'} {one.figure}" for one in goal.every]
    limits = f" with {and_text([str(limit) for limit in goal.limits])}" if goal.limits else ""
    at = f", read under {goal.level}" if goal.level else ""
    model = task.model.id_or_path or "a model of random weights"
    return f"Asked for: {and_text(aims)}{limits}{at}, of {model} on {task.engine.kind}, under {_loads(task)}."


def _loads(task: Task) -> str:
    if task.workload.load_search.high is not None:
        return f"{and_text(task.workload.scenarios)} at a concurrency that each trial searches"
    return levels_text(task.workload.levels)
