"""Errors of a benchmark in the cluster: each is reported with its cause, and all objects are deleted."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.bench import _cluster_job as _cluster
from autotune_nb.bench import _cluster_object as _made
from autotune_nb.bench import benchmark_job, job
from autotune_nb.bench._claim_reader import ClaimReader
from autotune_nb.bench._cluster_object import BenchmarkObject, Removals
from autotune_nb.cluster import owned_object as owned
from autotune_nb.cluster.kinds import BENCHMARK_JOB, JOB, POD, Kind, Object
from autotune_nb.cluster.pod_errors import creation_error, pod_error
from autotune_nb.errors import Failure, FailureKind, SurroundingsError, TrialError
from tests.bench.in_cluster import BenchNamespace, Executor
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import HANGS_S, in_loop, level_data, level_file, until_async

_JOBS, _BENCHMARK_JOBS = "apis/batch/v1/jobs", "apis/ome.io/v1beta1/benchmarkjobs"
_FOREVER = "sleep 600"


@pytest.fixture
def through_proxy(bench_namespace: BenchNamespace, proxy: FaultProxy, tmp_path: Path) -> Path:
    return proxy.kubeconfig(
        tmp_path / "kubeconfig", token=bench_namespace.cluster.token, namespace=bench_namespace.namespace
    )


def failure_of(one: Executor, disturb: Callable[[], Any] | None = None) -> Failure:
    with pytest.raises(TrialError) as caught:
        in_loop(one.measured() if disturb is None else one.disturbed(disturb))
    assert not one.bench_namespace.benchmark_objects()
    return caught.value.failure


# Deleted by others


@pytest.mark.parametrize(
    ("executor", "plural", "told"),
    [
        ("job", _JOBS, "^Job .* was deleted by another client"),
        ("job", "pods", "^Pod .* was deleted by another client"),
        ("benchmark_job", _BENCHMARK_JOBS, "^BenchmarkJob .* was deleted by another client"),
        # OME runs the benchmark again, with the same folder.
        ("benchmark_job", _JOBS, "^Job .* was deleted by another client"),
        pytest.param("benchmark_job", "pods", "^Pod .* was deleted by another client", marks=pytest.mark.slow),
    ],
)
def test_an_object_deleted_by_others_is_reported(
    bench_namespace: BenchNamespace, tmp_path: Path, executor: str, plural: str, told: str
) -> None:
    one = Executor(bench_namespace, executor, tmp_path).writes({}, before=_FOREVER)

    def delete() -> None:
        (name,) = {name for name in names(bench_namespace, plural) if name.startswith(one.name)}
        bench_namespace.cluster.delete(bench_namespace.path(plural, name), propagationPolicy="Background")

    failure = failure_of(one, delete)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.phase == "benchmark"
    assert re.search(told, failure.message), failure.message


def names(bench_namespace: BenchNamespace, plural: str) -> set[str]:
    return {str(one["metadata"]["name"]) for one in bench_namespace.cluster.list(plural, bench_namespace.namespace)}


def test_a_job_that_is_created_again_while_its_results_are_read_is_reported(
    bench_namespace: BenchNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Executor(bench_namespace, "benchmark_job", tmp_path)
    one.writes(one.fake.both_levels())
    read = ClaimReader.read

    async def read_and_delete(self: ClaimReader, *how: Any) -> None:
        await read(self, *how)
        (before,) = bench_namespace.cluster.list(_JOBS, bench_namespace.namespace)
        bench_namespace.cluster.delete(bench_namespace.path(_JOBS, one.name), propagationPolicy="Background")
        jobs = one.session.watches.objects(JOB)
        await until_async(lambda: [j for j in jobs.values() if j["metadata"]["uid"] != before["metadata"]["uid"]])

    monkeypatch.setattr(ClaimReader, "read", read_and_delete)
    failure = failure_of(one)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert "was deleted by another client while its results were read" in failure.message


def test_a_benchmark_that_runs_out_of_memory_is_an_infrastructure_failure(
    bench_namespace: BenchNamespace, tmp_path: Path
) -> None:
    pod = {"resources": {"limits": {"memory": "60Mi"}, "requests": {"memory": "10Mi"}}}
    one = Executor(bench_namespace, "benchmark_job", tmp_path, pod=pod)
    one.writes({}, before="python3 -S -c 'hoard = b\"1\" * (200 << 20); import time; time.sleep(60)'")
    failure = failure_of(one)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert "ran out of memory" in failure.message


# Quota


@pytest.fixture
def quota(bench_namespace: BenchNamespace) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Return a function that sets a quota and returns a function that deletes it."""
    path = bench_namespace.path("resourcequotas", "q")

    def lift() -> None:
        bench_namespace.cluster.delete(path)

    def limit(counted: str) -> Callable[[], None]:
        spec = {"metadata": {"name": "q"}, "spec": {"hard": {counted: "0"}}}
        bench_namespace.cluster.call("POST", bench_namespace.path("resourcequotas"), spec)
        bench_namespace.cluster.until(lambda: (bench_namespace.cluster.get(path) or {}).get("status", {}).get("hard"))
        return lift

    yield limit
    lift()


