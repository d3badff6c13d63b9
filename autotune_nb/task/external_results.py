"""Tasks derived from imported results, whose engine's command line is unknown."""

from __future__ import annotations

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task

#: The placeholder in ``engine.command`` of such a task; it cannot be executed.
IMPORTED_COMMAND = "imported --port {port}"
#: Why a study of such a task does not continue, for tooltips.
NO_ENGINE = "these results were imported without their task, so that nothing more can be measured"


def is_imported(task: Task) -> bool:
    """Return whether the task was derived from imported results, so that its engine cannot be started."""
    return task.engine.command == IMPORTED_COMMAND


def lacks_engine(task: Task) -> bool:
    """Return whether nothing more can be measured: the results were imported without a task, and it is no replay."""
    return is_imported(task) and task.deploy.kind != "replay"


def require_engine(task: Task) -> None:
    """Raise TaskError if the task was derived from imported results, except for a replay, which starts no engine."""
    if lacks_engine(task):
        raise TaskError(
            f"{IMPORTED_COMMAND!r} is a placeholder: this task was derived from imported results, and the command line "
            "of their engine is unknown. To measure more, import them again with --task, the task that produced them",
            field="engine.command",
        )
