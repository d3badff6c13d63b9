"""Will a task run where it is to run? Answers before anything is made, and the manifests that would be."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.benchmark_job import OmeBenchmark
from autotune_nb.bench.executor import pick
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.bench.job import JobBenchmark
from autotune_nb.cluster.executor_choice import required_model_name
from autotune_nb.cluster.kinds import BENCHMARK_JOB, INFERENCE_SERVICE, JOB, Kind, Object
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.local import LocalDeployer
from autotune_nb.deploy.ome.check_result import Answer
from autotune_nb.deploy.ome.endpoint import port_of
from autotune_nb.deploy.ome.manifest import Ground, gpus_needed, inference_service
from autotune_nb.deploy.ome.model_and_runtime import find_ground, storage_of, tokenizer_of
from autotune_nb.deploy.ome.preflight import preflight
from autotune_nb.engines.base import Engine
from autotune_nb.engines.registry import space_for
from autotune_nb.errors import ClusterError, SetupError, StudyError, TaskError
from autotune_nb.study import StudyFolder, require_database
from autotune_nb.task.external_results import require_engine
from autotune_nb.task.parameters import Value
from autotune_nb.task.secret_names import know_secrets
from autotune_nb.task.task import Task

#: Stands for a study that is not there yet, and gets its own label when it begins.
_LABEL = "check-00000000"


@dataclass(frozen=True)
class Checks:
    """The answers of a check, one a line; shows itself as a table in a notebook."""

    answers: tuple[Answer, ...]

    @property
    def ok(self) -> bool:
        """Whether every answer is well."""
        return all(answer.ok for answer in self.answers)

    def __str__(self) -> str:
        return "\n".join(map(str, self.answers))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<table>{''.join(map(_row, self.answers))}</table>"

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "answers": [vars(answer) for answer in self.answers]}


def _row(answer: Answer) -> str:
    hint = "" if answer.ok or not answer.hint else f"<br><i>try: {html.escape(answer.hint)}</i>"
    cell = "<td style='text-align:left'>"
    return f"<tr>{cell}{'✓' if answer.ok else '✗'}</td>{cell}{html.escape(answer.text)}{hint}</td></tr>"


def label_of(study: str | Path | None) -> str | None:
    """What marks the objects of the study in a folder; None where there is none yet. Raises StudyError."""
    folder = StudyFolder(study) if study is not None else None
    about = folder.about() if folder is not None else None
    return folder.label(about["id"]) if folder is not None and about is not None else None


async def check_task(task: Task, engine: Engine, *, study: str | Path | None = None) -> Checks:
    """Every answer for a task, and for its study's folder where one is named; never raises for what it finds."""
    try:
        require_engine(task)
        know_secrets(task)
        label = label_of(study)
        if study is not None:
            folder = StudyFolder(study)
            folder.require_imported()
            folder.require_same(task)
            # As it is written down: a file's URL has no password.
            require_database(folder, (folder.about() or {}).get("storage"))
    except (TaskError, SetupError, StudyError) as error:
        return Checks((Answer(False, str(error)),))
    if task.deploy.kind == "local":
        return Checks((await _local(task, engine),))
    try:
        session = ClusterSession(task, study_label=label or _LABEL)
    except SetupError as error:
        return Checks((Answer(False, str(error)),))
    try:
        await session.open()
        found = await preflight(session, task, engine, named=label is not None)
        # Where the cluster is not reached, nothing else is known.
        return Checks((*found, await _executor(task, session)) if found[0].ok else tuple(found))
    except ClusterError as error:
        return Checks((Answer(False, f"the cluster is not reached: {error}"),))
    finally:
        await session.close()


async def _executor(task: Task, session: ClusterSession) -> Answer:
    try:
        executor, why = await pick(task, session)
    except SetupError as error:
        return Answer(False, str(error))
    return Answer(True, f"benchmarks run as {executor}: {why}")


async def _local(task: Task, engine: Engine) -> Answer:
    deployer = LocalDeployer(task, engine, study_id="", folder=Path())
    benchmark = GenaiBench(task, backend=engine.backend, engine=engine.metrics_engine, labels={})
    try:
        deployer.look()
        benchmark.look()
    except SetupError as error:
        return Answer(False, str(error))
    return Answer(True, "the engine, the model and genai-bench are on this machine")


@dataclass(frozen=True)
class Rendered:
    """One object as it would be made, and what the server says to it."""

    kind: Kind
    body: Object
    refused: str = ""

    def __str__(self) -> str:
        text = yaml.safe_dump(
            {"apiVersion": self.kind.api_version, "kind": self.kind.name, **self.body}, sort_keys=False
        )
        return f"---\n# the server {'refuses it: ' + self.refused if self.refused else 'accepts it'}\n{text}"


async def dry_run(task: Task, engine: Engine, *, label: str | None = None) -> list[Rendered]:
    """The objects of the first trials, validated by the server (dryRun=All); nothing is made.

    ``label`` is that of a study that is there; without it names and labels are of none. Raises ClusterError where the
    cluster cannot be reached, SetupError and TaskError where the objects cannot be rendered.
    """
    session = ClusterSession(task, study_label=label or _LABEL)
    try:
        await session.open()
        executor, _ = await pick(task, session)
        ground, model = await find_ground(session.cluster, task)
        points = _first_points(task, engine)
        rendered = []
        for trial, point in enumerate(points):
            body = inference_service(task, engine, point, ground, session.templates, session.trial_metadata(trial))
            rendered.append(await _validated(session, INFERENCE_SERVICE, body))
        request = _request(task, engine, session, points[0] if points else {}, ground, model)
        for kind, body in await _benchmark(task, engine, session, executor, request):
            rendered.append(await _validated(session, kind, body))
        return rendered
    finally:
        await session.close()


def _first_points(task: Task, engine: Engine) -> list[dict[str, Value]]:
    """The baseline, where it is measured, and a point of the space: of a grid the first."""
    points: list[dict[str, Value]] = [{}] if task.budget.baseline else []
    space = space_for(task, engine)
    # A range without a step has no first point; any other shows the same.
    first = space.random_point(Random(task.strategy.seed)) if space.grid_size is None else next(space.grid(), None)
    return [*points, *([dict(first)] if first is not None else [])]


def _request(
    task: Task, engine: Engine, session: ClusterSession, point: dict[str, Value], ground: Ground, model: Object
) -> BenchRequest:
    """What the first trial's benchmark would be told; what only a live engine tells is left open."""
    metadata = session.trial_metadata(0)
    name, namespace = metadata["name"], metadata["namespace"]
    service = ClusterService(
        0,
        name,
        namespace,
        # In the place of the object's own.
        "0" * 8,
        f"http://{name}.{namespace}.svc.cluster.local:{port_of(ground.runner or {})}",
        # Where nothing is asked for, the engine says how it calls its model.
        required_model_name(task) or task.model.id_or_path or "",
        str(storage_of(model).get("path") or ""),
    )
    tokenizer = task.model.tokenizer or tokenizer_of(model)
    gpus = gpus_needed(task, engine, point)
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
