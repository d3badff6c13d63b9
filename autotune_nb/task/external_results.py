"""Results that something else measured: their task is made of them, and its engine is only a name."""

from __future__ import annotations

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task

#: The engine's command line in such a task, which demands one; nothing can be started with it.
IMPORTED = "imported --port {port}"


def measured_elsewhere(task: Task) -> bool:
    """Whether a study's task says nothing of how its engine was started."""
    return task.engine.command == IMPORTED


def require_engine(task: Task) -> None:
    """Raises TaskError for such a task, which nothing can be started with."""
    if measured_elsewhere(task):
        raise TaskError(
            f"{IMPORTED!r} is only a name: this task was made of imported results, and how their engine is started is "
            "not known here. To measure more, import them again with --task, the task they are results of",
            field="engine.command",
        )
