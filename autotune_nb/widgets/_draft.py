"""The data that a form starts with: a task, a task file, an earlier study's best, or a new task for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune_nb.engines.first_space import first_space
from autotune_nb.errors import StudyError, TaskError, did_you_mean, repr_without_contents
from autotune_nb.resources import shared_folder
from autotune_nb.study import StudyFolder
from autotune_nb.task.budget import CONFIRM_ROUNDS
from autotune_nb.task.file import task_data
from autotune_nb.task.neighbourhood import neighbourhood
from autotune_nb.task.sections import ENGINES
from autotune_nb.task.task import Task
from autotune_nb.widgets._machine import this_machine

_AROUND_BEST = "-around-best"
#: The most studies and files of the working directory that are offered to start from.
_MOST_OFFERED = 20


def offered_starts() -> list[str]:
    """Return what a form can start from: engines, the tasks of the package, and studies and task files at hand."""
    shipped = sorted(file.stem for file in (shared_folder("notebooks") / "tasks").glob("*.yaml"))
    studies = sorted(str(file.parent) for file in Path("runs").glob("*/task.json"))
    files = sorted(str(file) for pattern in ("*.yaml", "*.json") for file in Path("tasks").glob(pattern))
    return [*ENGINES, *shipped, *studies[:_MOST_OFFERED], *files[:_MOST_OFFERED]]


def start_note(start: str | Path, data: dict[str, Any]) -> str:
    """Return what a form starts from, in words, with the data that it starts with."""
    if _is_study(start) and str(data.get("name")).endswith(_AROUND_BEST):
        return f"started around the best of {start}"
    return f"a new study of {start}" if _engine(start) in ENGINES else f"opened {start}"


def _is_study(start: object) -> bool:
    if not isinstance(start, str | Path):
        return False
    try:
        return StudyFolder(start).exists
    except StudyError:
        return False


def _engine(start: str | Path) -> str:
    return str(start).lower().replace("-", "_").replace(".", "_")


def data_of_study(folder: str | Path) -> dict[str, Any]:
    """Return the task of a study around its best configuration, under a new name. Raises StudyError."""
    # A form that starts from nothing else than a task needs no study.
    from autotune_nb.session import open as open_study

    study = open_study(folder)
    data = task_data(study.task, expanded=True)
    best = study.best_configuration
    if best is not None:
        for name, parameter in neighbourhood(study.task.parameters, best.params).items():
            data["parameters"][name] = {"type": parameter.type, **parameter.model_dump(exclude_defaults=True)}
        data["name"] = f"{data['name'][:48]}{_AROUND_BEST}"
    return data


def initial_data(task_or_engine: Task | str | Path | None) -> dict[str, Any]:
    """Return the task as plain data; an engine's name has precedence over a file's.

    Raises TaskError, and StudyError for a study that cannot be read.
    """
    if isinstance(task_or_engine, Task):
        return task_data(task_or_engine, expanded=True)
    if task_or_engine is None:
        return new_study_data("llama_cpp")
    if not isinstance(task_or_engine, str | Path):
        raise TaskError(
            f"expected a Task, the path of a task file, or the name of an engine or of a task that comes with the "
            f"package, not {repr_without_contents(task_or_engine)}"
        )
    if _is_study(task_or_engine):
        return data_of_study(task_or_engine)
    engine = _engine(task_or_engine)
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
    machine = this_machine()
    space = first_space(engine, cores=machine.cores, gpus=machine.gpus)
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
