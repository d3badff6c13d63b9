"""Checks whether a task can run, and renders the objects of a dry run. Nothing is created."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.benchmark_job import OmeBenchmark
from autotune_nb.bench.dataset import dataset_line
from autotune_nb.bench.executor import select_executor
from autotune_nb.bench.job import JobBenchmark
from autotune_nb.bench.local_benchmark import local_benchmark
from autotune_nb.cluster.executor_choice import required_model_name
from autotune_nb.cluster.kinds import BENCHMARK_JOB, INFERENCE_SERVICE, JOB, Kind, Object
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.container.deployer import ContainerDeployer
from autotune_nb.deploy.local import LocalDeployer
from autotune_nb.deploy.ome.check_result import CheckResult
from autotune_nb.deploy.ome.endpoint import port_of
from autotune_nb.deploy.ome.manifest import ModelAndRuntime, gpus_needed, inference_service
from autotune_nb.deploy.ome.model_and_runtime import find_model_and_runtime, storage_of, tokenizer_of
from autotune_nb.deploy.ome.preflight import preflight
from autotune_nb.deploy.replay import ReplayDeployer
from autotune_nb.engines.base import Engine
from autotune_nb.engines.quality import quality_lines
from autotune_nb.engines.registry import space_for
from autotune_nb.errors import ClusterError, SetupError, StudyError, TaskError
from autotune_nb.opened import read_recorded
from autotune_nb.runner.assembly import replay_of, replayed_space
from autotune_nb.runner.estimate import cost_lines
from autotune_nb.runner.preparation import require_budget
from autotune_nb.runner.warm_start import warm_start_line
from autotune_nb.study import StudyFolder, require_database
from autotune_nb.task.external_results import require_engine
from autotune_nb.task.limit_requests import limit_lines, load_lines
from autotune_nb.task.own_prompts import require_dataset
from autotune_nb.task.parameters import Value
from autotune_nb.task.secret_names import know_secrets
from autotune_nb.task.task import Task
from autotune_nb.task.written_presets import preset_lines
from autotune_nb.verdict import plan_text

#: The label of a study that does not exist yet.
_LABEL = "check-00000000"


@dataclass(frozen=True)
class Checks:
    """The results of all checks, displayed as a table in a notebook."""

    answers: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(result.ok for result in self.answers)

    def __str__(self) -> str:
        return "\n".join(map(str, self.answers))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<table>{''.join(map(_row, self.answers))}</table>"

    def to_dict(self) -> dict[str, Any]:
        """The results as a JSON object."""
        return {"ok": self.ok, "answers": [vars(result) for result in self.answers]}


def _row(result: CheckResult) -> str:
    hint = "" if result.ok or not result.hint else f"<br><i>try: {html.escape(result.hint)}</i>"
    cell = "<td style='text-align:left'>"
    return f"<tr>{cell}{'✓' if result.ok else '✗'}</td>{cell}{html.escape(result.text)}{hint}</td></tr>"


def label_of(study: str | Path | None) -> str | None:
    """Return the label of the objects of the study in a folder; None if there is no study. Raises StudyError."""
    folder = StudyFolder(study) if study is not None else None
    metadata = folder.metadata() if folder is not None else None
    return folder.label(metadata["id"]) if folder is not None and metadata is not None else None


async def check_task(task: Task, engine: Engine, *, study: str | Path | None = None) -> Checks:
    """Check a task, and its study's folder if one is given. Does not raise for failed checks."""
    found = await _check_task(task, engine, study)
    if task.warm_start:
        found = Checks((*found.answers, await asyncio.to_thread(_warm_start, task, engine, study)))
    # A replay sends no requests.
    lines = (
        *preset_lines(task),
        *load_lines(task),
        *(cost_lines(task, space_for(task, engine)) if found.ok and task.deploy.table is None else ()),
        *((*limit_lines(task), *quality_lines(task, engine)) if task.deploy.table is None else ()),
    )
    return Checks((*found.answers, *(CheckResult(True, line) for line in lines)))


