"""The data that a form starts with: a task, a task file, or a new task for an engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil

from autotune_nb.deploy.visible_gpus import visible_gpus
from autotune_nb.engines.first_space import first_space
from autotune_nb.errors import TaskError, did_you_mean, repr_without_contents
from autotune_nb.runner.gpus import gpus
from autotune_nb.task.budget import CONFIRM_ROUNDS
from autotune_nb.task.file import task_data
from autotune_nb.task.sections import ENGINES
from autotune_nb.task.task import Task


def initial_data(task_or_engine: Task | str | Path | None) -> dict[str, Any]:
    """Return the task as plain data; an engine's name has precedence over a file's. Raises TaskError."""
    if isinstance(task_or_engine, Task):
        return task_data(task_or_engine, expanded=True)
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
        return task_data(Task.load(task_or_engine), expanded=True)
    except TaskError as error:
        if isinstance(task_or_engine, str) and not Path(engine).suffix and "/" not in engine and not error.field:
            raise TaskError(f"{error}; there is no engine of this name either{did_you_mean(engine, ENGINES)}") from None
        raise


def new_study_data(engine: str) -> dict[str, Any]:
    """Return a new task for an engine, complete except for the model, with a first space for this machine."""
    space = first_space(engine, cores=psutil.cpu_count(logical=False) or 1, gpus=_gpu_count())
    return {
        "name": f"my-{engine.replace('_', '-')}-study",
        "model": {},
        "engine": {"kind": engine},
        "parameters": {
            name: {"type": parameter.type, **parameter.model_dump(exclude_defaults=True)}
            for name, parameter in space.items()
        },
        "workload": {"scenarios": ["D(128,64)"], "concurrency": [1, 4, 8]},
        "objective": {"direction": "maximize", "figure": "output_tokens_per_s"},
        "confirm": {"rounds": CONFIRM_ROUNDS},
    }


def _gpu_count() -> int:
    """Return the number of GPUs that this process may use; 0 without NVIDIA's driver."""
    visible = visible_gpus(os.environ)
    return len(gpus(visible)) if visible != [] else 0