@pytest.mark.parametrize(
    ("executor", "counted"),
    [
        ("job", "own"),
        ("benchmark_job", "pods"),
        pytest.param("job", "pods", marks=pytest.mark.slow),
        pytest.param("benchmark_job", "own", marks=pytest.mark.slow),
    ],
)
def test_a_benchmark_waits_for_quota_and_reports_that_once(
    bench_namespace: BenchNamespace,
    tmp_path: Path,
    quota: Any,
    executor: str,
    counted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owned, "QUOTA_PAUSE_S", 0.3)
    own = "count/jobs.batch" if executor == "job" else "count/benchmarkjobs.ome.io"
    quota(own if counted == "own" else "pods")
    one = Executor(bench_namespace, executor, tmp_path, deadlines={"pending_s": 1}).writes({})
    failure = failure_of(one)
    (told,) = one.notices
    assert "exceeded quota: q" in told
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert "exceeded quota: q" in failure.message
    assert "1 s" in failure.message
    assert "quota" in failure.hint


def test_a_benchmark_continues_once_there_is_quota(
    bench_namespace: BenchNamespace, tmp_path: Path, quota: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "QUOTA_PAUSE_S", 0.3)
    one = Executor(bench_namespace, "job", tmp_path)
    one.writes(one.fake.both_levels())
    lift = quota("count/jobs.batch")

    async def scenario() -> None:
        measuring = asyncio.ensure_future(one.measured())
        await until_async(lambda: one.notices)
        await asyncio.sleep(0.7)
        await asyncio.to_thread(lift)
        assert len(await measuring) == 2
        (told,) = one.notices
        assert told.startswith("trial 0's benchmark waits for quota: ")

    in_loop(scenario())


# A webhook that does not respond


