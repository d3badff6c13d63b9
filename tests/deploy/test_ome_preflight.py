"""What is asked before anything is made, and what a task brings along."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from autotune_nb.cli import cli
from autotune_nb.cluster.found import MADE
from autotune_nb.cluster.kinds import CLAIM, CLUSTER_BASE_MODEL, CLUSTER_SERVING_RUNTIME, LEASE, Kind
from autotune_nb.cluster.names import trial_name
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy.ome.largest import largest_trial
from autotune_nb.deploy.ome.permissions import needed
from autotune_nb.deploy.ome.preflight import Answer, preflight
from autotune_nb.deploy.ome.provision import provision
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import SetupError
from autotune_nb.session import check, with_overrides
from autotune_nb.task import Task
from tests.kubernetes.handle import TestCluster
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import in_loop

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
def answers(kubeconfig: Path, namespace: str) -> Callable[..., list[Answer]]:
    def ask(executor: str = "job", **sections: Any) -> list[Answer]:
        deploy = {"kubeconfig": str(kubeconfig), "namespace": namespace, **sections.pop("deploy", {})}
        task = task_of(deploy=deploy, **sections)

        async def scenario() -> list[Answer]:
            session = ClusterSession(task, study_label="s-1")
            try:
                await session.open()
                session.cluster.patience_s = 1.0
                return await preflight(session, task, engine_for(task), executor=executor)
            finally:
                await session.close()

        return in_loop(scenario())

    return ask


def bad(found: list[Answer]) -> list[str]:
    return [str(answer) for answer in found if not answer.ok]


def test_all_is_well_where_it_is(answers: Callable[..., list[Answer]], cluster: TestCluster, namespace: str) -> None:
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
        ({"deploy": {"gpus": 2}}, r"takes 4 GPUs \(tp_size=.*deploy.gpus allows 2"),
        ({"engine": {"env": {"A": "{{ .Name }}"}}}, "has '{{' in"),
        ({"benchmark": {"results": "gs://bucket/x"}}, "cannot be read from here"),
    ],
)
def test_each_thing_that_is_wrong_is_told_in_a_line(
    answers: Callable[..., list[Answer]], sections: dict[str, Any], told: str
) -> None:
    (line,) = bad(answers(**sections))
    assert re.search(told, line), line
    assert line.startswith("FAIL")


def test_a_quota_below_the_largest_trial(
    answers: Callable[..., list[Answer]], cluster: TestCluster, namespace: str
) -> None:
    hard = {"requests.nvidia.com/gpu": "2"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}}
    cluster.create(quota, namespace)
    (line,) = bad(answers())
    assert "quota small allows 2" in line


def test_a_service_of_somebody_elses_with_a_trials_name(
    answers: Callable[..., list[Answer]], cluster: TestCluster, namespace: str
) -> None:
    name = trial_name("chat", "s-1", 3)
    spec = {"ports": [{"port": 80}]}
    cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}, namespace)
    (line,) = bad(answers())
    assert f"service {name} is somebody else's" in line


def test_a_namespace_that_is_not_there(answers: Callable[..., list[Answer]]) -> None:
    assert any("there is no namespace nowhere" in line for line in bad(answers(deploy={"namespace": "nowhere"})))


def test_a_cluster_that_is_not_reached_is_the_only_answer(
    answers: Callable[..., list[Answer]], proxy: FaultProxy
) -> None:
    with proxy.down():
        (line,) = bad(answers())
    assert "the cluster is not reached" in line


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({"status": 404}, "OME is not installed"),
        ({"versions": ["v1"]}, "OME serves v1 of ome.io, and this version needs v1beta1"),
    ],
)
def test_another_version_of_ome(
    answers: Callable[..., list[Answer]], proxy: FaultProxy, group: dict[str, Any], told: str
) -> None:
    body = {"versions": [{"version": one} for one in group.get("versions", [])]}
    status = group.get("status", 200)
    proxy.add("GET", r"^/apis/ome\.io$", status=status, body=body if status == 200 else None, times=9)
    assert any(told in line for line in bad(answers()))


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
    assert sum("was made, and stays" in text for text in said) == 3
    said.clear()
    other = {
        **task.deploy.model_dump(),
        "clusterbasemodel": None,
        "clusterservingruntime": {**runtime, "disabled": True},
    }
    in_loop(scenario(Task.parse({**task.model_dump(), "deploy": other})))
    (line,) = said
    assert f"r-{namespace} is there and differs from deploy.clusterservingruntime" in line


def test_a_run_that_may_make_no_jobs_is_asked_for_none(
    answers: Callable[..., list[Answer]], cluster: TestCluster, namespace: str, tmp_path: Path
) -> None:
    printed = CliRunner().invoke(cli, ["manifests", "rbac", "--namespace", namespace]).output
    less = printed.replace("resources: [jobs], verbs: [get, list, watch, create, delete]",
                           "resources: [jobs], verbs: [get, list, watch]")  # fmt: skip
    assert less != printed
    file = cluster.account(namespace, less, "autotune-nb", tmp_path / "role")
    found = answers(executor="", deploy={"kubeconfig": str(file)})
    assert any("permissions for executor direct" in answer.text for answer in found if answer.ok)


@pytest.mark.parametrize("kind", [*MADE, LEASE], ids=lambda kind: kind.plural)
def test_what_a_sweep_lists_is_among_the_rights_asked_about(kind: Kind) -> None:
    listed = {right.resource for right in needed("direct", inside=True) if right.verb == "list"}
    assert kind.plural in listed
