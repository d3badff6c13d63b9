"""Trials as InferenceServices of a real cluster: deployment, failures and teardown."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from autotune_nb.cluster.kinds import POD
from autotune_nb.deploy import Deployment, DeployRequest
from autotune_nb.deploy.ome import _teardown as teardown
from autotune_nb.deploy.ome.deployer import OmeDeployer
from autotune_nb.deploy.ome.preflight import CheckResult
from autotune_nb.errors import DeployError, Failure, FailureKind, SetupError, SurroundingsError
from autotune_nb.resources import shared_folder
from tests.contracts.deployer import DeployerContract
from tests.deploy.ome.ome_namespace import OmeNamespace, failure_of, gone_wrong, in_and_out, prepared, run
from tests.kubernetes.fixtures import needs_standin
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import HANGS_S, until, until_async

_SERVICES = r"/inferenceservices(\?|$)"


# The contract of every deployer


class OmeSubject:
    """An OmeDeployer over the stub engine."""

    failing_kind = FailureKind.CONFIGURATION
    failing_line = "error: unknown argument --turbo"
    stop_s = 3.0

    def __init__(self, ome: OmeNamespace) -> None:
        self._ome = ome
        self.deployer = ome.deployer()
        self.failing = ome.deployer("--say", self.failing_line, "--exit-code", "2")
        self.slow_to_stop = ome.deployer("--stop-s", str(self.stop_s))
        self.never_stops = ome.deployer("--stop-s", "600", deadlines={"stop_s": 600})

    def request(self) -> DeployRequest:
        return self._ome.request()

    def deployed(self) -> list[Any]:
        return self._ome.left()

    def kill(self, deployment: Deployment) -> None:
        self._ome.kill(deployment)

    def create_leftovers(self) -> None:
        self._ome.leave_behind()
        until(lambda: len(self._ome.left()) == 4)


class TestOmeDeployer(DeployerContract):
    @pytest.fixture
    def subject(self, ome: OmeNamespace) -> OmeSubject:
        return OmeSubject(ome)


# A trial as it should be


def test_a_trial_takes_few_requests_and_its_endpoint_tells_what_it_is(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            requests = deployer._session.cluster.requests
            before = requests.total()
            async with deployer.deploy(ome.request(threads=2)) as deployment:
                endpoint = deployment.endpoint
            assert requests.total() - before <= 6
        assert endpoint.command[-2:] == ("--threads", "2")
        assert endpoint.model == "tiny"
        assert endpoint.tokenizer == "test/tiny"
        assert endpoint.fingerprint["image"] == "engine/test:1"
        assert endpoint.fingerprint["node"]
        assert endpoint.service is not None
        assert endpoint.service.url == f"http://{ome.name()}.{ome.namespace}.svc.cluster.local:8080"
        assert endpoint.service.node_selector == {"models.ome.io/clusterbasemodel.tiny": "Ready"}
        assert endpoint.service.model_path
        assert ome.notices == []
        assert ome.phases == ["stop"]

    run(scenario)


def test_llama_cpp_answers_as_an_inference_service(ome: OmeNamespace) -> None:
    pytest.importorskip("xllamacpp")

    async def scenario() -> None:
        deployer = ome.deployer(checked=True, deploy={"runtime": "llama-cpp"}, deadlines={"ready_s": 120})
        async with prepared(deployer), deployer.deploy(ome.request(threads=1)) as deployment:
            body = {"model": deployment.endpoint.model, "prompt": "a", "max_tokens": 4}
            assert deployment.endpoint.fingerprint.get("engine_version"), "llama-server reports its build"
            async with (
                aiohttp.ClientSession() as http,
                http.post(f"{deployment.endpoint.url}/v1/completions", json=body) as reply,
            ):
                assert reply.status == 200
                assert (await reply.json())["choices"]

    run(scenario)


def test_the_version_is_that_which_the_engine_serves(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        deployer = ome.deployer()
        deployer._engine = replace(deployer._engine, version_paths=("/nothing", "/version"))
        async with prepared(deployer), deployer.deploy(ome.request()) as deployment:
            assert deployment.endpoint.fingerprint["engine_version"] == "0.9.1"

    run(scenario)


def test_the_engines_log_is_kept(ome: OmeNamespace) -> None:
    logs: list[Path] = []

    async def scenario() -> None:
        async with prepared(ome.deployer("--say", "up and about")) as deployer:
            await in_and_out(deployer, replace(ome.request(), on_log=logs.append))

    run(scenario)
    assert logs[0].name == "engine.log"
    assert "up and about" in logs[0].read_text()


def test_the_manifest_and_the_command_are_told_without_a_cluster(ome: OmeNamespace) -> None:
    deployer = ome.deployer()
    found = yaml.safe_load(deployer.manifest({"threads": 2}) or "")
    assert found["spec"]["engine"]["runner"]["args"][-2:] == ["--threads", "2"]
    assert "autotune-nb" not in str(found)
    assert "--threads 2" in " ".join(deployer.command({"threads": 2}))


def test_the_fingerprint_names_the_cluster_and_what_it_runs(ome: OmeNamespace) -> None:
    async def scenario() -> dict[str, Any]:
        async with prepared(ome.deployer()) as deployer:
            return await deployer.fingerprint()

    found = run(scenario)
    assert found["kubernetes"].startswith("v1.")
    assert "v1beta1" in found["ome"]
    assert found["model"] == {"name": "tiny", "storage": "hf://test/tiny"}
    assert (found["runtime"], found["namespace"]) == ("stub", ome.namespace)


def test_every_bad_answer_of_the_preflight_is_told(ome: OmeNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def preflight(*_: Any) -> list[Any]:
        return [
            CheckResult(True, "reached"),
            CheckResult(False, "no model 'x'", "make it"),
            CheckResult(False, "no claim 'y'"),
        ]

    monkeypatch.setattr("autotune_nb.deploy.ome.deployer.preflight", preflight)

    async def scenario() -> None:
        deployer = ome.deployer(checked=True)
        try:
            with pytest.raises(SetupError, match=r"no model 'x' \(try: make it\); no claim 'y'"):
                await deployer.prepare()
        finally:
            await deployer.close()

    run(scenario)


# What is wrong, told from where it shows


def test_an_engine_that_is_never_ready_is_told_with_its_last_lines(ome: OmeNamespace, tmp_path: Path) -> None:
    # The test node's probes run ten times as fast: this one is not to be first.
    template = (shared_folder("templates") / "inference_service.yaml.j2").read_text()
    patient = template.replace("{{ runner.startup_probe }}", "{failureThreshold: 900, periodSeconds: 1}")
    (tmp_path / "inference_service.yaml.j2").write_text(patient)

    async def scenario() -> None:
        deployer = ome.deployer(
            "--say", "loading shard 1", "--hang", deploy={"templates": str(tmp_path)}, deadlines={"ready_s": 3}
        )
        async with prepared(deployer):
            failure = await failure_of(deployer, ome.request())
        assert failure.kind is FailureKind.TIMEOUT
        assert "not Ready after 3 s" in failure.message
        assert "loading shard 1" in failure.log_lines

    run(scenario)


def test_no_free_gpu_is_told_at_once_and_waited_for_until_its_own_deadline(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        deployer = ome.deployer(deploy={"gpus_per_trial": 99}, deadlines={"pending_s": 2})
        async with prepared(deployer):
            failure = await failure_of(deployer, ome.request())
        assert failure.kind is FailureKind.INFRASTRUCTURE
        assert "Insufficient nvidia.com/gpu" in failure.message
        assert "pending_s" in failure.message
        assert ome.told("Insufficient nvidia.com/gpu")

    run(scenario)


@pytest.mark.parametrize(
    ("counted", "healed"),
    [
        ("requests.nvidia.com/gpu", True),
        ("count/inferenceservices.ome.io", False),
        pytest.param("requests.nvidia.com/gpu", False, marks=pytest.mark.slow),
        pytest.param("count/inferenceservices.ome.io", True, marks=pytest.mark.slow),
    ],
)
def test_an_exceeded_quota_is_waited_for(ome: OmeNamespace, counted: str, healed: bool) -> None:
    quotas = f"/api/v1/namespaces/{ome.namespace}/resourcequotas"
    ome.cluster.call("POST", quotas, {"metadata": {"name": "q"}, "spec": {"hard": {counted: "0"}}})
    ome.cluster.until(lambda: (ome.cluster.get(f"{quotas}/q") or {}).get("status", {}).get("hard"))

    async def scenario() -> None:
        deployer = ome.deployer(
            deploy={"gpus_per_trial": 1}, deadlines={"pending_s": 30 if healed else 2, "ready_s": 30}
        )
        async with prepared(deployer):
            if not healed:
                failure = await failure_of(deployer, ome.request())
                assert failure.kind is FailureKind.INFRASTRUCTURE
                assert "exceeded quota" in failure.message
                return
            deploying = asyncio.ensure_future(in_and_out(deployer, ome.request()))
            await until_async(lambda: ome.told("waits for quota") or ome.told("waiting for quota"))
            ome.cluster.delete(f"{quotas}/q")
            await deploying

    run(scenario)


def test_a_service_of_that_name_stops_it_before_anything_is_made(ome: OmeNamespace) -> None:
    services = f"/api/v1/namespaces/{ome.namespace}/services"
    ome.cluster.call("POST", services, {"metadata": {"name": ome.name()}, "spec": {"ports": [{"port": 80}]}})

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            failure = await failure_of(deployer, ome.request())
            assert f"service {ome.name()}" in failure.message
            assert deployer._session.cluster.requests["POST", "inferenceservices.ome.io"] == 0

    run(scenario)


@needs_standin
def test_what_changes_the_pod_on_its_way_is_noticed(ome: OmeNamespace) -> None:
    ome.cluster.misbehave(ome.namespace, override=json.dumps({"args": ["--threads", "64"]}))

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            failure = await failure_of(deployer, ome.request(threads=1))
            assert "--threads 64" in failure.message

    run(scenario)


@needs_standin
def test_a_status_that_never_comes_does_not_hold_a_ready_pod(ome: OmeNamespace) -> None:
    ome.cluster.misbehave(ome.namespace, mute="yes")

    async def scenario() -> None:
        async with prepared(ome.deployer(deadlines={"ready_s": 6})) as deployer:
            failure = await failure_of(deployer, ome.request())
            assert failure.kind is FailureKind.INFRASTRUCTURE
            assert ome.told("does not report", ome.name(), "controller")

    run(scenario)


# While it is measured


def test_deleting_the_studys_anchor_takes_everything_of_it(ome: OmeNamespace) -> None:
    def there() -> list[str]:
        kinds = ("apis/coordination.k8s.io/v1/leases", "services")
        made = [one["metadata"]["name"] for kind in kinds for one in ome.cluster.list(kind, ome.namespace)]
        anchors = ome.cluster.list("configmaps", ome.namespace, selector=f"autotune-nb/study={ome.study}")
        return [*ome.left(), *made, *(one["metadata"]["name"] for one in anchors)]

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            anchor = f"/api/v1/namespaces/{ome.namespace}/configmaps/{deployer._session.name}"
            with pytest.raises(DeployError, match="deleted by another client"):
                async with deployer.deploy(ome.request()) as deployment:
                    assert len(there()) == 8
                    ome.cluster.delete(anchor, propagationPolicy="Background")
                    await asyncio.to_thread(until, lambda: not there())
                    await asyncio.wait_for(deployment.died(), HANGS_S)

    run(scenario)


def test_a_service_deleted_by_somebody_is_noticed(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            failure = await gone_wrong(deployer, ome.request(), lambda _: ome.cluster.delete(ome.path()))
            assert failure.kind is FailureKind.INFRASTRUCTURE
            assert failure.phase == "benchmark"
            assert "deleted by another client" in failure.message

    run(scenario)


def test_a_second_pod_is_noticed(ome: OmeNamespace) -> None:
    change = {"metadata": {"annotations": {"somebody": "was here"}}}

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            failure = await gone_wrong(deployer, ome.request(), lambda _: ome.cluster.call("PATCH", ome.path(), change))
            assert failure.kind is FailureKind.INFRASTRUCTURE
            assert "runs beside" in failure.message

    run(scenario)


def test_a_kill_for_memory_in_mid_benchmark_is_told_with_the_log_of_the_one_that_died(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer("--say", "error: telling line")) as deployer:
            failure = await gone_wrong(deployer, ome.request(), ome.kill)
            assert failure.kind is FailureKind.OUT_OF_MEMORY
            assert failure.phase == "benchmark"
            assert "error: telling line" in failure.log_lines

    run(scenario)


# What networks and servers do


@pytest.mark.parametrize(
    "fault",
    [
        {"lose_answer": True},
        pytest.param({"take_effect": True, "status": 500}, marks=pytest.mark.slow),
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 500},
        pytest.param({"status": 504, "take_effect": True}, marks=pytest.mark.slow),
        {"late_s": 3},
    ],
)
def test_a_trial_is_made_once_whatever_becomes_of_the_answer(
    ome: OmeNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    if "late_s" in fault:
        # It took effect, and its answer comes when nobody waits for it any more.
        monkeypatch.setattr("autotune_nb.cluster.client.Cluster.timeout_s", 1.5)
    injected = proxy.add("POST", _SERVICES, **fault)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer, deployer.deploy(ome.request()):
            assert [one["metadata"]["name"] for one in ome.cluster.services(ome.namespace)] == [ome.name()]

    run(scenario)
    assert injected.hits == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"lose_answer": True},
        pytest.param({"take_effect": True, "status": 500}, marks=pytest.mark.slow),
        {"status": 503},
    ],
)
def test_a_trial_is_gone_whatever_becomes_of_the_answer(
    ome: OmeNamespace, proxy: FaultProxy, fault: dict[str, Any]
) -> None:
    proxy.add("DELETE", r"/inferenceservices/", **fault)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            await in_and_out(deployer, ome.request())
            assert not ome.left()

    run(scenario)


def test_watches_that_are_cut_off_lose_nothing(ome: OmeNamespace, proxy: FaultProxy) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer("--stop-s", "1")) as deployer:
            deploying = asyncio.ensure_future(gone_wrong(deployer, ome.request(), ome.kill))
            while not deploying.done():
                await asyncio.to_thread(proxy.cut)
                await asyncio.sleep(0.15)
            assert (await deploying).phase == "benchmark"
            assert not ome.left()

    run(scenario)


def test_watches_that_stay_refused_fail_the_trial_that_waits_and_leave_nothing(
    ome: OmeNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.cluster.watch.Watches.patience_s", 1.0)

    async def scenario() -> None:
        async with prepared(ome.deployer("--hang")) as deployer:
            deployer._session.notify = ome.notices.append
            waiting = asyncio.ensure_future(failure_of(deployer, ome.request()))
            await until_async(lambda: deployer._session.watches.of_trial(POD, 0))
            refused = proxy.add("WATCH", ".*", status=403, message="no watching", times=10**9)
            await asyncio.to_thread(proxy.cut)
            failure = await waiting
            assert (failure.kind, failure.phase) == (FailureKind.INFRASTRUCTURE, "deploy")
            assert "no watching" in failure.message
            assert "autotune-nb check" in failure.hint
            assert not ome.left()
            assert sum("the watch of " in notice for notice in ome.notices) == 1
            proxy.faults.remove(refused)
            # The ones that come later are not lost with it.
            await until_async(lambda: ome.told("watches are allowed again"))
            gone = await failure_of(deployer, ome.request(trial=1, exit_code=4))
            assert "exit code 4" in gone.message

    run(scenario)


def test_a_refused_creation_names_the_permission(ome: OmeNamespace, proxy: FaultProxy) -> None:
    told = 'inferenceservices.ome.io is forbidden: User "x" cannot create resource "inferenceservices"'
    proxy.add("POST", _SERVICES, status=403, reason="Forbidden", message=told)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            failure = await failure_of(deployer, ome.request())
            assert failure.kind is FailureKind.INFRASTRUCTURE
            assert 'cannot create resource "inferenceservices"' in failure.message
            assert "permission" in failure.hint

    run(scenario)


def test_a_webhook_that_does_not_answer_is_told_as_omes_controller(
    ome: OmeNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.cluster.client.Cluster.patience_s", 1.0)
    told = 'Internal error occurred: failed calling webhook "inferenceservice.ome-webhook-server.defaulter"'
    proxy.add("POST", _SERVICES, status=500, message=told, times=100)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            with pytest.raises(SurroundingsError) as caught:
                await in_and_out(deployer, ome.request())
            assert caught.value.failure.kind is FailureKind.INFRASTRUCTURE
            assert "OME's controller" in caught.value.failure.hint

    run(scenario)


def test_two_interrupts_while_it_is_created_leave_nothing(ome: OmeNamespace, proxy: FaultProxy) -> None:
    """The request is under way, and takes effect after everybody has left."""
    late = proxy.add("POST", _SERVICES, delay_s=6)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            creating = asyncio.ensure_future(in_and_out(deployer, ome.request()))
            await until_async(lambda: ("POST", "inferenceservices.ome.io") in deployer._session.cluster.requests)
            for _ in range(2):
                await asyncio.sleep(0.1)
                creating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await creating

    run(scenario)
    until(lambda: late.answers)
    assert late.answers == [201]
    # It belongs to the study's anchor, which is gone.
    ome.cluster.until(lambda: not ome.left())


# Names that are taken


def test_a_service_of_an_earlier_attempt_is_adopted_where_it_is_the_same(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            ome.leave_behind(0)
            uid = ome.cluster.get(ome.path())["metadata"]["uid"]
            async with deployer.deploy(ome.request()) as deployment:
                assert deployment.endpoint.service is not None
                assert deployment.endpoint.service.uid == uid
            assert ome.told("which existed", ome.name())
            assert not ome.left()

    run(scenario)


def test_a_service_of_another_configuration_is_replaced(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            ome.leave_behind(0, "--stop-s", "1")
            async with deployer.deploy(ome.request()) as deployment:
                assert "--stop-s" not in deployment.endpoint.command
                assert len(ome.cluster.services(ome.namespace)) == 1
            assert ome.told("deleted", ome.name())

    run(scenario)


def test_a_service_of_somebody_else_is_left_alone(ome: OmeNamespace) -> None:
    ome.leave_behind(0)
    ome.cluster.call("PATCH", ome.path(), {"metadata": {"labels": {"autotune-nb/study": "another"}}})

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            failure = await failure_of(deployer, ome.request())
            assert "not this study's" in failure.message
            assert ome.cluster.get(ome.path()) is not None

    run(scenario)
    ome.cluster.delete(ome.path(), propagationPolicy="Foreground")


# What will not go


def test_an_object_that_stays_terminating_is_named_and_holds_no_gpu(
    ome: OmeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teardown, "_STUCK_S", 1.0)

    async def scenario() -> list[str]:
        async with prepared(ome.deployer(deploy={"gpus": 1, "gpus_per_trial": 1})) as deployer:
            async with deployer.deploy(ome.request()):
                ome.hold_back(0)
            assert ome.told("stays Terminating", ome.name(), ome.namespace)
            # Its GPU is free, its name is not.
            await in_and_out(deployer, ome.request(trial=1))
            assert [one["metadata"]["name"] for one in ome.cluster.services(ome.namespace)] == [ome.name()]
            async with deployer.deploy(ome.request(trial=2)):
                ome.hold_back(2)
            return await deployer.close()

    lines = run(scenario)
    assert len(lines) == 2
    assert all("stays Terminating" in line for line in lines)
    for trial in (0, 2):
        assert any(ome.name(trial) in line for line in lines)
        ome.let_go(trial)


def test_a_pod_that_stays_holds_its_gpus_until_it_is_gone(ome: OmeNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "GRACE_S", 0.5)

    async def scenario() -> None:
        deployer = ome.deployer(deploy={"gpus": 1, "gpus_per_trial": 1}, deadlines={"stop_s": 1})
        async with prepared(deployer):
            with pytest.raises(DeployError) as caught:
                async with deployer.deploy(ome.request()) as deployment:
                    pod = ome.pod_path(deployment)
                    ome.cluster.call("PATCH", pod, {"metadata": {"finalizers": ["test/held"]}})
            failure = caught.value.failure
            assert (failure.kind, failure.phase) == (FailureKind.INFRASTRUCTURE, "stop")
            assert pod.rsplit("/", 1)[1] in failure.message
            assert ome.name() in failure.message
            other = asyncio.ensure_future(in_and_out(deployer, ome.request(trial=1)))
            await until_async(lambda: ome.phases[-1] == "queue")
            assert not ome.told("its GPUs are free")
            ome.cluster.call("PATCH", pod, {"metadata": {"finalizers": None}})
            await other
            assert ome.told("its GPUs are free", ome.name())
            await until_async(lambda: ome.told("is gone now", ome.name()))

    run(scenario)


def test_the_gpus_of_what_an_earlier_run_left_count_until_its_pods_are_gone(
    ome: OmeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.deploy.ome.deployer.GRACE_S", 0.5)
    deploy = {"gpus": 2, "gpus_per_trial": 2}
    ome.leave_behind(7, deploy=deploy)
    (pod,) = ome.cluster.until(
        lambda: [one for one in ome.cluster.list("pods", ome.namespace) if one["spec"].get("nodeName")]
    )
    path = f"/api/v1/namespaces/{ome.namespace}/pods/{pod['metadata']['name']}"
    ome.cluster.call("PATCH", path, {"metadata": {"finalizers": ["test/held"]}})

    async def scenario() -> None:
        deployer = ome.deployer(deploy=deploy, deadlines={"stop_s": 1})
        deployer._session.notify = ome.notices.append
        told = [line for line in await deployer.sweep() if pod["metadata"]["name"] in line]
        assert any("its 2 GPUs count until it is gone" in line for line in told)
        async with prepared(deployer):
            first = asyncio.ensure_future(in_and_out(deployer, ome.request()))
            await until_async(lambda: ome.phases == ["queue"])
            # As long as it is there, it is told at the end of a run.
            assert any(pod["metadata"]["name"] in line for line in deployer._previous_run.remaining)
            ome.cluster.call("PATCH", path, {"metadata": {"finalizers": None}})
            await first
        assert ome.told(pod["metadata"]["name"], "2 GPUs are free again")
        assert deployer._previous_run.remaining == []

    run(scenario)


def test_a_deletion_that_is_refused_is_told_and_tried_again(
    ome: OmeNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teardown, "_RETRY_S", 0.2)
    proxy.add("DELETE", r"/inferenceservices/", status=403, message="cannot delete resource")

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            failure = await failure_after(deployer, ome.request())
            assert failure.phase == "stop"
            assert "cannot delete resource" in failure.message
            await until_async(lambda: ome.told("is gone now"))
            assert await deployer.close() == []

    run(scenario)


async def failure_after(deployer: OmeDeployer, request: DeployRequest) -> Failure:
    with pytest.raises(DeployError) as caught:
        await in_and_out(deployer, request)
    return caught.value.failure


# Several at a time


def test_each_kind_is_watched_once_however_many_trials(ome: OmeNamespace, proxy: FaultProxy) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            for trials in (range(2), range(2, 4)):
                await asyncio.gather(*(in_and_out(deployer, ome.request(trial)) for trial in trials))

    run(scenario)
    kinds = ("inferenceservices", "deployments", "replicasets", "pods", "services", "events", "jobs", "benchmarkjobs")
    for verb in ("WATCH", "GET"):
        assert {kind: proxy.requests[verb, kind] for kind in kinds} == dict.fromkeys(kinds, 1)


def test_no_more_gpus_are_held_than_the_ceiling(ome: OmeNamespace) -> None:
    pods: list[int] = []

    def count() -> bool:
        pods.append(len(ome.cluster.list("pods", ome.namespace)))
        return max(pods) >= 2

    async def scenario() -> None:
        deployer = ome.deployer(deploy={"gpus": 2, "gpus_per_trial": 1, "parallel": 4})
        async with prepared(deployer):

            async def one(trial: int) -> None:
                async with deployer.deploy(ome.request(trial)):
                    await until_async(count)
                    await asyncio.sleep(0.5)
                    count()

            await asyncio.gather(*(one(trial) for trial in range(4)))

    run(scenario)
    assert max(pods) == 2
    assert "queue" in ome.phases


def test_a_trial_that_needs_more_than_the_ceiling_is_told_so(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer(deploy={"gpus": 2, "gpus_per_trial": 3})) as deployer:
            failure = await failure_of(deployer, ome.request())
            assert failure.kind is FailureKind.CONFIGURATION
            assert "deploy.gpus" in failure.hint

    run(scenario)
