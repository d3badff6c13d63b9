"""Tune the parameters of LLM inference engines from a notebook or the command line.

::

    import autotune_nb as at

    task = at.Task.load("notebooks/tasks/quickstart.yaml")
    run = at.tune(task, study="runs/quickstart")   # returns at once
    await run
    run.best.command
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune_nb import chart
    from autotune_nb.batches.running import batch
    from autotune_nb.errors import (
        AutotuneError,
        ClusterError,
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
        SurroundingsError,
        TaskError,
        TrialError,
        UnknownNameError,
    )
    from autotune_nb.history.functions import compare, studies
    from autotune_nb.history.recommendation import recommend
    from autotune_nb.opened import OpenedStudy
    from autotune_nb.run import Best, Run
    from autotune_nb.session import check, lab, report, retune, tune, with_overrides
    from autotune_nb.session import open as open  # noqa: A004
    from autotune_nb.study.steering import Edit
    from autotune_nb.task import Task
    from autotune_nb.trial import Level, Measurement, Score, Trial, TrialState
    from autotune_nb.widgets.form import TaskForm
    from autotune_nb.widgets.monitor import Monitor

__version__ = "0.2.0"

__all__ = [
    "AutotuneError",
    "Best",
    "ClusterError",
    "DeployError",
    "Edit",
    "Failure",
    "FailureKind",
    "Level",
    "Measurement",
    "MeasurementError",
    "Monitor",
    "OpenedStudy",
    "Run",
    "RunError",
    "Score",
    "SetupError",
    "StudyBusyError",
    "StudyError",
    "StudyMismatchError",
    "StudyNotFoundError",
    "SurroundingsError",
    "Task",
    "TaskError",
    "TaskForm",
    "Trial",
    "TrialError",
    "TrialState",
    "UnknownNameError",
    "__version__",
    "batch",
    "chart",
    "check",
    "compare",
    "lab",
    "recommend",
    "report",
    "retune",
    "studies",
    "tune",
    "with_overrides",
]

_MODULES = {
    "batch": "batches.running",
    "Best": "run",
    "Run": "run",
    "Edit": "study.steering",
    "Monitor": "widgets.monitor",
    "OpenedStudy": "opened",
    "Level": "trial",
    "Measurement": "trial",
    "Score": "trial",
    "Task": "task",
    "TaskForm": "widgets.form",
    "Trial": "trial",
    "TrialState": "trial",
    "check": "session",
    "compare": "history.functions",
    "lab": "session",
    "open": "session",
    "recommend": "history.recommendation",
    "report": "session",
    "retune": "session",
    "studies": "history.functions",
    "tune": "session",
    "with_overrides": "session",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: an engine's launcher in this package starts without loading the tuner.
    if name not in __dir__():
        raise AttributeError(f"module 'autotune_nb' has no attribute {name!r}")
    if name in ("open", "tune") and _in_kernel():
        import_module("autotune_nb.widgets.display").install()
    if name == "chart":
        return import_module("autotune_nb.chart")
    return getattr(import_module(f"autotune_nb.{_MODULES.get(name, 'errors')}"), name)


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def __dir__() -> list[str]:
    # Not in __all__: "import *" would hide the built-in open.
    return [*__all__, "open"]
