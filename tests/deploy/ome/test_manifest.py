"""The InferenceService of a configuration: all required fields, and no value that changes the structure."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune_nb.cluster.kinds import BASE_MODEL, CLUSTER_BASE_MODEL, SERVING_RUNTIME
from autotune_nb.cluster.quantity import quantity
from autotune_nb.cluster.templates import Templates
from autotune_nb.deploy.ome._live_pod_check import differences, gpus_of
from autotune_nb.deploy.ome.manifest import ModelAndRuntime, gpus_needed, inference_service, manifest_text
from autotune_nb.deploy.ome.model_and_runtime import several_pods
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.task.task import Task

HANDLER = {"httpGet": {"path": "/health_generate", "port": 8080}}
RUNNER = {"name": "ome-container", "command": ["python3"], "startupProbe": HANDLER, "readinessProbe": HANDLER}
METADATA = {
    "name": "at-t-t0001-abc",
    "namespace": "tune",
    "labels": {"autotune-nb/study": "s", "autotune-nb/trial": "1"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}],
}
BASE: dict[str, Any] = {
    "name": "t",
    "model": "qwen",
    "engine": {"kind": "sglang"},
    "parameters": {"tp_size": [1, 2], "dp_size": [1, 2]},
    "workload": {"scenarios": ["D(16,8)"], "concurrency": [1]},
    "objective": "maximize output_tokens_per_s",
    "deadlines": {"ready_s": 90.5},
    "deploy": {"kind": "ome", "runtime": "srt"},
}


def made(
    params: dict[str, Any] | None = None,
    *,
    model_and_runtime: ModelAndRuntime | None = None,
    own: Path | None = None,
    **changes: Any,
) -> Any:
    task = Task.parse({**BASE, **changes})
    model_and_runtime = model_and_runtime or ModelAndRuntime(CLUSTER_BASE_MODEL, None, RUNNER)
    return inference_service(task, engine_for(task), params or {}, model_and_runtime, Templates(own), METADATA)


def test_it_says_what_ome_needs() -> None:
    found = made({"tp_size": 2})
    assert found["metadata"] == METADATA
    spec = found["spec"]
    assert spec["model"] == {"name": "qwen"}
    assert spec["runtime"] == {"name": "srt"}
    engine = spec["engine"]
    assert (engine["minReplicas"], engine["maxReplicas"]) == (1, 1)
    assert engine["terminationGracePeriodSeconds"] == 20
    runner = engine["runner"]
    assert runner["name"] == "ome-container"
    assert runner["args"] == ["--tp-size", "2"]
    assert "command" not in runner
    assert runner["resources"] == {"requests": {"nvidia.com/gpu": "2"}, "limits": {"nvidia.com/gpu": "2"}}
    # The handlers stay the runtime's; a delay of 0 would be dropped in the merge.
    assert runner["startupProbe"] == {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 151}
    assert runner["readinessProbe"] == {"periodSeconds": 10}


def test_a_runtime_without_probes_gets_whole_ones() -> None:
    runner = {"name": "c", "ports": [{"containerPort": 9000}]}
    found = made(model_and_runtime=ModelAndRuntime(CLUSTER_BASE_MODEL, None, runner))["spec"]["engine"]["runner"]
    assert found["startupProbe"]["httpGet"]["port"] == 9000
    assert found["readinessProbe"]["httpGet"]["path"].startswith("/health")


def test_kinds_of_the_namespace_are_named_and_no_runtime_is_left_out() -> None:
    spec = made(model_and_runtime=ModelAndRuntime(BASE_MODEL, SERVING_RUNTIME, RUNNER))["spec"]
    assert spec["model"]["kind"] == "BaseModel"
    assert spec["runtime"]["kind"] == "ServingRuntime"
    assert "runtime" not in made(deploy={"kind": "ome"})["spec"]


@pytest.mark.parametrize(
    ("params", "deploy", "gpus"),
    [
        ({}, {}, 1),
        ({"tp_size": 2}, {}, 2),
        ({"tp_size": 2, "dp_size": 2}, {}, 4),
        ({"tp_size": 2}, {"gpus_per_trial": 8}, 8),
        ({"tp_size": 2}, {"gpus_per_trial": 0}, 0),
    ],
)
def test_gpus_follow_the_parallel_sizes_where_the_task_names_none(
    params: dict[str, Any], deploy: dict[str, Any], gpus: int
) -> None:
    changes = {"deploy": {**BASE["deploy"], **deploy}}
    task = Task.parse({**BASE, **changes})
    assert gpus_needed(task, engine_for(task), params) == gpus
    runner = made(params, **changes)["spec"]["engine"]["runner"]
    assert gpus_of(runner, "nvidia.com/gpu") == gpus
    assert ("resources" in runner) is (gpus > 0)


@pytest.mark.parametrize(
    ("runner", "params", "args", "gpus"),
    [
        ({"args": ["--tp-size=4"]}, {}, {}, 4),
        ({"args": ["--tp", "4", "--dp-size", "2"]}, {}, {}, 8),
        ({"args": ["--tp", "8", "--dp-size", "8", "--enable-dp-attention"]}, {}, {}, 8),
        ({"command": ["sh", "-c"], "args": ["exec sglang serve \\\n  --tp-size 4"]}, {}, {}, 4),
        ({"args": ["--tp", "4"]}, {"tp_size": 2}, {}, 2),
        ({"args": ["--tp", "4"]}, {"dp_size": 2}, {}, 8),
        ({"args": ["--tp", "$(PARALLELISM_SIZE)"], "resources": {"limits": {"nvidia.com/gpu": 4}}}, {}, {}, 4),
        ({"resources": {"requests": {"nvidia.com/gpu": "2"}}}, {}, {}, 2),
        ({"resources": {"limits": {"nvidia.com/gpu": 4}}}, {}, {"tp_size": 2}, 2),
        ({"resources": {"limits": {"nvidia.com/gpu": 4}}}, {"tp_size": 2}, {}, 2),
    ],
)
def test_gpus_that_the_task_does_not_set_are_the_runtimes(
    runner: dict[str, Any], params: dict[str, Any], args: dict[str, Any], gpus: int
) -> None:
    found = made(
        params,
        model_and_runtime=ModelAndRuntime(CLUSTER_BASE_MODEL, None, {**RUNNER, **runner}),
        engine={"kind": "sglang", "args": args},
        parameters={name: [value] for name, value in params.items()} or {"page_size": [1]},
    )
    assert gpus_of(found["spec"]["engine"]["runner"], "nvidia.com/gpu") == gpus


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"engineConfig": {"runner": RUNNER}}, ""),
        ({"containers": [RUNNER]}, ""),
        ({"engineConfig": {"leader": {"runner": RUNNER}, "worker": {"size": 1}}}, "a leader and a worker"),
        ({"engineConfig": {"runner": RUNNER}, "decoderConfig": {"runner": RUNNER}}, "a decoder"),
    ],
)
def test_a_runtime_that_needs_several_pods_is_recognized(spec: dict[str, Any], parts: str) -> None:
    assert several_pods({"spec": spec}) == parts


def test_resources_and_variables_come_along() -> None:
    runner = made(
        engine={"kind": "sglang", "env": {"A": "1: {x}"}},
        deploy={**BASE["deploy"], "resources": {"cpu": 4, "memory": "8Gi"}, "gpu_resource": "amd.com/gpu"},
    )["spec"]["engine"]["runner"]
    assert runner["resources"]["limits"] == {"cpu": "4", "memory": "8Gi", "amd.com/gpu": "1"}
    assert runner["env"] == [{"name": "A", "value": "1: {x}"}]


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (8589934592, "8589934592"),
        (1234567.5, "1234567.5"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (2.0, "2"),
        ("1Ei", "1Ei"),
    ],
)
def test_an_amount_is_written_in_full(amount: Any, written: str) -> None:
    deploy = {**BASE["deploy"], "resources": {"memory": amount}}
    assert made(deploy=deploy)["spec"]["engine"]["runner"]["resources"]["limits"]["memory"] == written


def test_the_model_is_called_as_whoever_benchmarks_it_asks_for_it() -> None:
    """A trial's engine and the one that is handed on; a BenchmarkJob asks for a name of OME's."""
    for changes, name in (({}, "mine"), ({"benchmark": {"executor": "benchmark_job"}}, "vllm-model")):
        task = Task.parse({**BASE, "model": {"id_or_path": "qwen", "served_name": "mine"}, **changes})
        model_and_runtime, engine = ModelAndRuntime(CLUSTER_BASE_MODEL, None, RUNNER), engine_for(task)
        trial = inference_service(task, engine, {}, model_and_runtime, Templates(), METADATA)
        assert trial["spec"]["engine"]["runner"]["args"] == ["--served-model-name", name]
        handed_on = yaml.safe_load(manifest_text(task, engine, {}, model_and_runtime, Templates(), namespace="n"))
        assert handed_on["spec"]["engine"]["runner"]["args"] == ["--served-model-name", "mine"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_no_value_breaks_out_of_the_manifest(text: str) -> None:
    if "{{" in text or "$(" in text:
        return
    found = made(engine={"kind": "sglang", "raw_args": [text], "env": {"A": text}})
    runner = found["spec"]["engine"]["runner"]
    assert runner["args"] == [text]
    assert runner["env"] == [{"name": "A", "value": text}]
    assert found["metadata"] == METADATA


def test_a_template_of_omes_in_a_variable_is_refused() -> None:
    with pytest.raises(TaskError, match=r"engine\.env\.A"):
        made(engine={"kind": "sglang", "env": {"A": "{{ .Name }}"}})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: {{ metadata.name }}", "name: mine", r"metadata\.name"),
        ("labels: {{ metadata.labels }}", "labels: {}", r"metadata\.labels"),
        ("ownerReferences: {{ metadata.ownerReferences }}", "", r"metadata\.ownerReferences"),
        ("args: {{ runner.args }}", "", r"spec\.engine\.runner\.args"),
        ("name: {{ runner.name }}", "", r"spec\.engine\.runner\.name"),
    ],
)
def test_a_users_template_that_drops_what_a_trial_needs_is_refused(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    own = Path(__file__).parents[3] / "templates" / "inference_service.yaml.j2"
    text = own.read_text()
    assert old in text
    (tmp_path / own.name).write_text(text.replace(old, new))
    with pytest.raises(SetupError, match=told):
        made({"tp_size": 2}, own=tmp_path)


def test_a_users_template_may_add_to_it(tmp_path: Path) -> None:
    own = Path(__file__).parents[3] / "templates" / "inference_service.yaml.j2"
    added = own.read_text().replace("  engine:\n", "  engine:\n    tolerations: [{operator: Exists}]\n")
    (tmp_path / own.name).write_text(added)
    assert made(own=tmp_path)["spec"]["engine"]["tolerations"] == [{"operator": "Exists"}]


def test_what_is_handed_on_has_nothing_of_the_study() -> None:
    task = Task.parse({**BASE, "name": "7 Chat, für alle"})
    text = manifest_text(
        task, engine_for(task), {"tp_size": 2}, ModelAndRuntime(None, None, RUNNER), Templates(), namespace="prod"
    )
    found = yaml.safe_load(text)
    assert found["metadata"] == {"name": "m-7-chat-f-r-alle", "namespace": "prod"}
    assert found["spec"]["engine"]["runner"]["args"] == ["--tp-size", "2"]
    assert "autotune" not in text


ASKED: dict[str, Any] = {
    "name": "c",
    "args": ["--a", "1"],
    "env": [
        {"name": "A", "value": "1"},
        {"name": "EMPTY", "value": ""},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
    ],
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "2"}},
}
OTHER = {"secretKeyRef": {"name": "hub", "key": "other"}}


def test_what_ome_adds_is_no_difference() -> None:
    live = {
        "name": "c",
        "command": ["python3"],
        "args": ["--a", "1"],
        "env": [
            {"name": "MODEL_PATH", "value": "/m"},
            {"name": "EMPTY"},
            {"name": "A", "value": "1"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token", "optional": False}}},
        ],
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi", "x": "1"}, "limits": {"nvidia.com/gpu": 2}},
    }
    assert differences(ASKED, live) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"args": ["--a", "2"]}, "args: requested --a 1, running --a 2"),
        ({"args": None}, "args: requested --a 1, running nothing"),
        ({"env": []}, "env A"),
        ({"env": [*ASKED["env"][:2], {"name": "TOKEN", "value": "x"}]}, "env TOKEN: differs"),
        ({"env": [*ASKED["env"][:2], {"name": "TOKEN", "valueFrom": OTHER}]}, "env TOKEN: differs"),
        ({"env": [{"name": "A", "value": "1", "valueFrom": OTHER}, *ASKED["env"][1:]]}, "env A: differs"),
        ({"resources": {"limits": {"nvidia.com/gpu": "4"}}}, "limits of nvidia.com/gpu: requested 2, got 4"),
        ({"resources": {}}, "requests of cpu: requested 1, got none"),
    ],
)  # fmt: skip
def test_what_was_changed_is_told_with_both_sides(change: dict[str, Any], told: str) -> None:
    found = differences(ASKED, {**ASKED, **change})
    assert any(told in line for line in found)
    assert found


SCALES = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "": "1", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "P": "1e15"}
SCALES |= {"E": "1e18", "e3": "1e3", **{f"{one}i": str(2 ** (10 * n)) for n, one in enumerate("KMGTPE", start=1)}}


@given(st.integers(0, 10**6), st.sampled_from(sorted(SCALES)))
def test_quantities_are_numbers(count: int, suffix: str) -> None:
    assert quantity(f"{count}{suffix}") == count * Decimal(SCALES[suffix])
    with pytest.raises(ValueError, match="no quantity; write one such as"):
        quantity(f"x{suffix}")


def test_a_quantity_is_what_is_written() -> None:
    assert quantity(0.1) == quantity("100m") == quantity(" 0.1 ")
    for wrong in ("nan", "inf", "", "1 Gi x", "ki", "1Q"):
        with pytest.raises(ValueError, match="no quantity"):
            quantity(wrong)


def test_the_claim_of_the_caches_is_mounted_and_named_to_the_engine() -> None:
    engine = made(deploy={**BASE["deploy"], "caches": "pvc://scratch/tuning"})["spec"]["engine"]
    (volume,), (mount,) = engine["volumes"], engine["runner"]["volumeMounts"]
    assert volume == {"name": mount["name"], "persistentVolumeClaim": {"claimName": "scratch"}}
    assert mount["subPath"] == "tuning/sglang"
    env = {one["name"]: one["value"] for one in engine["runner"]["env"]}
    assert env["SGLANG_CACHE_DIR"] == f"{mount['mountPath']}/sglang"
    # Without a claim there is no place that outlives a pod.
    plain = made()["spec"]["engine"]
    assert "volumes" not in plain and "volumeMounts" not in plain["runner"] and "env" not in plain["runner"]
