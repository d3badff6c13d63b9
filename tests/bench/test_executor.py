"""The choice of the executor, the objects that the two executors in the cluster create, and their results."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.bench import _cluster_job as _cluster
from autotune_nb.bench._cluster_job import IMAGE
from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.benchmark_job import OmeBenchmark
from autotune_nb.bench.executor import cluster_benchmark, select_executor
from autotune_nb.bench.job import JobBenchmark
from autotune_nb.cluster.executor_choice import (
    OME_MODEL_NAME,
    benchmark_job_problem,
    required_model_name,
    uses_benchmark_job,
)
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy import DeployRequest
from autotune_nb.deploy.ome.deployer import OmeDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import FailureKind, MeasurementError, SetupError
from autotune_nb.results.importing import import_results
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement
from tests.bench.in_cluster import CLAIM, IMAGE_HERE, BenchNamespace, Executor, task_of
from tests.kubernetes.handle import TestCluster
from tests.stubs import in_loop, level_data, level_file


@pytest.mark.parametrize(
    ("how", "field"),
    [
        ({}, "benchmark.results"),
        ({"results": CLAIM, "workload": {"request_params": {"temperature": 0}}}, "workload.request_params"),
        ({"results": CLAIM, "workload": {"warmup_ratio": 0.2}}, "workload.warmup_ratio"),
        ({"results": CLAIM, "workload": {"task": "text-to-embeddings", "scenarios": ["E(16)"]}}, "workload.task"),
        ({"results": CLAIM, "backend": "sglang"}, "benchmark.backend"),
    ],
)
def test_a_task_that_a_benchmark_job_cannot_measure_is_refused_with_the_field(how: dict[str, Any], field: str) -> None:
    task = task_of(**how)
    assert (benchmark_job_problem(task) or ("", ""))[1] == field
    assert not uses_benchmark_job(task)
    asked = task_of(**how, executor="benchmark_job")
    with pytest.raises(SetupError) as caught:
        in_loop(select_executor(asked, None))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_benchmark_job_requires_a_fixed_served_model_name() -> None:
    assert required_model_name(task_of(results=CLAIM)) == OME_MODEL_NAME
    assert required_model_name(task_of(results=CLAIM, executor="job")) is None


@contextlib.asynccontextmanager
async def opened(task: Task, cluster: TestCluster, namespace: str) -> AsyncIterator[ClusterSession]:
    deploy = {**task.deploy.model_dump(), "kubeconfig": cluster.kubeconfig, "namespace": namespace}
    session = ClusterSession(Task.parse({**task.model_dump(), "deploy": deploy}), study_label=f"s-{namespace}")
    await session.open()
    try:
        yield session
    finally:
        await session.close()


@pytest.mark.parametrize(
    ("task", "name", "why"),
    [
        (task_of(), "job", "from inside the cluster"),
        (task_of(results=CLAIM), "benchmark_job", "20 s per level become 60 s"),
        (task_of(results=CLAIM, workload={"warmup_ratio": 0.2}), "job", "not a BenchmarkJob: .*warm-up"),
        (task_of(executor="direct"), "direct", "the task requests it"),
    ],
)
def test_auto_chooses_an_executor_and_reports_the_reason(
    task: Task, name: str, why: str, cluster: TestCluster, namespace: str
) -> None:
    async def scenario() -> tuple[str, str]:
        async with opened(task, cluster, namespace) as session:
            return await select_executor(task, session)

    found, told = in_loop(scenario())
    assert found == name
    assert re.search(why, told)


def test_without_permission_to_create_jobs_auto_chooses_direct(
    cluster: TestCluster, namespace: str, tmp_path: Path
) -> None:
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: poor}\n"
    file = cluster.account(namespace, account, "poor", tmp_path / "kubeconfig")
    task = task_of(deploy={"kubeconfig": str(file), "namespace": namespace})

    async def scenario() -> tuple[str, str]:
        session = ClusterSession(task, study_label="s")
        await session.open()
        try:
            return await select_executor(task, session)
        finally:
            await session.close()

    name, why = in_loop(scenario())
    assert name == "direct"
    assert "no Job may be created" in why
    assert "port-forward" in why


SERVICE = ClusterService(
    3, "at-bench-t0003-x", "tune", "12345678-9", "http://at-bench-t0003-x.tune.svc.cluster.local:8080", "tiny",
    "/models/tiny", {"models.ome.io/clusterbasemodel.tiny": "Ready"},
)  # fmt: skip


def request_in(folder: Path, service: ClusterService = SERVICE) -> BenchRequest:
    return BenchRequest("http://127.0.0.1:1", "tiny", "/models/tiny", folder, 2, service)


def test_a_job_has_the_arguments_the_models_tokenizer_and_the_claim(
    cluster: TestCluster, namespace: str, tmp_path: Path
) -> None:
    pod = {"tolerations": [{"operator": "Exists"}], "resources": {"limits": {"cpu": "2"}}, "env": [{"name": "A"}]}
    task = task_of(executor="job", results=CLAIM, image="engine/bench:1", pod=pod, workload={"warmup_ratio": 0.5})

    async def scenario() -> dict[str, Any]:
        async with opened(task, cluster, namespace) as session:
            benchmark = JobBenchmark(task, session, backend="openai", engine="vLLM")
            await benchmark.prepare()
            return benchmark.manifest(request_in(tmp_path))

    found = in_loop(scenario())
    assert found["spec"]["backoffLimit"] == 0
    template = found["spec"]["template"]
    assert template["metadata"]["labels"]["autotune-nb/trial"] == "3"
    spec = template["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["nodeSelector"] == dict(SERVICE.node_selector)
    (container,) = spec["containers"]
    assert container["image"] == "engine/bench:1"
    assert container["resources"] == {"limits": {"cpu": "2"}}
    assert {"name": "A"} in container["env"]
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container["env"]
    job = json.loads(container["args"][0])
    argv = job["argv"]
    assert argv[argv.index("--api-base") + 1] == SERVICE.url
    assert argv[argv.index("--model-tokenizer") + 1] == "/models/tiny"
    assert argv[argv.index("--server-engine") + 1] == "vLLM"
    assert argv[argv.index("--warmup-ratio") + 1] == "0.5"
    assert float(argv[argv.index("--max-time-per-run") + 1]) * 60 == pytest.approx(20)
    assert job["levels"] == 2
    mounts = {one["name"]: one for one in container["volumeMounts"]}
    assert mounts["results"]["subPath"] == "some/folder"
    # Each trial has its own folder, so that results of another trial are never read.
    assert SERVICE.uid[:8] in job["folder"]
    assert mounts["model"]["readOnly"] is True


def test_the_default_image_is_the_published_one(cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> dict[str, Any]:
        async with opened(task_of(), cluster, namespace) as session:
            benchmark = JobBenchmark(task_of(), session, backend="openai", engine=None)
            await benchmark.prepare()
            return benchmark.manifest(request_in(tmp_path))

    assert in_loop(scenario())["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


def test_a_benchmark_job_has_omes_fields(cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
    task = task_of(results="s3://bucket/prefix", image="x:1", pod={"env": [{"name": "A", "value": "b"}]})

    async def scenario() -> dict[str, Any]:
        async with opened(task, cluster, namespace) as session:
            return OmeBenchmark(task, session).manifest(request_in(tmp_path), "t3-abc")

    spec = in_loop(scenario())["spec"]
    assert spec["endpoint"] == {"inferenceService": {"name": SERVICE.name, "namespace": "tune"}}
    assert (spec["maxTimePerIteration"], spec["maxRequestsPerIteration"]) == (1, 4)
    assert (spec["trafficScenarios"], spec["numConcurrency"]) == (["D(16,8)"], [1, 2])
    # In a bucket, files are written directly under the prefix, so each attempt has its own.
    assert spec["outputLocation"]["storageUri"] == "s3://bucket/prefix/t3-abc"
    assert spec["podOverride"] == {"image": "x:1", "env": [{"name": "A", "value": "b"}]}


class Trial:
    """One trial in the cluster: its engine and its benchmark."""

    def __init__(self, task: Task, cluster: TestCluster, namespace: str, folder: Path) -> None:
        deploy = {**task.deploy.model_dump(), "kubeconfig": cluster.kubeconfig, "namespace": namespace}
        self.task = Task.parse({**task.model_dump(), "deploy": deploy})
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.notices: list[str] = []
        self.session = ClusterSession(self.task, study_label=f"s-{namespace}")
        self.session.notify = self.notices.append
        self.engine = engine_for(self.task)
        self.deployer = OmeDeployer(self.task, self.engine, self.session, folder=folder)
        self.benchmark: Benchmark = cluster_benchmark(self.task, self.engine, self.session, folder=folder)

    async def measured(
        self, during: Callable[[], Any] | None = None, params: dict[str, Any] | None = None
    ) -> list[Measurement]:
        """Deploy, and measure all levels; ``during`` is called in a thread when the benchmark starts."""
        levels: list[Measurement] = []
        try:
            await self.deployer.prepare()
            await self.benchmark.prepare(self.deployer.tokenizer)
            async with self.deployer.deploy(DeployRequest(0, params or {}, self.folder)) as running:
                end = running.endpoint
                request = BenchRequest(
                    end.url, end.model, end.tokenizer, self.folder, 0, end.service, on_notice=self.notices.append
                )
                disturbing = asyncio.ensure_future(asyncio.to_thread(during)) if during else None
                try:
                    async with aclosing(self.benchmark.measure(request)) as measuring:
                        async for one in measuring:
                            levels.append(one)
                finally:
                    if disturbing is not None:
                        await disturbing
                assert not self.benchmark_objects(), "the benchmark's own objects go before the engine does"
            return levels
        finally:
            self.levels = levels
            await self.benchmark.close()
            await self.deployer.close()

    def benchmark_objects(self) -> list[str]:
        """The BenchmarkJobs, Jobs and pods of benchmarks that exist."""
        found = [*self.cluster.list("apis/ome.io/v1beta1/benchmarkjobs", self.namespace)]
        found += self.cluster.list("apis/batch/v1/jobs", self.namespace)
        pods = self.cluster.list("pods", self.namespace)
        found += [pod for pod in pods if "ome.io/inferenceservice" not in pod["metadata"].get("labels", {})]
        return [f"{one['metadata']['name']} ({one.get('kind')})" for one in found]


@pytest.fixture
def trial(cluster: TestCluster, namespace: str, tmp_path: Path) -> Callable[..., Trial]:
    def make(**how: Any) -> Trial:
        return Trial(task_of(**{"image": IMAGE_HERE, **how}), cluster, namespace, tmp_path)

    return make


@pytest.mark.e2e
def test_a_job_yields_levels_one_by_one_and_writes_its_files_to_the_claim(
    trial: Callable[..., Trial], cluster: TestCluster, namespace: str
) -> None:
    claim = cluster.claim(namespace, "results")
    one = trial(executor="job", results=CLAIM)
    levels = in_loop(one.measured())
    assert [level.level.concurrency for level in levels] == [1, 2]
    assert all(level.valid for level in levels), levels
    assert len(list((one.folder / "genai-bench").glob("D*.json"))) == 2
    (kept,) = claim.glob("some/folder/*/genai-bench")
    assert len(list(kept.glob("D*.json"))) == 2
    # The folder that genai-bench wrote is imported with the same figures.
    imported = import_results(kept, one.folder / "imported")
    assert [trial.measurements for trial in imported.trials] == [tuple(levels)]
    assert imported.notes == ()
    assert (one.folder / "genai-bench.out.log").read_text()
    assert any("benchmarks run as job" in text for text in one.notices)


# The log of such a job: tests/bench/test_bench_log.py.
@pytest.mark.e2e
@pytest.mark.slow
def test_half_the_requests_failing_is_an_invalid_measurement_of_a_benchmark_job(
    trial: Callable[..., Trial], cluster: TestCluster, namespace: str
) -> None:
    cluster.claim(namespace, "results")
    one = trial(results=CLAIM, deploy={"runtime": "stub"}, workload={"concurrency": [1]})
    task = Task.parse({**one.task.model_dump(), "engine": {"kind": "llama_cpp", "raw_args": ["--fail-half"]}})
    half = Trial(task, cluster, namespace, one.folder)
    (level,) = in_loop(half.measured())
    assert not level.valid
    assert level.num_failed_requests > 0
    assert any("requests failed" in problem for problem in level.problems)


def failing(one: Trial, during: Callable[[], Any] | None = None) -> MeasurementError:
    with pytest.raises(MeasurementError) as caught:
        in_loop(one.measured(during))
    assert not one.benchmark_objects()
    return caught.value


_NO_IMAGE, _NOT_PULLED = {"image": "docker.io/missing/bench:1"}, "ErrImagePull|ImagePullBackOff"
_NO_NODE, _NOT_SCHEDULED = {"pod": {"nodeSelector": {"no": "such"}}}, "not scheduled.*didn't match"


@pytest.mark.parametrize(
    ("executor", "how", "told"),
    [
        ("job", _NO_IMAGE, _NOT_PULLED),
        ("benchmark_job", _NO_NODE, _NOT_SCHEDULED),
        pytest.param("job", _NO_NODE, _NOT_SCHEDULED, marks=pytest.mark.slow),
        pytest.param("benchmark_job", _NO_IMAGE, _NOT_PULLED, marks=pytest.mark.slow),
    ],
)
def test_a_pod_that_cannot_run_is_reported_and_all_objects_are_deleted(
    trial: Callable[..., Trial],
    cluster: TestCluster,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    how: dict[str, Any],
    told: str,
) -> None:
    # What it shows at once stays so; waiting for that the full time shows no more.
    monkeypatch.setattr(_cluster, "_ERROR_S", 1.0)
    cluster.claim(namespace, "results")
    one = trial(executor=executor, results=CLAIM, **how)
    error = failing(one)
    assert re.search(told, error.failure.message), error
    assert error.failure.kind is FailureKind.INFRASTRUCTURE
    assert error.failure.phase == "benchmark"


@pytest.mark.parametrize(
    ("files", "told", "whole"),
    [
        ([], "delivered no figures for .*concurrency 1.*concurrency 2", 0),
        (["good", "empty"], "delivered no figures for .*concurrency 2", 1),
        (["good", "torn"], "concurrency 2; .* is truncated", 1),
    ],
)
def test_results_that_are_missing_empty_or_cut_short_after_completion(
    bench_namespace: BenchNamespace, tmp_path: Path, files: list[str], told: str, whole: int
) -> None:
    """A BenchmarkJob is Completed if genai-bench ended with code 0, even if its files are missing."""
    text = {number: json.dumps(level_data(concurrency=number)) for number in (1, 2)}
    contents = {"good": text[1], "empty": "", "torn": text[2][:80]}
    levels = {level_file(number): contents[kind] for number, kind in enumerate(files, start=1)}
    one = Executor(bench_namespace, "benchmark_job", tmp_path).writes(levels, after="exit 0")
    found: list[Measurement] = []
    with pytest.raises(MeasurementError, match=told) as caught:
        in_loop(one.measured(found))
    assert len(found) == whole
    assert caught.value.failure.kind is FailureKind.MEASUREMENT
    assert "ended with code 0" in caught.value.failure.message
    assert not bench_namespace.benchmark_objects()


def test_files_are_read_from_a_bucket(tmp_path: Path) -> None:
    """fsspec's storage in memory replaces a bucket; the address selects the storage."""
    import fsspec

    from autotune_nb.bench.benchmark_job import _fetch, _filesystem

    storage = fsspec.filesystem("memory")
    with storage.open("/bucket/prefix/t3-abc/" + level_file(1), "w") as file:
        file.write(json.dumps(level_data()))
    storage.pipe_file("/bucket/prefix/t3-abc/plot.png", b"no level")
    _fetch("memory://bucket/prefix/t3-abc", tmp_path / "into")
    assert [file.name for file in (tmp_path / "into").iterdir()] == [level_file(1)]
    with pytest.raises(SetupError, match="cannot be read from here") as caught:
        _filesystem("gs://bucket/x")
    assert caught.value.field == "benchmark.results"
