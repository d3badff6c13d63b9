"""The prototype's task files load unchanged, with a note for everything that is not converted."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import TaskError
from autotune_nb.task.file import PrototypeWarning
from autotune_nb.task.prototype import from_prototype
from autotune_nb.task.task import Task

PROTOTYPE: dict[str, Any] = {
    "task_name": "simple-tune",
    "description": "as the prototype kept it",
    "model": {"name": "llama-3-2-1b-instruct", "namespace": "autotuner"},
    "base_runtime": "llama-3-2-1b-instruct-rt-sglang",
    "parameters": {
        "tp-size": {"type": "choice", "values": [1, 2]},
        "mem_frac": [0.8, 0.85, 0.9],
        "schedule-policy": ["lpm", "fcfs"],
    },
    "optimization": {
        "strategy": "grid_search",
        "objective": "minimize_latency",
        "max_iterations": 5,
        "timeout_per_iteration": 900,
    },
    "benchmark": {
        "task": "text-to-text",
        "traffic_scenarios": ["D(100,100)"],
        "num_concurrency": [1, 4],
        "max_time_per_iteration": 1.5,
        "max_requests_per_iteration": 50,
        "additional_params": {"temperature": "0.0", "stop": "END"},
    },
    "slo": {
        "latency": {
            "p50": {"threshold": 2.0, "weight": 1.0, "hard_fail": False, "fail_ratio": 0.5},
            "p90": {"threshold": 5.0, "hard_fail": True, "fail_ratio": 0.2},
            "p99": {"threshold": 8.0, "hard_fail": True, "fail_ratio": None},
        },
        "ttft": {"threshold": 1.0, "weight": 2.0, "hard_fail": False},
        "tpot": {"threshold": 0.05, "hard_fail": False},
        "steepness": 0.1,
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The prototype's task with the field at a dotted path replaced."""
    data = copy.deepcopy(PROTOTYPE)
    *sections, last = path.split(".")
    at = data
    for name in sections:
        at = at[name]
    at[last] = value
    return data


def quietly(data: Any) -> Task:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrototypeWarning)
        return Task.parse(data)


def notes(data: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Task.parse(data)
    assert {w.category for w in caught} <= {PrototypeWarning}
    return [str(w.message) for w in caught]


def test_every_field_of_the_prototype_arrives_at_its_place(tmp_path: Path) -> None:
    file = tmp_path / "prototype.json"
    file.write_text(json.dumps(PROTOTYPE))
    with pytest.warns(PrototypeWarning):
        task = Task.load(file)
    expected = {
        "name": "simple-tune",
        "description": "as the prototype kept it",
        "model": {"id_or_path": "llama-3-2-1b-instruct", "namespace": "autotuner"},
        "engine": "sglang",
        "parameters": {"tp_size": [1, 2], "mem_frac": [0.8, 0.85, 0.9], "schedule_policy": ["lpm", "fcfs"]},
        "workload": {
            "scenarios": ["D(100,100)"],
            "concurrency": [1, 4],
            "seconds_per_level": 90,
            "requests_per_level": 50,
            "request_params": {"temperature": 0.0, "stop": "END"},
        },
        "objective": "minimize e2e_latency",
        "limits": [
            "e2e_latency_p50_s <= 2",
            "e2e_latency_p90_s <= 6",
            "e2e_latency_p99_s <= 8",
            "ttft_mean_s <= 1",
            "tpot_mean_s <= 0.05",
        ],
        "strategy": "grid",
        "budget": {"trials": 5, "baseline": False},
        "deadlines": {"ready_s": 900, "benchmark_s": 900},
        "deploy": {"kind": "ome", "runtime": "llama-3-2-1b-instruct-rt-sglang", "namespace": "autotuner"},
    }
    assert task == Task.parse(expected)


def test_the_prototypes_flag_names_are_sglangs() -> None:
    task = quietly(PROTOTYPE)
    engine = engine_for(task)
    assert space_for(task, engine).num_allowed == 12
    assert engine.arguments({"tp_size": 2, "mem_frac": 0.8}, task.parameters) == [
        "--tp-size",
        "2",
        "--mem-fraction-static",
        "0.8",
    ]


@pytest.mark.parametrize(
    ("name", "goal"),
    [
        ("minimize_latency", ("minimize", "e2e_latency_mean_s")),
        ("maximize_throughput", ("maximize", "output_tokens_per_s")),
        ("minimize_ttft", ("minimize", "ttft_mean_s")),
        ("minimize_tpot", ("minimize", "tpot_mean_s")),
    ],
)
def test_the_four_objectives_load(name: str, goal: tuple[str, str]) -> None:
    task = quietly(changed("optimization.objective", name))
    assert (task.goal.direction, task.goal.figure) == goal


@pytest.mark.parametrize(("name", "sampler"), [("grid_search", "grid"), ("bayesian", "tpe"), ("random", "random")])
def test_the_three_strategies_load(name: str, sampler: str) -> None:
    assert quietly(changed("optimization.strategy", name)).strategy.sampler == sampler


def test_every_ignored_field_has_a_note() -> None:
    said = notes(PROTOTYPE)
    assert sorted(line.split()[0] for line in said) == [
        "slo.latency.p50.fail_ratio",
        "slo.latency.p50.hard_fail",
        "slo.latency.p50.weight",
        "slo.steepness",
        "slo.tpot.hard_fail",
        "slo.ttft.hard_fail",
        "slo.ttft.weight",
    ]


def test_a_task_that_is_converted_completely_has_no_notes() -> None:
    data = copy.deepcopy(PROTOTYPE)
    data["slo"] = {"latency": {"p99": {"threshold": 8.0, "hard_fail": True}}}
    assert notes(data) == []


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("storage", {"pvc": "x"}, "storage"),
        ("deployment_mode", "docker", "deployment_mode"),
        ("model.id_or_path", "meta/llama", "model.name"),
        ("base_runtime", "custom-rt", "base_runtime"),
        ("benchmark.task", "image-to-text", "benchmark.task"),
    ],
)
def test_what_is_dropped_or_guessed_is_said_by_name(path: str, value: Any, name: str) -> None:
    assert [line.split()[0] for line in notes(changed(path, value)) if not line.startswith("slo.")] == [name]


