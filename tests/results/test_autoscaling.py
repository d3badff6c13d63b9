"""Manifests with an autoscaler and of a canary: what they contain, and that the API server accepts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import autotune_nb as at
from autotune_nb.cluster.kinds import INFERENCE_SERVICE, Kind
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.results.autoscaling import Canary, autoscaled
from autotune_nb.results.capacity import Load
from autotune_nb.results.exporting import Replicas, export
from autotune_nb.task.task import Task
from tests.conftest import MINIMAL
from tests.history.samples import repeated, sample_task
from tests.history.test_studies import call, keep
from tests.kubernetes.study_objects import NamespaceAccess
from tests.stubs import in_loop

TASK = sample_task(
    name="qwen: 8B", deploy={"kind": "ome", "runtime": "srt", "namespace": "serve"}, price={"usd_per_gpu_hour": 2}
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> at.OpenedStudy:
    """A study in a cluster, with 25 requests/s at its only level."""
    folder = keep(tmp_path_factory.mktemp("runs") / "ome", repeated(TASK, {None: 100.0, 2: 200.0}, noise=0.001, gpus=2))
    opened = at.open(folder)
    assert isinstance(opened, at.OpenedStudy)
    return opened


def objects(text: str | bytes) -> dict[str, dict[str, Any]]:
    return {f"{one['kind']} {one['metadata']['name']}": one for one in yaml.safe_load_all(text)}


def test_the_service_gets_replicas_and_an_autoscaler_of_its_own(study: at.OpenedStudy) -> None:
    text = export(study, "hpa", replicas=Replicas(Load(50.0, headroom=0.2), min_replicas=2))
    found = objects(text)
    assert list(found) == ["InferenceService qwen-8b", "HorizontalPodAutoscaler qwen-8b-load"]
    service, scaler = found.values()
    # OME makes the budget itself, and deletes an autoscaler of the Deployment's name.
    engine = service["spec"]["engine"]
    assert (engine["minReplicas"], engine["maxReplicas"], engine["maxUnavailable"]) == (2, 3, 1)
    assert service["metadata"]["annotations"] == {"ome.io/autoscalerClass": "external"}
    assert scaler["spec"]["scaleTargetRef"]["name"] == "qwen-8b-engine"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 3)
    assert scaler["spec"]["metrics"][0]["pods"]["target"] == {"type": "AverageValue", "averageValue": "1600m"}
    assert study.best is not None
    best = study.best.number
    assert str(text).startswith(f"# 3 replicas (6 GPUs, $12.00 per hour) of trial {best} carry 50 requests/s")


def test_keda_asks_prometheus_for_the_requests_of_the_engines_pods(study: at.OpenedStudy) -> None:
    found = objects(export(study, "keda", replicas=Replicas(Load(50.0), prometheus="http://prom:9090")))
    spec = found["ScaledObject qwen-8b-load"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 3)
    (trigger,) = spec["triggers"]
    pods = '{namespace="serve",pod=~"qwen-8b-engine-.+"}'
    assert trigger["metadata"] == {
        "serverAddress": "http://prom:9090",
        "query": f"sum(vllm:num_requests_running{pods} + vllm:num_requests_waiting{pods})",
        "threshold": "1.6",
    }


def test_of_a_local_study_it_is_the_autoscaler_and_the_budget_of_a_deployment(tmp_path: Path) -> None:
    folder = keep(tmp_path / "local", repeated(sample_task(), {None: 100.0, 2: 200.0}, noise=0.001))
    done = call("export", folder, "--as", "hpa", "--requests-per-second", 50)
    assert done.exit_code == 0, done.output
    found = objects(done.stdout)
    assert list(found) == ["HorizontalPodAutoscaler test-load", "PodDisruptionBudget test-load"]
    assert found["PodDisruptionBudget test-load"]["spec"]["selector"] == {"matchLabels": {"app": "test"}}
    done = call("export", folder, "--as", "hpa")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: load: give the load that the replicas carry, such as --requests-per-second 20\n",
    )
    done = call("export", folder, "--as", "canary")
    assert "has no InferenceService" in done.stderr
    done = call("capacity", folder, "--requests-per-second", 50, "--headroom", "0.2")
    first = done.stdout.splitlines()[0]
    assert first.startswith("3 replicas (3 GPUs) of trial ")
    assert first.endswith(" carry 50 requests/s: 16.7 requests/s and 2 requests in flight each")
    assert call("capacity", folder).exit_code == 2
    assert "expected a share such as 20%" in call("capacity", folder, "--concurrency", 4, "--headroom", "a").stderr
    assert at.open(folder).capacity(concurrency=8).replicas == 5


def test_wrong_replicas_and_unknown_metrics_are_named(study: at.OpenedStudy) -> None:
    with pytest.raises(TaskError, match="min_replicas: expected 1 to 3"):
        export(study, "hpa", replicas=Replicas(Load(50.0), min_replicas=4))
    other = Task.parse({**MINIMAL, "engine": {"kind": "command", "command": "serve {port}"}})
    with pytest.raises(SetupError, match="the metrics of engine command are unknown"):
        autoscaled(other, None, study.capacity(requests_per_s=1), "hpa", name="x")


def test_a_canary_is_a_route_between_two_services_or_a_revision_in_serverless_mode(study: at.OpenedStudy) -> None:
    found = objects(export(study, "canary", split=Canary(20, "gateways/public")))
    assert list(found) == [
        "InferenceService qwen-8b",
        "InferenceService qwen-8b-canary",
        "HTTPRoute qwen-8b-canary",
    ]
    stable, new, route = found.values()
    # The default is the stable one.
    runner = [one["spec"]["engine"]["runner"].get("args") for one in (stable, new)]
    assert "--max-num-seqs" in str(runner[1])
    assert "--max-num-seqs" not in str(runner[0])
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    weights = [(one["name"], one["weight"]) for one in route["spec"]["rules"][0]["backendRefs"]]
    assert weights == [("qwen-8b-engine", 80), ("qwen-8b-canary-engine", 20)]
    text = export(study, "canary", split=Canary(20))
    (revision,) = objects(text).values()
    assert revision["spec"]["engine"]["canaryTrafficPercent"] == 20
    assert revision["metadata"]["annotations"] == {"ome.io/deploymentMode": "Serverless"}
    assert "elsewhere\n# canaryTrafficPercent has no effect" in str(text)
    same = objects(export(study, "canary", split=Canary(20, "a/b"), against=6)).values()
    assert len({str(one["spec"]["engine"]) for one in list(same)[:2]}) == 1


@pytest.mark.parametrize(("traffic", "gateway"), [(0, None), (100, None), (10, "public"), (10, "a/b/c")])
def test_a_canary_without_a_share_or_a_gateway_is_refused(traffic: int, gateway: str | None) -> None:
    with pytest.raises(TaskError, match="expected"):
        Canary(traffic, gateway)


#: The tests' server has only the versions before these, with the same fields as far as they are used here.
_BEFORE = {
    "HorizontalPodAutoscaler": Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", "v2beta2"),
    "PodDisruptionBudget": Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy", "v1beta1"),
    "InferenceService": INFERENCE_SERVICE,
}


def test_the_api_server_accepts_them_and_keeps_every_field(study: at.OpenedStudy, access: NamespaceAccess) -> None:
    capacity = study.capacity(requests_per_s=50)
    canaries = (Canary(20), Canary(20, "gateways/public"))
    wanted = [
        *objects(export(study, "hpa", replicas=Replicas(Load(50.0)))).values(),
        *objects(autoscaled(TASK, None, capacity, "hpa", name="local")).values(),
        *(one for split in canaries for one in objects(export(study, "canary", split=split)).values()),
    ]

    async def work() -> None:
        async with access.connected() as cluster:
            for one in wanted:
                if one["kind"] == "HTTPRoute":
                    continue
                kind = _BEFORE[one["kind"]]
                if kind is INFERENCE_SERVICE:
                    # The model that there is.
                    one["spec"]["model"]["name"] = "tiny"
                one["metadata"]["namespace"] = access.namespace
                made = await cluster.create(kind, {**one, "apiVersion": kind.api_version}, dry_run=True)
                assert _contains(made["spec"], one["spec"]), one["kind"]

    in_loop(work())


def _contains(whole: Any, part: Any) -> bool:
    """Whether everything of ``part`` is in ``whole``: the server drops fields that it does not know."""
    if isinstance(part, dict):
        return all(key in whole and _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(_contains, whole, part))
    return bool(whole == part)
