"""The data that a form starts with: a task, a task file, or a new task for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune_nb.engines.registry import engine_named
from autotune_nb.errors import TaskError, did_you_mean, repr_without_contents
from autotune_nb.task.file import task_data
from autotune_nb.task.sections import CONFIRM_ROUNDS, ENGINES
from autotune_nb.task.task import Task

#: How many of the catalog's flags a new task searches.
_NUM_FLAGS = 8


def initial_data(task_or_engine: Task | str | Path | None) -> dict[str, Any]:
    """Return the task as plain data; an engine's name has precedence over a file's. Raises TaskError."""
    if isinstance(task_or_engine, Task):
        return task_data(task_or_engine)
    if task_or_engine is None:
        return new_study_data("llama_cpp")
    if not isinstance(task_or_engine, str | Path):
        raise TaskError(
            f"expected a Task, the path of a task file, or the name of an engine or of a task that comes with the "
            f"package, not {repr_without_contents(task_or_engine)}"
        )
    engine = str(task_or_engine).lower().replace("-", "_").replace(".", "_")
    if isinstance(task_or_engine, str) and engine in ENGINES:
        return new_study_data(engine)
    try:
        return task_data(Task.load(task_or_engine))
    except TaskError as error:
        if isinstance(task_or_engine, str) and not Path(engine).suffix and "/" not in engine and not error.field:
            raise TaskError(f"{error}; there is no engine of this name either{did_you_mean(engine, ENGINES)}") from None
        raise


def new_study_data(engine: str) -> dict[str, Any]:
    """Return a new task for an engine, complete except for the model; it searches the first flags of the catalog."""
    flags = engine_named(engine).flags if engine != "command" else ()
    suggested = [(flag.name, suggestion) for flag in flags if (suggestion := flag.suggestion()) is not None]
    return {
        "name": f"my-{engine.replace('_', '-')}-study",
        "model": {},
        "engine": {"kind": engine},
        "parameters": {
            name: {"type": suggestion.type, **suggestion.model_dump(exclude_defaults=True)}
            for name, suggestion in suggested[:_NUM_FLAGS]
        },
        "workload": {"scenarios": ["D(128,64)"], "concurrency": [1, 4, 8]},
        "objective": {"direction": "maximize", "figure": "output_tokens_per_s"},
        "confirm": {"rounds": CONFIRM_ROUNDS},
    }
