"""``tune``, ``open``, ``check`` and ``report``: the functions that notebooks and the command line call."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from autotune_nb.engines.given_flags import FlagWarning, flag_notes
from autotune_nb.engines.registry import engine_for, program_for, space_for
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.history.functions import enqueue_best, require_baseline
from autotune_nb.opened import OpenedStudy, read_recorded
from autotune_nb.run import LoopThread, Run, live_run
from autotune_nb.runner.assembly import replay_of, replayed_space
from autotune_nb.runner.runner import RunState
from autotune_nb.study import STORAGE_VARIABLE, StudyFolder
from autotune_nb.study.storage_url import is_shared, redact
from autotune_nb.task.external_results import require_engine
from autotune_nb.task.own_prompts import require_dataset
from autotune_nb.task.placement import require_cluster, without_unused
from autotune_nb.task.retuned import retuned_task
from autotune_nb.task.secret_names import know_secrets
from autotune_nb.task.task import Task, parse_objective
from autotune_nb.trial.score import Limit
from autotune_nb.watching.watchers import require_watchers

if TYPE_CHECKING:
    from autotune_nb.checks import Checks
    from autotune_nb.engines.base import Engine
    from autotune_nb.reports.lab_report import LabReport
    from autotune_nb.reports.study_report import Report


class Overrides(TypedDict, total=False):
    """Fields of a task that a notebook or the command line may override; None keeps the task's value."""

    trials: int | None
    cut: bool | None
    deploy: str | None
    table: str | None
    kubeconfig: str | None
    context: str | None
    namespace: str | None
    executor: str | None
    results: str | None
    parallel: int | None
    gpus: int | None
    image: str | None
    on_end: str | None
    tracking: str | None
    webhook: str | None
    artifacts: str | None


_FIELDS = {
    "trials": ("budget", "trials"),
    "cut": ("budget", "cut"),
    "deploy": ("deploy", "kind"),
    "table": ("deploy", "table"),
    "kubeconfig": ("deploy", "kubeconfig"),
    "context": ("deploy", "context"),
    "namespace": ("deploy", "namespace"),
    "executor": ("benchmark", "executor"),
    "results": ("benchmark", "results"),
    "parallel": ("deploy", "parallel"),
    "gpus": ("deploy", "gpus"),
    "image": ("deploy", "image"),
    "on_end": ("on_end", "command"),
    "tracking": ("tracking", "kind"),
    "webhook": ("on_end", "webhook"),
    "artifacts": ("artifacts", "url"),
}
#: Held while a run starts, so that two threads that start one in the same folder get the same run.
_starting = threading.Lock()


def tune(
    task: Task | str | Path,
    *,
    study: str | Path,
    storage: str | None = None,
    metrics_port: int | None = None,
    metrics_address: str = "127.0.0.1",
    baseline: str | Path | StudyHandle | None = None,
    **overrides: Unpack[Overrides],
) -> Run:
    """Start or resume the study of a task in the folder ``study``, and return its run at once.

    If this process works on the folder already, its run is returned (nothing starts twice). If the folder holds
    finished trials, the study continues after them. ``storage`` is the URL of an Optuna storage to use instead of the
    folder's SQLite file; ``overrides`` replace fields of the task. ``baseline`` is an earlier study, whose best
    configuration is measured again: ``at.compare(baseline, run).regression("5%")`` then shows whether it got worse.

    With ``metrics_port``, Prometheus metrics are served there until this process ends, on ``metrics_address``; runs of
    one process may share a port.

    In PostgreSQL the study has the folder's name, and processes on any host that pass the same name and storage work on
    it together; one whose folder is in use gets a folder below it.

    Raises TaskError for an invalid task, SetupError if it cannot run here, StudyError otherwise (StudyBusyError if
    another process works on the folder and the study is not shared, StudyMismatchError if it is that of another task).
    """
    task = task if isinstance(task, Task) else Task.load(task)
    task = with_overrides(task, **overrides)
    folder = StudyFolder(study)
    return _tune(
        task,
        folder,
        storage=storage,
        baseline=baseline,
        metrics_port=metrics_port,
        metrics_address=metrics_address,
    )


