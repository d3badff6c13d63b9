"""Starting and finding runs: what a notebook and the command line both call."""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from autotune_nb.deploy.local import LocalDeployer
from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import SetupError, StudyError, StudyNotFoundError
from autotune_nb.run import Run, live_run
from autotune_nb.study import Study, StudyFolder
from autotune_nb.task import Task
from autotune_nb.trial import TrialState

#: Two threads that start a run in one folder at once get the same one.
_starting = threading.Lock()


def tune(
    task: Task | str | Path,
    *,
    study: str | Path,
    storage: str | None = None,
    trials: int | None = None,
    deploy: str | None = None,
) -> Run:
    """Work on a study of a task in the folder ``study``; returns at once.

    A folder that this process works on already gives its run (nothing starts twice); one that holds finished trials
    goes on from them. ``storage`` is an Optuna storage's URL instead of the folder's SQLite file, ``trials`` and
    ``deploy`` stand in for the task's budget.trials and deploy.kind.

    Raises TaskError for a wrong task, SetupError where it cannot run here, StudyError (StudyBusyError where another
    process has the folder, StudyMismatchError where it holds another task's study, also one that is being worked on).
    """
    task = task if isinstance(task, Task) else Task.load(task)
    task = with_overrides(task, trials=trials, deploy=deploy)
    engine = engine_for(task)
    space = space_for(task, engine)
    folder = StudyFolder(study)
    if task.deploy.kind != "local":
        raise SetupError("this version runs trials as local processes only; use --deploy local", field="deploy.kind")
    with _starting:
        running = live_run(folder.path)
        if running is not None:
            folder.require_same(task)
            return running
        folder.create()
        folder.acquire()
        try:
            opened = Study.open(task, space, folder, storage=storage)
        except BaseException:
            folder.release()
            raise
        return Run(opened, engine, pump=_pump())._start()


def with_overrides(task: Task, *, trials: int | None = None, deploy: str | None = None) -> Task:
    """The task with some fields replaced and checked anew."""
    changes: dict[str, Any] = {}
    if trials is not None:
        changes["budget"] = {**task.budget.model_dump(), "trials": trials}
    if deploy is not None:
        changes["deploy"] = {**task.deploy.model_dump(), "kind": deploy}
    return Task.parse({**task.model_dump(), **changes}) if changes else task


def open_study(study: str | Path, *, storage: str | None = None) -> dict[str, Any]:
    """A study's results in the shape of ``results.json``, of a finished one or of one that still runs.

    Raises StudyNotFoundError where there is none, StudyError where it cannot be read.
    """
    folder = StudyFolder(study)
    if not folder.exists:
        raise StudyNotFoundError(f"there is no study in {folder.path}")
    kept = None
    with contextlib.suppress(StudyError):
        # Torn, it only lacks what the database has.
        kept = folder.read("results.json")
    task = folder.task()
    engine = engine_for(task)
    view = Study.view(task, space_for(task, engine), folder, storage=storage)
    busy = folder.busy
    state = "running" if busy else "interrupted" if _unfinished(kept) else str(kept["state"]) if kept else "new"
    best = view.best
    deployer = LocalDeployer(task, engine, study_id=view.label, folder=folder.path)
    command = shlex.join(deployer.command(best.params)) if best is not None else None
    told = kept.get("best") if kept else None
    if best is not None and told and told["number"] == best.number:
        # As the run itself told it: this process may stand in another folder, or lack the engine.
        command = told["command"]
    results = view.results(state=state, elapsed_s=view.elapsed_s, command=command)
    for trial in results["trials"]:
        if busy and trial["state"] == TrialState.INTERRUPTED:
            trial["state"] = str(TrialState.RUNNING)
    return results


def _unfinished(kept: dict[str, Any] | None) -> bool:
    return bool(kept) and kept is not None and kept["state"] in ("starting", "running", "paused", "stopping")


def _pump() -> Callable[[Run], Awaitable[None]] | None:
    """What shows progress in the cell that awaits a run; None outside a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from autotune_nb.widgets.progress import pump

    return pump