def test_a_model_that_lies_here_runs_here_and_that_is_said(tmp_path: Path) -> None:
    data = changed("model.id_or_path", str(tmp_path))
    del data["model"]["name"]
    task = quietly(data)
    assert (task.deploy.kind, task.model.namespace) == ("local", None)
    assert [line.split()[0] for line in notes(data) if not line.startswith("slo.")] == [
        "model.namespace",
        "base_runtime",
    ]


@pytest.mark.parametrize(
    ("runtime", "parameters", "engine"),
    [
        ("vllm-rt", {"x": [1]}, "vllm"),
        ("srt-llama", {"x": [1]}, "sglang"),
        ("llama.cpp", {"x": [1]}, "llama_cpp"),
        ("mine", {"max-num-seqs": [1]}, "vllm"),
        ("mine", {"mem_frac": [0.8]}, "sglang"),
        (None, {"tp-size": [1]}, "sglang"),
    ],
)
def test_the_engine_is_read_off_the_runtime_or_else_the_parameters(
    runtime: str | None, parameters: dict[str, Any], engine: str
) -> None:
    assert quietly({**PROTOTYPE, "base_runtime": runtime, "parameters": parameters}).engine.kind == engine


@pytest.mark.parametrize(
    ("path", "value", "begins"),
    [
        ("task_name", "a/b", "task_name: "),
        ("descripton", "x", "descripton: unknown field; did you mean 'description'?"),
        ("model", "x", "model: must be an object"),
        ("model", {}, "model: give name or id_or_path"),
        ("model.nam", "x", "model.nam: unknown field; did you mean 'name'?"),
        ("base_runtime", 5, "base_runtime: "),
        ("parameters", [1], "parameters: must be an object"),
        ("parameters", {}, "parameters: there is nothing to tune"),
        ("parameters", {1: [1]}, "parameters: a name must be text, not 1"),
        ("parameters.tp-size.valeus", [1], "parameters.tp-size.valeus: unknown field; did you mean 'values'?"),
        ("optimization", None, "optimization: must be an object"),
        ("optimization.strategy", "bayes", "optimization.strategy: unknown sampler 'bayes'; did you mean 'bayesian'"),
        ("optimization.objective", "minimize_latensy", "optimization.objective: unknown objective"),
        ("optimization.max_iterations", 0, "optimization.max_iterations: "),
        ("optimization.timeout_per_iteration", 0, "optimization.timeout_per_iteration: "),
        ("optimization.max_iteration", 1, "optimization.max_iteration: unknown field; did you mean 'max_iterations'"),
        ("benchmark.traffic_scenarios", ["X"], "benchmark.traffic_scenarios: "),
        ("benchmark.num_concurrency", [0], "benchmark.num_concurrency[0]: "),
        ("benchmark.max_time_per_iteration", 0, "benchmark.max_time_per_iteration: must be minutes above 0"),
        ("benchmark.max_time_per_iteration", float("inf"), "benchmark.max_time_per_iteration: "),
        ("benchmark.max_requests_per_iteration", 0, "benchmark.max_requests_per_iteration: "),
        ("benchmark.additional_params", [1], "benchmark.additional_params: must be an object"),
        ("benchmark.model_tokenizer", 5, "benchmark.model_tokenizer: "),
        ("slo", [], "slo: must be an object"),
        ("slo.ttfs", {}, "slo.ttfs: unknown field; did you mean 'ttft'"),
        ("slo.latency", 3, "slo.latency: "),
        ("slo.latency.p95", {"threshold": 1}, "slo.latency.p95: unknown field"),
        ("slo.ttft", 5, "slo.ttft: needs a threshold"),
        ("slo.ttft", {}, "slo.ttft: needs a threshold"),
        ("slo.ttft.threshold", float("inf"), "slo.ttft: needs a threshold"),
        ("slo.ttft.treshold", 1, "slo.ttft.treshold: unknown field; did you mean 'threshold'?"),
        ("slo.latency.p90.fail_ratio", "x", "slo.latency.p90.fail_ratio: "),
    ],
)
def test_an_error_names_the_prototypes_own_field_in_one_line(path: str, value: Any, begins: str) -> None:
    with pytest.raises(TaskError) as caught:
        quietly(changed(path, value))
    assert str(caught.value).startswith(begins)
    assert "\n" not in str(caught.value)