async def _check_task(task: Task, engine: Engine, study: str | Path | None) -> Checks:
    try:
        require_engine(task)
        require_dataset(task)
        know_secrets(task)
        label = label_of(study)
        if study is not None:
            folder = StudyFolder(study)
            folder.require_imported()
            folder.require_same_task(task)
            # As it is stored: the URL of a file has no password.
            require_database(folder, (folder.metadata() or {}).get("storage"))
    except (TaskError, SetupError, StudyError) as error:
        return Checks((CheckResult(False, str(error)),))
    confirmed = () if task.confirmation is None else (CheckResult(True, plan_text(task.confirmation)),)
    if task.deploy.table is not None:
        return Checks((await asyncio.to_thread(_replay, task, engine, task.deploy.table), *confirmed))
    if task.deploy.on_this_machine:
        checked = await (_local if task.deploy.kind == "local" else _container)(task, engine)
        try:
            await require_budget(task)
        except SetupError as error:
            return Checks((checked, CheckResult(False, str(error))))
        return Checks((checked, *await _prompts(task), *confirmed))
    try:
        session = ClusterSession(task, study_label=label or _LABEL)
    except SetupError as error:
        return Checks((CheckResult(False, str(error)),))
    try:
        await session.open()
        results = await preflight(session, task, engine, study_exists=label is not None)
        # Without the cluster nothing else can be checked.
        return Checks((*results, *await _executor(task, session), *confirmed) if results[0].ok else tuple(results))
    except ClusterError as error:
        return Checks((CheckResult(False, f"the cluster is unreachable: {error}"),))
    finally:
        await session.close()


async def _executor(task: Task, session: ClusterSession) -> tuple[CheckResult, ...]:
    try:
        executor, reason = await select_executor(task, session)
    except SetupError as error:
        return (CheckResult(False, str(error)),)
    # A pod reads its dataset itself.
    prompts = await _prompts(task) if executor == "direct" else ()
    return (CheckResult(True, f"benchmarks run as {executor}: {reason}"), *prompts)


async def _prompts(task: Task) -> tuple[CheckResult, ...]:
    """Return what is in the task's dataset, if it has one."""
    try:
        line = await asyncio.to_thread(dataset_line, task.workload, task.strategy.seed)
    except SetupError as error:
        return (CheckResult(False, str(error)),)
    return (CheckResult(True, line),) if line else ()


def _warm_start(task: Task, engine: Engine, study: str | Path | None) -> CheckResult:
    folder = StudyFolder(study) if study is not None else None
    try:
        return CheckResult(True, warm_start_line(task, space_for(task, engine), engine, folder))
    except (StudyError, TaskError) as error:
        return CheckResult(False, str(error))


def _replay(task: Task, engine: Engine, source: str) -> CheckResult:
    try:
        table = read_recorded(source)
        space = replayed_space(task, space_for(task, engine), table)
        ReplayDeployer(task, engine, replay_of(task, table)).check()
    except (TaskError, StudyError, SetupError) as error:
        return CheckResult(False, str(error))
    return CheckResult(
        True, f"REPLAYED from {source}, nothing is measured: {space.num_allowed} recorded configurations are allowed"
    )


async def _local(task: Task, engine: Engine) -> CheckResult:
    deployer = LocalDeployer(task, engine, study_id="", folder=Path())
    benchmark = local_benchmark(task, engine, labels={})
    try:
        deployer.check()
        benchmark.look()
        # With random weights, the run itself writes the tokenizer.
        if deployer.tokenizer:
            await benchmark.check(deployer.tokenizer)
    except SetupError as error:
        return CheckResult(False, str(error))
    unused = deployer.unused_gpus(space_for(task, engine))
    text = f"the engine, the model and {task.benchmark.kind} are on this machine"
    return CheckResult(True, f"{text}; note: {unused}" if unused else text)


async def _container(task: Task, engine: Engine) -> CheckResult:
    deployer = ContainerDeployer(task, engine, study_label="", folder=Path())
    benchmark = local_benchmark(task, engine, labels={})
    try:
        text = await deployer.check()
        benchmark.look()
        if deployer.tokenizer:
            await benchmark.check(deployer.tokenizer)
    except SetupError as error:
        return CheckResult(False, str(error))
    unused = deployer.unused_gpus(space_for(task, engine))
    return CheckResult(True, f"{text}; note: {unused}" if unused else text)


