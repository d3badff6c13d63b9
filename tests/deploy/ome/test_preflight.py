"""The preflight checks, and the objects that a task creates."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import yaml
from click.testing import CliRunner
from fsspec.registry import _registry

from autotune_nb.checks import dry_run
from autotune_nb.cli.main import cli
from autotune_nb.cluster.kinds import (
    CLAIM,
    CLUSTER_BASE_MODEL,
    CLUSTER_SERVING_RUNTIME,
    INFERENCE_SERVICE,
    JOB,
    LEASE,
    Kind,
)
from autotune_nb.cluster.leftovers import STUDY_KINDS
from autotune_nb.cluster.names import STUDY_LABEL, trial_name
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.ome import _results_location as results_place
from autotune_nb.deploy.ome._largest_trial import largest_trial
from autotune_nb.deploy.ome._permissions import required, required_by
from autotune_nb.deploy.ome._provision import provision
from autotune_nb.deploy.ome.check_result import CheckResult
from autotune_nb.deploy.ome.deployer import OmeDeployer
from autotune_nb.deploy.ome.model_and_runtime import find_model_and_runtime
from autotune_nb.deploy.ome.preflight import preflight
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import SetupError
from autotune_nb.session import check, with_overrides
from autotune_nb.study import StudyFolder
from autotune_nb.task.task import Task
from tests.kubernetes.fixtures import EXTERNAL
from tests.kubernetes.handle import TestCluster
from tests.kubernetes.host import BROUGHT
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import deploy_request, in_loop

BASE: dict[str, Any] = {
    "name": "chat",
    "model": {"id_or_path": "tiny", "tokenizer": "/x"},
    "engine": {"kind": "sglang"},
    "parameters": {"tp_size": [1, 2, 4], "dp_size": [1, 2], "schedule_policy": ["fcfs", "lpm"]},
    "rules": ["tp_size * dp_size <= 4"],
    "workload": {"scenarios": ["D(16,8)"], "concurrency": [1]},
    "objective": "maximize output_tokens_per_s",
    "deadlines": {"pending_s": 3},
    "deploy": {"kind": "ome", "runtime": "stub"},
}


def task_of(**sections: Any) -> Task:
    merged = {**BASE}
    for name, value in sections.items():
        merged[name] = {**BASE.get(name, {}), **value} if isinstance(value, dict) else value
    return Task.parse(merged)


@pytest.fixture
def answers(kubeconfig: Path, namespace: str) -> Callable[..., list[CheckResult]]:
    def ask(executor: str = "job", **sections: Any) -> list[CheckResult]:
        deploy = {"kubeconfig": str(kubeconfig), "namespace": namespace, **sections.pop("deploy", {})}
        task = task_of(deploy=deploy, **sections)

        async def scenario() -> list[CheckResult]:
            session = ClusterSession(task, study_label="s-1")
            try:
                await session.open()
                session.cluster.patience_s = 1.0
                return await preflight(session, task, engine_for(task), executor=executor)
            finally:
                await session.close()

        return in_loop(scenario())

    return ask


def bad(found: list[CheckResult]) -> list[str]:
    return [str(answer) for answer in found if not answer.ok]


def test_all_is_well_where_it_is(
    answers: Callable[..., list[CheckResult]], cluster: TestCluster, namespace: str
) -> None:
    cluster.claim(namespace, "results")
    found = answers(executor="benchmark_job", benchmark={"results": "pvc://results/x"})
    assert not bad(found)
    told = "\n".join(map(str, found))
    for part in ("Kubernetes v1", "ome.io/v1beta1", "model tiny", "ready on 1 node", "runtime stub", "claim results"):
        assert part in told
    # Rules leave no point with more.
    assert "the largest trial takes 4 GPUs" in told
    assert all("\n" not in str(answer) for answer in found)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"model": {"id_or_path": "tinny"}}, "no model 'tinny'; did you mean 'tiny'"),
        ({"deploy": {"runtime": "stubb"}}, "no runtime 'stubb'; did you mean 'stub"),
        ({"model": {"id_or_path": "absent"}}, "absent is ready on no node"),
        ({"benchmark": {"results": "pvc://resultz/x"}}, "no claim 'resultz'.*manifests claim"),
        ({"deploy": {"caches": "pvc://kernelz/x"}}, "no claim 'kernelz'"),
        ({"deploy": {"gpus": 2}}, r"takes 4 GPUs \(tp_size=.*deploy.gpus allows 2"),
        ({"engine": {"env": {"A": "{{ .Name }}"}}}, "has '{{' in"),
        (
            {"executor": "benchmark_job", "benchmark": {"results": "gs://bucket/x"}},
            "gs://bucket/x cannot be read from here: .*try: install the package it names",
        ),
        ({"executor": "benchmark_job"}, "a BenchmarkJob needs a location for its results"),
        ({"model": {"id_or_path": "m" * 64}}, "^FAIL  model name 'm+' has 64 characters, and a label has at most 63"),
        ({"deploy": {"runtime": "r" * 64}}, "^FAIL  runtime name 'r+' has 64 characters, and a label has at most 63"),
        ({"model": {"id_or_path": "Qwen/Qwen3-8B"}}, "'Qwen/Qwen3-8B' is no valid model name in a cluster: use low"),
        ({"deploy": {"runtime": "stub_1"}}, "'stub_1' is no valid runtime name in a cluster"),
        ({"deploy": {"resources": {"cpu": "many"}}}, "deploy.resources: 'many' is no quantity; write one such as"),
    ],
)
def test_each_thing_that_is_wrong_is_told_in_a_line(
    answers: Callable[..., list[CheckResult]], sections: dict[str, Any], told: str
) -> None:
    (line,) = bad(answers(**sections))
    assert re.search(told, line), line
    assert line.startswith("FAIL")


def test_a_quota_below_the_largest_trial(
    answers: Callable[..., list[CheckResult]], cluster: TestCluster, namespace: str
) -> None:
    hard = {"requests.nvidia.com/gpu": "2"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}}
    cluster.create(quota, namespace)
    (line,) = bad(answers())
    numbers = "the largest trial takes 4 GPUs (tp_size=4, dp_size=1): 4 of nvidia.com/gpu, and quota small allows 2"
    assert f"{numbers} (requests.nvidia.com/gpu)" in line
    assert "within 1 quota" in str(answers(deploy={"gpus_per_trial": 2}))


def test_a_service_of_somebody_elses_with_a_trials_name(
    answers: Callable[..., list[CheckResult]], cluster: TestCluster, namespace: str
) -> None:
    name = trial_name("chat", "s-1", 3)
    assert "no other Service has a trial's name" in str(answers())
    spec = {"ports": [{"port": 80}]}
    cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}, namespace)
    (line,) = bad(answers())
    assert f"service {name} is not this study's" in line


def test_a_check_knows_the_names_of_a_study_that_is_there(cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
    where = {"kubeconfig": cluster.kubeconfig, "namespace": namespace, "gpus_per_trial": 1}
    task = task_of(deploy=where, budget={"trials": 3})
    (tmp_path / "task.json").write_text(task.model_dump_json())
    folder = StudyFolder(tmp_path / "study")
    # No study, no names: nothing is said to have been looked at.
    before = str(check(task, study=folder.path))
    assert "with an ending for each study" in before
    assert "checked when the study starts" in before
    assert not folder.path.exists()
    folder.create()
    folder.write_task(task)
    label = folder.label(folder.ensure_metadata(None)["id"])
    name = trial_name("chat", label, 2)
    spec = {"ports": [{"port": 80}]}
    cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}, namespace)
    (line,) = [str(answer) for answer in check(task, study=folder.path).answers if not answer.ok]
    assert f"service {name} is not this study's" in line
    told = CliRunner().invoke(cli, ["check", str(tmp_path / "task.json"), "--study", str(folder.path), "--dry-run"])
    assert told.exit_code == 2, told.output
    assert line in told.output
    # The manifests are those of that study.
    manifests = [one for one in yaml.safe_load_all(told.stdout.partition("---")[2]) if one]
    assert [one["metadata"]["name"] for one in manifests if one["kind"] == "InferenceService"] == [
        trial_name("chat", label, trial) for trial in (0, 1)
    ]
    assert all(one["metadata"]["labels"][STUDY_LABEL] == label for one in manifests)
    other = check(task_of(deploy=where, model={"id_or_path": "absent"}), study=folder.path)
    assert "model.id_or_path differs from the task of the study" in str(other)


def test_a_dry_run_shows_what_a_run_would_make(cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
    """Each executor's, that which asks the engine for OME's name of the model too."""
    cluster.claim(namespace, "results")
    for executor in ("job", "benchmark_job"):
        task = with_overrides(
            task_of(model={"served_name": "mine"}),
            kubeconfig=cluster.kubeconfig, namespace=namespace, executor=executor, results="pvc://results/x",
        )  # fmt: skip
        engine = engine_for(task)

        async def as_made(task: Task = task) -> list[Any]:
            session = ClusterSession(task, study_label="s-1")
            deployer = OmeDeployer(task, engine_for(task), session, folder=tmp_path)
            await session.open()
            try:
                deployer._model_and_runtime, deployer._model = await find_model_and_runtime(session.cluster, task)
                first = {"tp_size": 1, "dp_size": 1, "schedule_policy": "fcfs"}
                requests = [deploy_request(tmp_path, trial=n, params=p) for n, p in enumerate(({}, first))]
                return [deployer._service_manifest(request) for request in requests]
            finally:
                await session.close()

        shown = in_loop(dry_run(task, engine, label="s-1"))
        assert not [one.error for one in shown if one.error]
        assert [one.body for one in shown if one.kind is INFERENCE_SERVICE] == in_loop(as_made())
        args = shown[0].body["spec"]["engine"]["runner"]["args"]
        name = "vllm-model" if executor == "benchmark_job" else "mine"
        assert args[args.index("--served-model-name") + 1] == name
        if executor == "job":
            (job,) = (one.body for one in shown if one.kind is JOB)
            asked = json.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][0])["argv"]
            assert asked[asked.index("--api-model-name") + 1] == "mine"
            # The port is the runtime's.
            assert asked[asked.index("--api-base") + 1].endswith(".svc.cluster.local:8080")


def test_a_namespace_that_is_not_there(answers: Callable[..., list[CheckResult]]) -> None:
    assert any("there is no namespace nowhere" in line for line in bad(answers(deploy={"namespace": "nowhere"})))


def test_a_cluster_that_is_not_reached_is_the_only_answer(
    answers: Callable[..., list[CheckResult]], proxy: FaultProxy
) -> None:
    with proxy.down():
        (line,) = bad(answers())
    assert "the cluster is unreachable" in line


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({"status": 404}, "OME is not installed"),
        ({"versions": ["v1"]}, "OME serves v1 of ome.io, and this version needs v1beta1"),
        ({"versions": []}, "OME serves no version of ome.io"),
    ],
)
def test_another_version_of_ome(
    answers: Callable[..., list[CheckResult]], proxy: FaultProxy, group: dict[str, Any], told: str
) -> None:
    body = {"versions": [{"version": one} for one in group.get("versions", [])]}
    status = group.get("status", 200)
    proxy.add("GET", r"^/apis/ome\.io$", status=status, body=body if status == 200 else None, times=9)
    assert any(told in line for line in bad(answers()))


def test_a_newer_version_of_ome_beside_ours_is_told_and_well(
    answers: Callable[..., list[CheckResult]], proxy: FaultProxy
) -> None:
    body = {"versions": [{"version": one} for one in ("v2", "v1beta1", "v1")]}
    proxy.add("GET", r"^/apis/ome\.io$", status=200, body=body)
    found = answers()
    assert not bad(found)
    assert "ok    OME's CRDs serve ome.io/v1beta1, besides v2, v1" in map(str, found)


def test_what_may_not_be_looked_at_is_said_in_its_place(
    answers: Callable[..., list[CheckResult]], cluster: TestCluster, namespace: str, tmp_path: Path
) -> None:
    printed = CliRunner().invoke(cli, ["manifests", "rbac", "--namespace", namespace]).output
    for resource in ("resourcequotas", "persistentvolumeclaims"):
        printed = re.sub(rf".*resources: \[{resource}\].*\n", "", printed)
    printed = printed.replace("[clusterbasemodels, clusterservingruntimes,", "[clusterservingruntimes,")
    file = cluster.account(namespace, printed, "autotune-nb", tmp_path / "less")
    found = answers(deploy={"kubeconfig": str(file)}, benchmark={"results": "pvc://results/x", "results_size": "1Gi"})
    missing, *unseen = bad(found)
    for right in ("list resourcequotas", "get persistentvolumeclaims", "create persistentvolumeclaims",
                  "get clusterbasemodels.ome.io"):  # fmt: skip
        assert right in missing
    whats = ("the model", "quotas", "the location for results")
    assert len(unseen) == len(whats)
    for line, what in zip(unseen, whats, strict=True):
        assert f"{what} could not be read: " in line
        assert "manifests rbac" in line
    assert f"namespace {namespace}; this account may not check that it exists" in str(found)


def test_questions_are_asked_at_once_and_answered_in_order(
    answers: Callable[..., list[CheckResult]], proxy: FaultProxy
) -> None:
    in_order = [answer.text for answer in answers()]
    for path in (r"^/api/v1/namespaces/[^/]+$", r"^/apis/ome\.io$", "/resourcequotas", "/clusterservingruntimes/"):
        proxy.add("GET", path, together=4)
    # One after the other, the first would wait for the others for ever.
    assert [answer.text for answer in answers()] == in_order


def test_every_missing_right_is_named_and_a_missing_delete_refuses(
    cluster: TestCluster, namespace: str, tmp_path: Path
) -> None:
    printed = CliRunner().invoke(cli, ["manifests", "rbac", "--namespace", namespace])
    assert printed.exit_code == 0, printed.output
    whole = printed.output
    less = whole.replace(
        "resources: [inferenceservices, benchmarkjobs], verbs: [get, list, watch, create, delete]",
        "resources: [inferenceservices, benchmarkjobs], verbs: [get, list, watch, create]",
    )
    assert less != whole
    file = cluster.account(namespace, less, "autotune-nb", tmp_path / "less")
    task = task_of(deploy={"kubeconfig": str(file), "namespace": namespace})
    found = check(task)
    (line,) = [str(answer) for answer in found.answers if not answer.ok]
    assert "missing permissions" in line
    assert "delete inferenceservices.ome.io" in line
    assert "manifests rbac" in line


def test_the_printed_role_is_enough_for_every_executor(cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli, ["manifests", "rbac", "--namespace", namespace])
    file = cluster.account(namespace, printed.output, "autotune-nb", tmp_path / "role")
    cluster.claim(namespace, "results")
    for executor in ("job", "direct", "benchmark_job"):
        where = {"kubeconfig": str(file), "namespace": namespace, "executor": executor}
        found = check(with_overrides(task_of(), **where, results="pvc://results/x"))  # type: ignore[arg-type]
        assert found.ok, str(found)


def test_a_check_of_what_runs_here() -> None:
    local = {**BASE, "deploy": {"kind": "local"}, "model": "/no/such/model.gguf", "engine": "llama_cpp",
             "parameters": {"threads": [1]}, "rules": []}  # fmt: skip
    found = check(Task.parse(local))
    assert not found.ok
    assert "there is no model" in str(found)


def test_a_check_shows_itself_in_a_notebook() -> None:
    found = check(task_of(deploy={"kubeconfig": "/no/such/file"}))
    assert not found.ok
    assert "there is no kubeconfig file" in found._repr_html_()
    assert found.to_dict()["ok"] is False


_EIGHT = {"type": "int", "low": 1, "high": 8}
_FLOAT = {"type": "float", "low": 0.7, "high": 0.9}


@pytest.mark.parametrize(
    ("parameters", "rules", "gpus"),
    [
        ({"tp_size": _EIGHT}, [], 8),
        # A float has no end of points, and 8 * 8 * 512 are many: what the rules say of the sizes holds all the same.
        ({"tp_size": _EIGHT, "dp_size": _EIGHT, "mem_fraction_static": _FLOAT}, ["tp_size * dp_size <= 8"], 8),
        (
            {"tp_size": _EIGHT, "dp_size": _EIGHT, "max_running_requests": {"type": "int", "low": 1, "high": 512}},
            ["tp_size * dp_size <= 6"],
            6,
        ),
        # The engine's own: tp_size % attn_dp_size == 0, and attn_dp_size == 1 or dp_size == 1.
        ({"tp_size": [1, 3, 8], "attn_dp_size": [3], "mem_fraction_static": _FLOAT}, [], 3),
        # Through another parameter, and what a sampler draws between the powers of two.
        (
            {"tp_size": {**_EIGHT, "log": True}, "max_running_requests": [10, 20], "mem_fraction_static": _FLOAT},
            ["tp_size * max_running_requests <= 60"],
            6,
        ),
        # Whether it holds hangs on the float: then the sizes count.
        ({"tp_size": _EIGHT, "mem_fraction_static": _FLOAT}, ["tp_size * mem_fraction_static <= 2"], 8),
        ({"tp_size": {"type": "int", "low": 1, "high": 10**9}, "mem_fraction_static": _FLOAT}, [], 10**9),
    ],
)
def test_the_largest_trial_is_that_of_the_sizes_that_rules_leave(
    parameters: dict[str, Any], rules: list[str], gpus: int
) -> None:
    task = Task.parse({**BASE, "rules": rules, "parameters": parameters})
    found, why = largest_trial(task, engine_for(task))
    assert found == gpus
    assert math.prod(why[name] for name in ("tp_size", "dp_size") if name in why) == gpus


def test_a_fixed_number_of_gpus_is_that_of_every_trial() -> None:
    fixed = task_of(deploy={"gpus_per_trial": 3})
    assert largest_trial(fixed, engine_for(fixed)) == (3, {})


def test_what_a_task_brings_along_is_made_once_and_kept(cluster: TestCluster, namespace: str) -> None:
    model = {"modelFormat": {"name": "gguf", "version": "1"}, "storage": {"path": "/m", "storageUri": "hf://a/b"}}
    runtime = {"supportedModelFormats": [{"modelFormat": {"name": "gguf"}, "modelFramework": {"name": "x"}}],
               "engineConfig": {"runner": {"name": "ome-container", "image": "x"}}}  # fmt: skip
    task = task_of(
        model={"id_or_path": f"m-{namespace}"},
        deploy={
            "kubeconfig": cluster.kubeconfig,
            "namespace": namespace,
            "runtime": f"r-{namespace}",
            "clusterbasemodel": model,
            "clusterservingruntime": runtime,
        },
        benchmark={"results": "pvc://made/x", "results_size": "1Gi"},
    )
    said: list[str] = []

    async def scenario(task: Task) -> None:
        session = ClusterSession(task, study_label="s")
        session.notify = said.append
        await session.open()
        try:
            await provision(session, task)
        finally:
            await session.close()

    # No node has it: it is made, and waited for in vain.
    with pytest.raises(SetupError, match="is ready on no node after 3 s"):
        in_loop(scenario(task))
    in_loop(scenario(task))
    assert cluster.get(CLUSTER_BASE_MODEL.path("", f"m-{namespace}"))["spec"]["storage"]["path"] == "/m"
    assert cluster.get(CLUSTER_SERVING_RUNTIME.path("", f"r-{namespace}"))
    assert cluster.get(CLAIM.path(namespace, "made"))["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert sum("was created; it remains after the study" in text for text in said) == 3
    said.clear()
    other = {
        **task.deploy.model_dump(),
        "clusterbasemodel": None,
        "clusterservingruntime": {**runtime, "disabled": True},
    }
    in_loop(scenario(Task.parse({**task.model_dump(), "deploy": other})))
    (line,) = said
    assert f"r-{namespace} exists and differs from deploy.clusterservingruntime" in line


def test_a_task_that_brings_its_model_and_its_runtime_along_has_its_trials_on_them(
    cluster: TestCluster, namespace: str, tmp_path: Path, cluster_wide: Callable[[Kind, str], None]
) -> None:
    model, runtime = BROUGHT, f"r-{namespace}"
    cluster_wide(CLUSTER_BASE_MODEL, model)
    cluster_wide(CLUSTER_SERVING_RUNTIME, runtime)
    tiny = cluster.get(CLUSTER_BASE_MODEL.path("", "tiny"))["spec"]
    stub = cluster.get(CLUSTER_SERVING_RUNTIME.path("", "stub"))["spec"]
    if EXTERNAL:
        tell_of(cluster, model)
    task = task_of(
        model={"id_or_path": model},
        deadlines={"ready_s": 30, "pending_s": 30, "stop_s": 3},
        deploy={
            "kubeconfig": cluster.kubeconfig,
            "namespace": namespace,
            "runtime": runtime,
            "gpus_per_trial": 0,
            "clusterbasemodel": tiny,
            "clusterservingruntime": stub,
        },
        benchmark={"executor": "job", "results": "pvc://made/x", "results_size": "1Gi"},
    )
    said: list[str] = []
    asked: set[tuple[str, str]] = set()

    async def scenario() -> None:
        session = ClusterSession(task, study_label="s-1")
        session.notify = said.append
        deployer = OmeDeployer(task, engine_for(task), session, folder=tmp_path)
        await deployer.prepare()
        try:
            async with deployer.deploy(deploy_request(tmp_path / "trial", params={"tp_size": 1})) as deployment:
                # It answers, on the model's path and with the runtime's own command.
                assert deployment.endpoint.service is not None
                assert deployment.endpoint.service.model_path == tiny["storage"]["path"]
                assert {"--tp-size", "1"} <= set(deployment.endpoint.command)
                assert deployment.endpoint.fingerprint["image"] == "engine/test:1"
        finally:
            assert await deployer.close() == []
        asked.update(session.cluster.requests)

    in_loop(scenario())
    assert [line for line in said if "was created; it remains after the study" in line] == [
        f"ClusterBaseModel {model} was created; it remains after the study",
        f"ClusterServingRuntime {runtime} was created; it remains after the study",
        "PersistentVolumeClaim made was created; it remains after the study",
    ]
    # Whatever it asked of the server was a need, but for what anybody may ask and what it does without.
    needs = {(right.verb, right.name) for right in required_by(task, "job", inside=False)}
    verbs = {"GET": ("get", "list"), "POST": ("create",), "PUT": ("update",), "DELETE": ("delete",),
             "WATCH": ("watch",), "CONNECT": ("get", "create")}  # fmt: skip
    free = (
        "selfsubjectaccessreviews.authorization.k8s.io",
        "namespaces",
        "basemodels.ome.io",
        "servingruntimes.ome.io",
    )
    assert [
        (verb, resource)
        for verb, resource in asked
        if not resource.startswith("/")
        and resource not in free
        and not any((one, resource.replace("portforward", "pods/portforward")) in needs for one in verbs[verb])
    ] == []
    assert {("WATCH", "deployments.apps"), ("CONNECT", "portforward"), ("POST", "persistentvolumeclaims")} <= asked
    assert cluster.get(CLUSTER_BASE_MODEL.path("", model))["status"]["state"] == "Ready"


def tell_of(cluster: TestCluster, model: str) -> None:
    """What OME's model agent does once a node has a model's weights."""
    (node,) = cluster.get("/api/v1/nodes")["items"]
    data = {f"clusterbasemodel.{model}": json.dumps({"name": model, "status": "Ready"})}
    path = f"/api/v1/namespaces/ome/configmaps/{node['metadata']['name']}"
    assert cluster.call("PATCH", path, {"data": data})[0] == 200


@pytest.fixture
def cluster_wide(cluster: TestCluster) -> Iterator[Callable[[Kind, str], None]]:
    """Objects of the whole cluster that go with the test."""
    made: list[str] = []
    yield lambda kind, name: made.append(kind.path("", name))
    for path in made:
        cluster.delete(path)


class _Bucket(fsspec.AbstractFileSystem):
    """Stands for a storage whose package is installed: it lists what it is told to, or raises."""

    protocol = "gs"
    there: ClassVar[dict[str, Exception | None]] = {}
    #: If there is one, no request is answered before it is set.
    gate: ClassVar[threading.Event | None] = None

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[str]:
        assert not detail
        if self.gate is not None:
            self.gate.wait()
        found = self.there.get(path, FileNotFoundError(path))
        if found is not None:
            raise found
        return []


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ({"bucket/x": None}, "ok    results go to gs://bucket/x, which can be read from here"),
        # A prefix nobody has written to yet; also for who may list prefixes alone.
        ({"bucket": None}, "ok    results go to gs://bucket/x"),
        ({"bucket": PermissionError("no")}, "ok    results go to gs://bucket/x"),
        ({}, "FAIL  there is no bucket gs://bucket (try: create it, or give another in benchmark.results)"),
        (
            {"bucket/x": PermissionError("Forbidden")},
            "cannot be read from here: PermissionError: Forbidden (try: results",
        ),
        ({"bucket/x": OSError("no\nroute")}, "FAIL  gs://bucket/x cannot be read from here: OSError: no route (try: "),
    ],
)
def test_a_bucket_is_really_reached(
    answers: Callable[..., list[CheckResult]],
    monkeypatch: pytest.MonkeyPatch,
    there: dict[str, Exception | None],
    told: str,
) -> None:
    monkeypatch.setitem(_registry, "gs", _Bucket)
    monkeypatch.setattr(_Bucket, "there", there)
    found = answers(executor="benchmark_job", benchmark={"results": "gs://bucket/x"})
    (line,) = [str(answer) for answer in found if "gs://" in answer.text]
    assert told in line
    assert not [other for other in bad(found) if other != line]


def test_a_bucket_that_does_not_answer_holds_nothing_up(
    answers: Callable[..., list[CheckResult]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_registry, "gs", _Bucket)
    monkeypatch.setattr(_Bucket, "gate", gate := threading.Event())
    monkeypatch.setattr(results_place, "BUCKET_TIMEOUT_S", 0.1)
    try:
        (line,) = bad(answers(executor="benchmark_job", benchmark={"results": "gs://bucket/x"}))
    finally:
        gate.set()
    assert "gs://bucket/x cannot be read from here: no response within 0.1 s" in line


@pytest.mark.parametrize(
    ("executor", "results", "told"),
    [
        ("job", "gs://bucket/x", "gs://bucket/x is not used: executor job reads its files from its pod's log"),
        (
            "direct",
            "gs://bucket/x",
            "gs://bucket/x is not used: executor direct stores its files in the study's folder",
        ),
        (
            "direct",
            "pvc://claim/x",
            "pvc://claim/x is not used: executor direct stores its files in the study's folder",
        ),
    ],
)
def test_a_place_that_an_executor_does_not_use_is_said_to_be_unused(
    answers: Callable[..., list[CheckResult]], executor: str, results: str, told: str
) -> None:
    found = answers(executor=executor, benchmark={"results": results})
    assert not bad(found)
    assert told in [answer.text for answer in found]


def test_a_run_that_may_make_no_jobs_is_asked_for_none(
    answers: Callable[..., list[CheckResult]], cluster: TestCluster, namespace: str, tmp_path: Path
) -> None:
    printed = CliRunner().invoke(cli, ["manifests", "rbac", "--namespace", namespace]).output
    less = printed.replace("resources: [jobs], verbs: [get, list, watch, create, delete]",
                           "resources: [jobs], verbs: [get, list, watch]")  # fmt: skip
    assert less != printed
    file = cluster.account(namespace, less, "autotune-nb", tmp_path / "role")
    found = answers(executor="", deploy={"kubeconfig": str(file)})
    assert any("permissions for executor direct" in answer.text for answer in found if answer.ok)


@pytest.mark.parametrize("kind", [*STUDY_KINDS, LEASE], ids=lambda kind: kind.plural)
def test_what_a_sweep_lists_is_among_the_rights_asked_about(kind: Kind) -> None:
    listed = {right.resource for right in required("direct", inside=True) if right.verb == "list"}
    assert kind.plural in listed
