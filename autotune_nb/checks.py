"""Will a task run where it is to run? Answers before anything is made, and the manifests that would be."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.benchmark_job import OmeBenchmark
from autotune_nb.bench.executor import pick
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.bench.job import JobBenchmark
from autotune_nb.cluster.kinds import BENCHMARK_JOB, INFERENCE_SERVICE, JOB, Kind, Object
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.local import LocalDeployer
from autotune_nb.deploy.ome.ground import find_ground, storage_of
from autotune_nb.deploy.ome.manifest import inference_service
from autotune_nb.deploy.ome.preflight import Answer, preflight
from autotune_nb.engines.base import Engine
from autotune_nb.engines.registry import space_for
from autotune_nb.errors import AutotuneError, ClusterError, SetupError
from autotune_nb.parameters import Value
from autotune_nb.scrubbing import know
from autotune_nb.task import Task
from autotune_nb.task_secrets import referred

#: Stands for a study that is not there yet.
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


async def check_task(task: Task, engine: Engine) -> Checks:
    """Every answer for a task; never raises for what it finds."""
    try:
        know(referred(task))
    except SetupError as error:
        return Checks((Answer(False, str(error)),))
    if task.deploy.kind == "local":
        return Checks((await _local(task, engine),))
    session = ClusterSession(task, study_label=_LABEL)
    try:
        await session.open()
        answers = []
        try:
            executor, why = await pick(task, session)
            answers = [Answer(True, f"benchmarks run as {executor}: {why}")]
        except SetupError as error:
            executor = task.benchmark.executor
            answers = [Answer(False, str(error))]
        found = await preflight(session, task, engine, executor=executor)
        # Where the cluster is not reached, nothing else is known.
        return Checks((*found, *answers) if found[0].ok else tuple(found))
    except ClusterError as error:
        return Checks((Answer(False, f"the cluster is not reached: {error}", "name a kubeconfig file and a context"),))
    finally:
        await session.close()


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


async def dry_run(task: Task, engine: Engine) -> list[Rendered]:
    """The objects of the first trials, validated by the server (dryRun=All); nothing is made.

    Raises ClusterError where it cannot be reached, SetupError and TaskError where they cannot be rendered.
    """
    session = ClusterSession(task, study_label=_LABEL)
    try:
        await session.open()
        cluster = session.cluster
        executor, _ = await pick(task, session)
        ground, model = await find_ground(cluster, task)
        points: list[dict[str, Value]] = [{}] if task.budget.baseline else []
        with contextlib.suppress(AutotuneError, StopIteration):
            points.append(dict(next(iter(space_for(task, engine).grid()))))
        rendered = []
        for trial, point in enumerate(points):
            metadata = session.trial_metadata(trial)
            body = inference_service(task, engine, point, ground, session.templates, metadata)
            rendered.append(await _validated(session, INFERENCE_SERVICE, body))
        service = ClusterService(
            0,
            session.trial_metadata(0)["name"],
            cluster.namespace,
            "0" * 8,
            f"http://{session.trial_metadata(0)['name']}.{cluster.namespace}.svc.cluster.local:8080",
            task.model.served_name or task.model.id_or_path or "",
            str(storage_of(model).get("path") or ""),
        )
        request = BenchRequest(service.url, service.model, "", Path(), service=service)
        for kind, body in await _benchmark(task, engine, session, executor, request):
            rendered.append(await _validated(session, kind, body))
        return rendered
    finally:
        await session.close()


async def _benchmark(
    task: Task, engine: Engine, session: ClusterSession, executor: str, request: BenchRequest
) -> Sequence[tuple[Kind, Object]]:
    if executor == "benchmark_job":
        return [(BENCHMARK_JOB, OmeBenchmark(task, session).manifest(request, "trial-folder"))]
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