def _in_a_cluster(**more: Any) -> tuple[dict[str, Any], list[str]]:
    return from_prototype(
        {
            "task_name": "p",
            "model": {"name": "qwen3-8b", "namespace": "tune"},
            "base_runtime": "srt-qwen3-8b",
            "parameters": {"tp_size": {"type": "choice", "values": [1, 2]}},
            "optimization": {"strategy": "grid_search", "objective": "maximize_throughput"},
            "benchmark": {"task": "text-to-text", "traffic_scenarios": ["D(100,100)"], "num_concurrency": [1]},
            **more,
        }
    )


def test_a_model_that_is_no_path_goes_to_ome_with_its_runtime_and_gpus() -> None:
    task = Task.parse(_in_a_cluster()[0])
    assert (task.deploy.kind, task.deploy.runtime, task.deploy.namespace) == ("ome", "srt-qwen3-8b", "tune")
    engine = engine_for(task)
    assert engine.arguments({"tp_size": 2}, task.parameters) == ["--tp-size", "2"]
    assert engine.gpus({"tp_size": 2}) == 2


def test_the_cluster_objects_of_later_prototypes_are_converted() -> None:
    spec = {"storage": {"path": "/m"}}
    data, notes = _in_a_cluster(
        storage={"type": "pvc", "pvc_name": "results", "pvc_subpath": "a/b", "mount_path": "/x"},
        clusterbasemodel_config={"spec": spec},
        clusterservingruntime_config={"preset": "sglang"},
    )
    task = Task.parse(data)
    assert task.benchmark.results == "pvc://results/a/b"
    assert task.deploy.clusterbasemodel == spec
    assert task.deploy.clusterservingruntime is None
    told = "\n".join(notes)
    assert "clusterservingruntime_config is ignored: it has no spec" in told
    assert "storage.mount_path is ignored" in told


def test_storage_of_another_kind_is_said_by_name() -> None:
    data, notes = _in_a_cluster(storage={"type": "oci", "bucket": "b"})
    assert "benchmark" not in data
    assert any(note.startswith("storage is ignored") for note in notes)