@dataclass(frozen=True)
class Rendered:
    """An object that a run would create, and the server's response to a dry run."""

    kind: Kind
    body: Object
    error: str = ""

    def __str__(self) -> str:
        text = yaml.safe_dump(
            {"apiVersion": self.kind.api_version, "kind": self.kind.name, **self.body}, sort_keys=False
        )
        return f"---\n# the server {'rejects it: ' + self.error if self.error else 'accepts it'}\n{text}"


async def dry_run(task: Task, engine: Engine, *, label: str | None = None) -> list[Rendered]:
    """Return the objects of the first trials, validated by the server (dryRun=All). Creates nothing.

    ``label`` is the label of an existing study. Raises ClusterError if the cluster is unreachable, SetupError and
    TaskError if the objects cannot be rendered.
    """
    session = ClusterSession(task, study_label=label or _LABEL)
    try:
        await session.open()
        executor, _ = await select_executor(task, session)
        model_and_runtime, model = await find_model_and_runtime(session.cluster, task)
        points = _first_points(task, engine)
        rendered = []
        for trial, point in enumerate(points):
            body = inference_service(
                task, engine, point, model_and_runtime, session.templates, session.trial_metadata(trial)
            )
            rendered.append(await _validated(session, INFERENCE_SERVICE, body))
        request = _request(task, engine, session, points[0] if points else {}, model_and_runtime, model)
        for kind, body in await _benchmark(task, engine, session, executor, request):
            rendered.append(await _validated(session, kind, body))
        return rendered
    finally:
        await session.close()


def _first_points(task: Task, engine: Engine) -> list[dict[str, Value]]:
    """Return the baseline, if it is measured, and the first point of the space."""
    points: list[dict[str, Value]] = [{}] if task.budget.baseline else []
    space = space_for(task, engine)
    # A space with a continuous range has no first point, so take a random one.
    first = space.random_point(Random(task.strategy.seed)) if space.grid_size is None else next(space.grid(), None)
    return [*points, *([dict(first)] if first is not None else [])]


def _request(
    task: Task,
    engine: Engine,
    session: ClusterSession,
    point: dict[str, Value],
    model_and_runtime: ModelAndRuntime,
    model: Object,
) -> BenchRequest:
    """Return the request of the first trial's benchmark, with placeholders for the deployment's data."""
    metadata = session.trial_metadata(0)
    name, namespace = metadata["name"], metadata["namespace"]
    service = ClusterService(
        0,
        name,
        namespace,
        # A placeholder for the uid.
        "0" * 8,
        f"http://{name}.{namespace}.svc.cluster.local:{port_of(model_and_runtime.runner or {})}",
        # Without either, a run reads the name from the engine.
        required_model_name(task) or task.model.id_or_path or "",
        str(storage_of(model).get("path") or ""),
    )
    tokenizer = task.model.tokenizer or tokenizer_of(model)
    gpus = gpus_needed(task, engine, point, model_and_runtime.runner)
    return BenchRequest(service.url, service.model, tokenizer, Path(), gpus, service)


async def _benchmark(
    task: Task, engine: Engine, session: ClusterSession, executor: str, request: BenchRequest
) -> Sequence[tuple[Kind, Object]]:
    service = request.service
    if executor == "benchmark_job" and service is not None:
        folder = f"{service.name}-{service.uid}"
        return [(BENCHMARK_JOB, OmeBenchmark(task, session).manifest(request, folder))]
    if executor == "job":
        job = JobBenchmark(task, session, backend=engine.backend, engine=engine.metrics_engine)
        await job.prepare()
        return [(JOB, job.manifest(request))]
    return []


async def _validated(session: ClusterSession, kind: Kind, body: Object) -> Rendered:
    try:
        await session.cluster.create(kind, body, dry_run=True)
        return Rendered(kind, body)
    except ClusterError as error:
        return Rendered(kind, body, str(error))