def _tune(
    task: Task,
    folder: StudyFolder,
    *,
    storage: str | None,
    metrics_port: int | None,
    metrics_address: str,
    baseline: str | Path | StudyHandle | None = None,
    name: str | None = None,
) -> Run:
    """Start or resume a study; ``name`` is that of a shared one in its storage."""
    from autotune_nb.runner.proposals import Proposals
    from autotune_nb.runner.warm_start import warm_start_of
    from autotune_nb.runner.worker_gpus import free_gpus
    from autotune_nb.study import Study
    from autotune_nb.study.joining import acquire_worker_folder
    from autotune_nb.study.worker import Worker

    require_cluster(task)
    require_engine(task)
    require_dataset(task)
    know_secrets(task)
    engine = engine_for(task)
    _warn_about_flags(task, engine, stacklevel=4)
    space = space_for(task, engine)
    compared = require_baseline(baseline, task) if baseline is not None else None
    require_watchers(task)
    collector = None
    if metrics_port is not None:
        from autotune_nb.watching.metrics import serve_metrics

        collector = serve_metrics(metrics_port, metrics_address)
    with _starting:
        running = live_run(folder.path)
        if running is not None:
            folder.require_same_task(task)
            return running
        folder = acquire_worker_folder(folder, storage, name=name)
        try:
            folder.require_imported()
            replay = None
            if task.deploy.table is not None:
                table = read_recorded(task.deploy.table)
                space, replay = replayed_space(task, space, table), replay_of(task, table)
            warm = warm_start_of(task, space, engine, folder)
            previous, notes = (warm.studies, warm.notes) if warm is not None else ((), ())
            proposals = Proposals.of(task, engine, previous, notes)
            worker = Worker(folder.worker_name, choose_gpus=functools.partial(free_gpus, task))
            opened = Study.open(task, space, folder, storage=storage, propose=proposals, worker=worker)
            if compared is not None:
                # Of another space, it is reported as not measured.
                with contextlib.suppress(TaskError):
                    enqueue_best(compared, opened)
        except BaseException:
            folder.release()
            raise
        run = Run(opened, engine, storage=storage, replay=replay, proposals=proposals)
        if collector is not None:
            collector.add(run)
        return run._start()


def retune(
    previous: str | Path,
    *,
    study: str | Path | None = None,
    engine_version: str | None = None,
    executable: str | None = None,
    runtime: str | None = None,
    storage: str | None = None,
    **overrides: Unpack[Overrides],
) -> Run:
    """Start the task of a study again for an upgraded engine, in a new folder and with a warm start from the study.

    ``engine_version`` is the new tag of a container's image, ``executable`` the new program on this machine,
    ``runtime`` the new serving runtime in a cluster. Without any, the engine itself was upgraded. ``study`` is by
    default a new folder beside the previous one.

    Raises what ``open`` and ``tune`` raise.
    """
    task = retune_task(
        previous,
        engine_version=engine_version,
        executable=executable,
        runtime=runtime,
        image=overrides.pop("image", None),
    )
    return tune(task, study=study or retune_folder(previous, engine_version), storage=storage, **overrides)


def retune_task(
    previous: str | Path,
    *,
    engine_version: str | None = None,
    executable: str | None = None,
    runtime: str | None = None,
    image: str | None = None,
) -> Task:
    """Return the task with which ``retune`` starts.

    Raises what ``open`` raises, TaskError, and SetupError if the program does not exist.
    """
    opened = open(previous)
    task = retuned_task(
        opened.task,
        str(opened.path),
        engine_version=engine_version,
        image=image,
        executable=executable,
        runtime=runtime,
    )
    if executable is not None and task.deploy.kind == "local":
        # Before there is a folder with its name.
        program_for(task, engine_for(task))
    return task


