"""Tune the parameters of LLM inference engines from a notebook or the command line.

::

    import autotune_nb as at

    task = at.Task.load("notebooks/tasks/quickstart.yaml")
    run = at.tune(task, study="runs/quickstart")   # returns at once
    await run
    run.best.command
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_nb.errors import (
        AutotuneError,
        DeployError,
        Failure,
        FailureKind,
        MeasurementError,
        RunError,
        SetupError,
        StudyBusyError,
        StudyError,
        StudyMismatchError,
        StudyNotFoundError,
        TaskError,
        TrialError,
        UnknownNameError,
    )
    from autotune_nb.measurement import Level, Measurement
    from autotune_nb.run import Best, Run
    from autotune_nb.score import Score
    from autotune_nb.session import open_study, tune
    from autotune_nb.task import Task
    from autotune_nb.trial import Trial, TrialState

__version__ = "0.1.0"

__all__ = [
    "AutotuneError",
    "Best",
    "DeployError",
    "Failure",
    "FailureKind",
    "Level",
    "Measurement",
    "MeasurementError",
    "Run",
    "RunError",
    "Score",
    "SetupError",
    "StudyBusyError",
    "StudyError",
    "StudyMismatchError",
    "StudyNotFoundError",
    "Task",
    "TaskError",
    "Trial",
    "TrialError",
    "TrialState",
    "UnknownNameError",
    "__version__",
    "open_study",
    "tune",
]

_HOMES = {
    "Best": "run",
    "Run": "run",
    "Level": "measurement",
    "Measurement": "measurement",
    "Score": "score",
    "Task": "task",
    "Trial": "trial",
    "TrialState": "trial",
    "open_study": "session",
    "tune": "session",
}


def __getattr__(name: str) -> Any:
    # On first use, so that an engine's launcher in this package starts without loading a tuner.
    if name not in __all__:
        raise AttributeError(f"module 'autotune_nb' has no attribute {name!r}")
    return getattr(import_module(f"autotune_nb.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
