"""Starting and finding runs: what a notebook and the command line both call."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.handle import StudyHandle
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import LoopThread, Run, live_run
from autotune_nb.study import StudyFolder
from autotune_nb.task.external_results import require_engine
from autotune_nb.task.secret_names import know_secrets
from autotune_nb.task.task import Task

if TYPE_CHECKING:
    from autotune_nb.checks import Checks
    from autotune_nb.reports.study_report import Report


class Overrides(TypedDict, total=False):
    """What a notebook or the command line may say instead of the task; None leaves the task's own."""

    trials: int | None
    deploy: str | None
    kubeconfig: str | None
    context: str | None
    namespace: str | None
    executor: str | None
    results: str | None
    parallel: int | None
    gpus: int | None


_FIELDS = {
    "trials": ("budget", "trials"),
    "deploy": ("deploy", "kind"),
    "kubeconfig": ("deploy", "kubeconfig"),
    "context": ("deploy", "context"),
    "namespace": ("deploy", "namespace"),
    "executor": ("benchmark", "executor"),
    "results": ("benchmark", "results"),
    "parallel": ("deploy", "parallel"),
    "gpus": ("deploy", "gpus"),
}
#: Two threads that start a run in one folder at once get the same one.
_starting = threading.Lock()


def tune(
    task: Task | str | Path,
    *,
    study: str | Path,
    storage: str | None = None,
    **overrides: Unpack[Overrides],
) -> Run:
    """Work on a study of a task in the folder ``study``; returns at once.

    A folder that this process works on already gives its run (nothing starts twice); one that holds finished trials
    goes on from them. ``storage`` is an Optuna storage's URL instead of the folder's SQLite file; the ``overrides``
    stand in for fields of the task.

    Raises TaskError for a wrong task, SetupError where it cannot run here, StudyError (StudyBusyError where another
    process has the folder, StudyMismatchError where it holds another task's study, also one that is being worked on).
    """
    from autotune_nb.study import Study

    task = task if isinstance(task, Task) else Task.load(task)
    task = with_overrides(task, **overrides)
    require_engine(task)
    know_secrets(task)
    engine = engine_for(task)
    space = space_for(task, engine)
    folder = StudyFolder(study)
    with _starting:
        running = live_run(folder.path)
        if running is not None:
            folder.require_same(task)
            return running
        folder.create()
        folder.acquire()
        try:
            folder.require_imported()
            opened = Study.open(task, space, folder, storage=storage)
        except BaseException:
            folder.release()
            raise
        return Run(opened, engine, storage=storage)._start()


def with_overrides(task: Task, **overrides: Unpack[Overrides]) -> Task:
    """The task with some fields replaced and checked anew; what is None stays. Raises TaskError."""
    changes: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        if value is not None:
            section, field = _FIELDS[name]
            changes.setdefault(section, getattr(task, section).model_dump())[field] = value
    return Task.parse({**task.model_dump(), **changes}) if changes else task


def check(task: Task | str | Path, *, study: str | Path | None = None, **overrides: Unpack[Overrides]) -> Checks:
    """Whether a task will run where it is to run: each answer in a line, and nothing is made.

    In a cluster: reached, OME's version, model, runtime, permissions, quota, the results' place, names. ``study`` is
    the folder of a study that is to go on: then it has to be of this task, and its trials' names are looked at too.
    Raises TaskError for a wrong task.
    """
    from autotune_nb.checks import check_task

    task = with_overrides(task if isinstance(task, Task) else Task.load(task), **overrides)
    return LoopThread.get().submit(check_task(task, engine_for(task), study=study)).result()


def open(study: str | Path, *, storage: str | None = None) -> Run | OpenedStudy:  # noqa: A001
    """A study to look at, to steer, and to show: its run where this process works on it, else what is kept of it.

    Raises StudyNotFoundError where there is none, StudyError where it cannot be read.
    """
    return live_run(StudyFolder(study).path) or OpenedStudy(study, storage=storage, begin=go_on)


def report(study: str | Path, *, storage: str | None = None) -> Report:
    """What a study found, to show and to hand on; of one that is being worked on, what it found so far.

    Raises what ``open`` raises.
    """
    return open(study, storage=storage).report()


def go_on(study: StudyHandle) -> Run:
    """Work on a study again, as it was begun; raises what ``tune`` raises."""
    return tune(study.task, study=study.path, storage=study.storage)