def retune_folder(previous: str | Path, engine_version: str | None) -> Path:
    """Return a folder beside the previous study, named by the version: a new one, or that of an unfinished study."""
    folder = StudyFolder(previous).path
    name = f"{folder.name}-{re.sub(r'[^A-Za-z0-9._-]+', '-', engine_version or 'retuned')}"
    numbered = (folder.with_name(name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(one for one in numbered if not StudyFolder(one).exists or open(one).state != RunState.FINISHED)


def join(
    name: str,
    *,
    storage: str | None = None,
    folder: str | Path | None = None,
    metrics_port: int | None = None,
    metrics_address: str = "127.0.0.1",
    **overrides: Unpack[Overrides],
) -> Run:
    """Join a study in PostgreSQL as one more worker, and return its run at once.

    The task comes from ``storage``, by default that of the variable ``AUTOTUNE_NB_STORAGE``. ``folder`` is where this
    worker keeps logs and artifacts, by default ``runs/NAME``; if another worker uses it, a folder below it.

    Raises StudyNotFoundError if the storage does not hold the study, StudyMismatchError if another release of the
    package works on it, and what ``tune`` raises.
    """
    from autotune_nb.study.joining import stored_task

    url = storage or os.environ.get(STORAGE_VARIABLE)
    if not is_shared(url):
        given = f", not {redact(url)}" if url else ""
        raise StudyError(
            f"workers share a study in PostgreSQL{given}; pass --storage postgresql://USER@HOST/DATABASE, or set "
            f"{STORAGE_VARIABLE}"
        )
    place = StudyFolder(folder if folder is not None else Path("runs") / name)
    task = with_overrides(stored_task(place, url, name), **overrides)
    return _tune(task, place, storage=url, name=name, metrics_port=metrics_port, metrics_address=metrics_address)


def with_overrides(task: Task, **overrides: Unpack[Overrides]) -> Task:
    """Return the task with some fields replaced, validated again; None keeps a field. Raises TaskError.

    ``deploy`` also drops the fields that have no effect on trials of this kind.
    """
    changes: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        if value is not None:
            section, field = _FIELDS[name]
            changes.setdefault(section, getattr(task, section).model_dump())[field] = value
    if not changes:
        return task
    data = {**task.model_dump(), **changes}
    kind = overrides.get("deploy")
    if kind is not None and kind != task.deploy.kind and "container" in (kind, task.deploy.kind):
        # A runtime is OME's in a cluster, and for containers a program here.
        data["deploy"] = {**data["deploy"], "runtime": None}
    return Task.parse(data if kind is None else without_unused(data, kind))


def check(task: Task | str | Path, *, study: str | Path | None = None, **overrides: Unpack[Overrides]) -> Checks:
    """Check whether a task can run in its environment, without creating anything.

    In a cluster it checks the connection, OME's version, model, runtime, permissions, quota, the place of results and
    names of objects. ``study`` is the folder of a study to resume: it must be a study of this task, and the names of
    its trials' objects are checked too. Raises TaskError for an invalid task.
    """
    from autotune_nb.checks import check_task

    task = with_overrides(task if isinstance(task, Task) else Task.load(task), **overrides)
    require_cluster(task)
    engine = engine_for(task)
    _warn_about_flags(task, engine)
    return LoopThread.get().submit(check_task(task, engine, study=study)).result()


def _warn_about_flags(task: Task, engine: Engine, *, stacklevel: int = 3) -> None:
    for note in flag_notes(task, engine):
        warnings.warn(note, FlagWarning, stacklevel=stacklevel)


def open(study: str | Path, *, storage: str | None = None) -> Run | OpenedStudy:  # noqa: A001
    """Open a study to read, show and steer it: its run if this process works on it, else an OpenedStudy.

    Raises StudyNotFoundError if the folder holds none, StudyError if it cannot be read.
    """
    return live_run(StudyFolder(study).path) or OpenedStudy(study, storage=storage, begin=resume_study)


def report(study: str | Path, *, storage: str | None = None) -> Report:
    """Return the report of a study; of a running one, with its results so far.

    Raises what ``open`` raises.
    """
    return open(study, storage=storage).report()


def lab(
    *tables: str | Path,
    strategies: str | Sequence[str] | None = None,
    objective: str | None = None,
    at: str | int | None = None,
    limits: Sequence[str] = (),
    per_gpu: bool = False,
    seeds: int = 30,
    trials: int | None = None,
    noise: float = 0.0,
    progress: Callable[[str], None] = lambda _line: None,
) -> LabReport:
    """Compare search strategies on recorded tables in simulated time, without hardware.

    A table is a study's folder, or a CSV or parquet file that ``export`` wrote. ``strategies`` are names, by default
    random, tpe and auto; as a text "random,tpe". Each strategy runs ``seeds`` studies of
    ``trials`` trials, by default until it has found a configuration within 2 % of the best. ``at`` is the level that
    decides, and ``limits`` apply to it; ``per_gpu`` divides the objective by the GPUs of a configuration. By default
    objective, level and limits are those of a study's task, or for a file maximize output_tokens_per_s. ``noise`` is
    the standard deviation of log-normal noise.

    Raises StudyError for a table that cannot be read or searched, TaskError for an invalid argument.
    """
    from autotune_nb.reports.lab_report import LabReport
    from autotune_nb.search.lab import compare
    from autotune_nb.search.lab_problem import lab_problem
    from autotune_nb.search.lab_registry import DEFAULT

    if not tables:
        raise TaskError("give at least one table, a study's folder or an exported file", field="tables")
    for name, count in (("seeds", seeds), ("trials", trials)):
        if count is not None and count < 1:
            raise TaskError(f"expected 1 or more, not {count!r}", field=name)
    if not 0 <= noise <= 1:
        raise TaskError(f"expected a number from 0 to 1, such as 0.03, not {noise!r}", field="noise")
    if isinstance(strategies, str):
        strategies = [name.strip() for name in strategies.split(",")]
    names = list(dict.fromkeys(DEFAULT if strategies is None else strategies))
    problems = []
    for source in tables:
        goal = None if Path(source).expanduser().is_file() or objective is not None else open(source).task.goal
        level = str(at) if at is not None else str(goal.level) if goal is not None and goal.level is not None else None
        wanted = parse_objective(objective or "maximize output_tokens_per_s") if goal is None else goal
        if limits or goal is None:
            wanted = replace(wanted, limits=tuple(Limit.parse(text) for text in limits))
        problems.append(lab_problem(read_recorded(source), wanted, at=level, per_gpu=per_gpu))
    return LabReport(compare(problems, names, seeds=seeds, trials=trials, noise=noise, progress=progress))


def resume_study(study: StudyHandle) -> Run:
    """Resume a study with its own task and storage; raises what ``tune`` raises."""
    # Its place was chosen when it began.
    return tune(study.task, study=study.path, storage=study.storage, deploy=study.task.deploy.kind)