@pytest.mark.parametrize(("executor", "group", "plural"), [("job", "batch", "jobs"), ("benchmark_job", "", "pods")])
def test_a_webhook_that_does_not_respond_fails_no_trial(
    bench_namespace: BenchNamespace,
    tmp_path: Path,
    executor: str,
    group: str,
    plural: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autotune_nb.cluster.client.Cluster.patience_s", 0.3)
    monkeypatch.setattr(_cluster, "_AWAY_S", 0.5)
    one = Executor(bench_namespace, executor, tmp_path).writes({}, before=_FOREVER)
    away = bench_namespace.cluster.dead_webhook(bench_namespace.namespace, group, plural)
    with away as webhook, pytest.raises(SurroundingsError) as caught:
        in_loop(one.measured())
    failure = caught.value.failure
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert f'failed calling webhook "{webhook}"' in failure.message
    assert not bench_namespace.benchmark_objects()


# Requests without a response, and deletions that fail


@contextlib.asynccontextmanager
async def prepared(one: Executor) -> AsyncIterator[Executor]:
    await one.prepare()
    try:
        yield one
    finally:
        await one.close()


def manifest(one: Executor, kind: Kind) -> Object:
    """The object of that kind that the executors create."""
    if kind is POD:
        return ClaimReader(one.task, one.session, "", Removals(one.session))._manifest("folder", one.service)
    if isinstance(one.inner, benchmark_job.OmeBenchmark):
        return one.inner.manifest(one.request(), "folder")
    return one.inner.manifest(one.request())


@pytest.mark.parametrize(("kind", "executor"), [(JOB, "job"), (BENCHMARK_JOB, "benchmark_job"), (POD, "benchmark_job")])
def test_an_object_that_may_have_been_created_is_looked_up_at_its_deletion(
    bench_namespace: BenchNamespace, tmp_path: Path, through_proxy: Path, proxy: FaultProxy, kind: Kind, executor: str
) -> None:
    one = Executor(bench_namespace, executor, tmp_path, kubeconfig=through_proxy).writes({}, before=_FOREVER)

    async def scenario() -> None:
        async with prepared(one):
            body = manifest(one, kind)
            name = body["metadata"]["name"]
            proxy.add("POST", rf"/{kind.plural}(\?|$)", lose_answer=True)
            looks = proxy.add("GET", rf"/{kind.plural}/{name}", status=500, times=10**6)
            one.session.cluster.patience_s = 0.3
            made, removals = BenchmarkObject(one.session, kind, 0, one.notices.append), Removals(one.session)
            with pytest.raises(
                TrialError, match=f"{name} in namespace {bench_namespace.namespace} was not created"
            ) as caught:
                await made.create_for_trial(body)
            assert caught.value.failure.kind is FailureKind.INFRASTRUCTURE
            assert name in bench_namespace.benchmark_objects()
            await removals.remove(made)
            assert f"{name} in namespace {bench_namespace.namespace} may have been created" in one.notices[-1]
            looks.times = 0
            await removals.close()
            assert (
                one.notices[-1] == f"{kind.name.lower()} {name} in namespace {bench_namespace.namespace} is deleted now"
            )
            assert not bench_namespace.benchmark_objects()

    in_loop(scenario())


def test_a_creation_without_response_ends_soon_when_the_trial_is_stopped_and_is_looked_up(
    bench_namespace: BenchNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "_FINISH_S", 0.2)
    one = Executor(bench_namespace, "job", tmp_path).writes({}, before=_FOREVER)

    async def scenario() -> None:
        async with prepared(one):
            create = one.session.cluster.create

            async def never_answered(*what: Any) -> Object:
                await create(*what)
                return await asyncio.get_running_loop().create_future()

            monkeypatch.setattr(one.session.cluster, "create", never_answered)
            made = BenchmarkObject(one.session, JOB, 0, one.notices.append)
            making = asyncio.ensure_future(made.create_for_trial(manifest(one, JOB)))
            await until_async(bench_namespace.benchmark_objects)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(HANGS_S):
                    await making
            assert await made.remove() == ""
            assert not bench_namespace.benchmark_objects()

    in_loop(scenario())


def test_a_refused_deletion_is_reported_by_name_and_retried_at_the_end(
    bench_namespace: BenchNamespace, tmp_path: Path, through_proxy: Path, proxy: FaultProxy
) -> None:
    proxy.add("DELETE", "/jobs/", status=403, message="no, by order of the administrator")
    one = Executor(bench_namespace, "job", tmp_path, kubeconfig=through_proxy)
    one.writes(one.fake.both_levels())
    assert len(in_loop(one.measured())) == 2
    what = f"job {one.name} in namespace {bench_namespace.namespace}"
    refused, gone = one.notices
    assert refused == f"{what} could not be deleted: no, by order of the administrator"
    assert gone == f"{what} is deleted now"
    assert not bench_namespace.benchmark_objects()


def test_a_stuck_deletion_is_reported_by_name_and_retried_at_the_end(
    bench_namespace: BenchNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_made, "_GONE_S", 0.5)
    one = Executor(bench_namespace, "benchmark_job", tmp_path)
    one.writes(one.fake.both_levels())

    async def scenario() -> None:
        path = bench_namespace.path(_BENCHMARK_JOBS, one.name)

        def finalizers() -> list[str]:
            return ((bench_namespace.cluster.get(path) or {}).get("metadata") or {}).get("finalizers") or []

        def hold(kept: list[str] | None) -> None:
            bench_namespace.cluster.call("PATCH", path, {"metadata": {"finalizers": kept}})

        measuring = asyncio.ensure_future(one.measured())
        # As if OME's controller did not remove its finalizer.
        own = await until_async(finalizers)
        hold([*own, "test.example.com/held"])
        await until_async(lambda: one.notices)
        hold(None)
        assert len(await measuring) == 2

    in_loop(scenario())
    what = f"benchmarkjob {one.name} in namespace {bench_namespace.namespace}"
    stuck, gone = one.notices
    assert stuck == f"{what} stays Terminating; check that OME's controller is running; it removes the finalizer"
    assert gone == f"{what} is deleted now"


@pytest.mark.parametrize("ours", [True, False])
def test_a_job_of_the_same_name_is_replaced_only_if_it_belongs_to_this_study(
    bench_namespace: BenchNamespace, tmp_path: Path, ours: bool
) -> None:
    one = Executor(bench_namespace, "job", tmp_path)
    one.writes(one.fake.both_levels())

    async def scenario() -> list[Any]:
        async with prepared(one):
            left = manifest(one, JOB)
            left["spec"]["template"]["spec"]["containers"][0]["command"] = ["sleep", "600"]
            left["metadata"]["labels"] |= {} if ours else {"autotune-nb/study": "another"}
            bench_namespace.cluster.create({"apiVersion": "batch/v1", "kind": "Job", **left})
            return [level async for level in one.measure(one.request())]

    if ours:
        assert len(in_loop(scenario())) == 2
    else:
        with pytest.raises(TrialError, match=f"job {one.name} .* exists and belongs to another study"):
            in_loop(scenario())
        bench_namespace.cluster.delete(bench_namespace.path(_JOBS, one.name), propagationPolicy="Foreground")
    bench_namespace.cluster.until(lambda: not bench_namespace.benchmark_objects())


# Errors that may resolve themselves


def test_ome_may_take_over_a_minute_to_create_a_job_and_a_notice_reports_that_soon(
    bench_namespace: BenchNamespace, tmp_path: Path
) -> None:
    one = Executor(bench_namespace, "benchmark_job", tmp_path)

    async def scenario() -> None:
        async with prepared(one):
            made = BenchmarkObject(one.session, BENCHMARK_JOB, 0, one.notices.append)
            made.name = one.name
            silence = benchmark_job.JobCreationTimeout(made, 100.0)

            def fails(after_s: float) -> TrialError | None:
                return silence.check(100.0 + after_s, "Pending", broken=False)

            assert fails(2.0) is None
            assert not one.notices
            assert fails(5.0) is None
            assert fails(75.0) is None
            (told,) = one.notices
            assert (
                f"OME has created no Job for benchmarkjob {one.name} in namespace {bench_namespace.namespace}" in told
            )
            failure = fails(91.0)
            assert failure is not None
            assert failure.failure.kind is FailureKind.INFRASTRUCTURE
            assert "state Pending" in failure.failure.message

    in_loop(scenario())


def test_a_benchmark_job_of_a_missing_service_fails_after_a_notice(
    bench_namespace: BenchNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_job, "_NO_JOB_NOTICE_S", 0.3)
    monkeypatch.setattr(benchmark_job, "_NO_JOB_S", 1.0)
    one = Executor(bench_namespace, "benchmark_job", tmp_path)
    service = replace(one.service, name="missing")
    monkeypatch.setattr(Executor, "service", property(lambda _self: service))
    failure = failure_of(one)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert "OME has created no Job" in failure.message
    assert any("OME has created no Job" in told for told in one.notices)


def event(message: str, reason: str = "FailedCreate") -> Object:
    return {"reason": reason, "message": message}


@pytest.mark.parametrize(
    ("events", "told", "transient"),
    [
        ([event('Error creating: pods "x-1" is forbidden: exceeded quota: q')], "waiting for quota: Error", True),
        ([event("jobs is forbidden: exceeded quota: q", "InternalError")], "waiting for quota: jobs", True),
        ([event('failed calling webhook "x": timeout')], "no pod could be created yet: ", True),
        ([event("violates PodSecurity")], "no pod may be created: violates PodSecurity", False),
        # The newest event is reported.
        ([event("exceeded quota: q"), event("violates PodSecurity")], "no pod may be created: ", False),
    ],
)
def test_why_a_job_has_no_pod(events: list[Object], told: str, transient: bool) -> None:
    found = creation_error(events)
    assert found is not None
    assert found.text.startswith(told)
    assert found.transient is transient
    assert creation_error([event("it was made", "SuccessfulCreate")]) is None


@pytest.mark.parametrize(
    ("message", "transient"),
    [
        ("0/3 nodes are available: 3 Insufficient cpu.", True),
        ("pod has unbound immediate PersistentVolumeClaims", True),
        ("0/3 nodes are available: 3 node(s) didn't match node selector.", False),
    ],
)
def test_a_pod_that_waits_for_resources_or_for_its_claims_volume_may_still_run(message: str, transient: bool) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    found = pod_error({"metadata": {"name": "p"}, "status": {"conditions": [condition]}})
    assert found is not None
    assert found.transient is transient


def test_no_level_is_lost_if_its_file_is_saved_slowly(
    bench_namespace: BenchNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(folder: Path, name: str, data: bytes) -> None:
        time.sleep(0.7)
        _cluster.write_file(folder, name, data)

    monkeypatch.setattr(job, "write_file", keep)
    one = Executor(bench_namespace, "job", tmp_path)
    one.writes({level_file(n): level_data(concurrency=n) for n in (1, 2)})
    assert [level.level.concurrency for level in in_loop(one.measured())] == [1, 2]
