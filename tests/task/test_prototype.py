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
        "objective": "minimize slo_score",
        "slo": {
            "figure": "e2e_latency",
            "limits": {
                "e2e_latency_p50_s <= 2": 1.0,
                "e2e_latency_p90_s <= 5": 1.0,
                "ttft_mean_s <= 1": 2.0,
                "tpot_mean_s <= 0.05": 1.0,
            },
            "steepness": 0.1,
        },
        "limits": [
            "e2e_latency_p90_s <= 6",
            "e2e_latency_p99_s <= 8",
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
    task = quietly(changed("optimization.objective", name) | {"slo": None})
    assert (task.goal.direction, task.goal.figure) == goal
    # With service-level objectives it is what their penalties make worse.
    task = quietly(changed("optimization.objective", name))
    assert (task.goal.direction, task.goal.figure, task.slo.figure) == (goal[0], "slo_score", goal[1])


@pytest.mark.parametrize(("name", "sampler"), [("grid_search", "grid"), ("bayesian", "tpe"), ("random", "random")])
def test_the_three_strategies_load(name: str, sampler: str) -> None:
    assert quietly(changed("optimization.strategy", name)).strategy.sampler == sampler


def test_a_task_that_is_converted_completely_has_no_notes() -> None:
    assert notes(PROTOTYPE) == []


def test_the_penalty_of_a_throughput_is_converted_with_a_note() -> None:
    said = notes(changed("optimization.objective", "maximize_throughput"))
    assert [line.split()[0] for line in said] == ["slo", "optimization.objective"]
    assert "divided by 1 + penalty" in said[0]


def test_an_experiment_that_exceeds_a_hard_threshold_fails_at_half_as_much_more_by_default() -> None:
    task = quietly(changed("slo", {"ttft": {"threshold": 2.0, "hard_fail": True}}))
    assert (task.limits, dict(task.slo.limits)) == (["ttft_mean_s <= 3"], {"ttft_mean_s <= 2": 1.0})
    # Without a weight or without room above the threshold there is no penalty.
    hard = {"threshold": 2.0, "hard_fail": True, "fail_ratio": 0}
    task = quietly(changed("slo", {"ttft": hard, "tpot": {"threshold": 0.1, "weight": 0}, "steepness": 0.2}))
    assert (task.limits, task.objective.figure) == (["ttft_mean_s <= 2"], "e2e_latency_mean_s")


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("storage", {"pvc": "x"}, "storage"),
        ("runtime_image_tag", "v0.5.2", "runtime_image_tag"),
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
        ("slo.ttft.threshold", float("inf"), "slo.ttft.threshold: inf is not a finite number"),
        ("slo.ttft.treshold", 1, "slo.ttft.treshold: unknown field; did you mean 'threshold'?"),
        ("slo.latency.p90.fail_ratio", "x", "slo.latency.p90.fail_ratio: "),
        ("slo.ttft.weight", -1, "slo.ttft.weight: must be a number from 0 up, not -1"),
        ("slo.steepness", 0, "slo.steepness: must be a number above 0, not 0"),
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
        clusterbasemodel_config={"spec": spec, "name": "m"}, clusterservingruntime_config={"preset": "sglang"}
    )
    task = Task.parse(data)
    assert task.deploy.clusterbasemodel == spec
    assert task.deploy.clusterservingruntime is None
    told = "\n".join(notes)
    assert "clusterservingruntime_config is ignored: it has no spec" in told
    assert "clusterbasemodel_config.name is ignored" in told


@pytest.mark.parametrize(
    "storage",
    [
        {"type": "pvc", "pvc_name": "weights", "pvc_subpath": "a/b", "mount_path": "/x"},
        {"pvc_name": "weights"},
        {"type": "oci", "bucket": "b"},
    ],
)
def test_the_place_of_the_weights_never_becomes_the_place_of_results(storage: dict[str, Any]) -> None:
    data, notes = _in_a_cluster(storage=storage)
    assert Task.parse(data).benchmark.results is None
    assert any(note.startswith("storage is ignored: it is where the model's weights are") for note in notes)


def _where(**more: Any) -> tuple[str, list[str]]:
    """Where the trials of a file run whose base_runtime is an engine, as files for Docker have it, and its notes."""
    data, notes = _in_a_cluster(**{"base_runtime": "sglang", **more})
    return Task.parse(data).deploy.kind, notes


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "local"),
        ({"base_runtime": "vLLM"}, "local"),
        ({"base_runtime": None}, "local"),
        ({"runtime_image_tag": "v0.5.2-cu126"}, "local"),
        ({"deployment_mode": "local"}, "local"),
        ({"deployment_mode": "LOCAL", "base_runtime": "srt-qwen3-8b"}, "local"),
        ({"deployment_mode": "docker", "base_runtime": "srt-qwen3-8b"}, "local"),
        ({"deployment_mode": "docker", "clusterbasemodel_config": {"spec": {}}}, "local"),
        ({"deployment_mode": None, "storage": None}, "local"),
        ({"deployment_mode": "ome"}, "ome"),
        ({"storage": {"type": "pvc", "pvc_name": "weights"}}, "ome"),
        ({"clusterservingruntime_config": {"preset": "small"}}, "ome"),
        ({"base_runtime": "sglang-llama-small"}, "ome"),
    ],
)
def test_only_a_file_that_names_a_cluster_runs_in_one(more: dict[str, Any], kind: str) -> None:
    assert _where(**more)[0] == kind


def test_a_path_runs_in_the_cluster_if_the_file_says_so(tmp_path: Path) -> None:
    model = {"id_or_path": str(tmp_path), "namespace": "tune"}
    assert _where(model=model)[0] == "local"
    assert _where(model=model, deployment_mode="ome")[0] == "ome"


def test_the_choice_of_this_machine_has_a_note_unless_the_file_made_it() -> None:
    assert any("add deployment_mode: ome" in note for note in _where()[1])
    assert any(
        note.startswith("deployment_mode docker is converted to processes")
        for note in _where(deployment_mode="docker")[1]
    )
    assert not any(note.startswith("deployment_mode") for note in _where(deployment_mode="local")[1])


def test_an_unknown_deployment_mode_and_an_engine_without_support_are_refused() -> None:
    with pytest.raises(TaskError, match=r"^deployment_mode: unknown deployment mode 'dockr'; did you mean 'docker'"):
        _where(deployment_mode="dockr")
    with pytest.raises(TaskError, match=r"^deployment_mode: "):
        _where(deployment_mode=["ome"])
    with pytest.raises(TaskError, match=r"^base_runtime: 'tensorrt-llm' is an engine without support here"):
        _where(base_runtime="tensorrt-llm")


def _parameters(runtime: str = "sglang", parameters: Any = None, **more: Any) -> tuple[dict[str, Any], list[str]]:
    """The parameters of a prototype's file with their values or ranges, and the notes about flags."""
    data, notes = _in_a_cluster(base_runtime=runtime, parameters=parameters or {"mem-fraction-static": [0.85]}, **more)
    about = [note for note in notes if note.startswith(("parallel_config", "quant_config", "parameters"))]
    task = Task.parse(data)
    space_for(task, engine_for(task))
    return {name: parameter.model_dump(exclude_defaults=True) for name, parameter in task.parameters.items()}, about


def test_parallel_sizes_become_parameters_of_the_engine() -> None:
    parallel = {"tp": [2, 4], "dp": 2, "moe_dense_tp": 2, "pp": None}
    own, notes = _parameters(parallel_config=parallel)
    assert own == {
        "mem_fraction_static": {"values": [0.85]},
        "tp_size": {"values": [2, 4]},
        "dp_size": {"values": [2]},
        "moe_dense_tp_size": {"values": [2]},
    }
    assert notes == []
    parallel = {"tp": [2], "pp": 2, "dcp": [1, 2], "enable_expert_parallel": [True, False], "moe_tp": 2}
    own, notes = _parameters("vllm", {"max-num-seqs": [8]}, parallel_config=parallel)
    assert [note.split()[0] for note in notes] == ["parallel_config.moe_tp"]
    assert own["enable_expert_parallel"] == {"values": [True, False]}
    assert list(own) == [
        "max_num_seqs",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "decode_context_parallel_size",
        "enable_expert_parallel",
    ]


def test_throughput_per_gpu_is_named_as_a_change_of_the_objective() -> None:
    (note,) = [note for note in _in_a_cluster()[1] if "maximize_throughput" in note]
    assert "maximize output_tokens_per_s" in note and "the prototype divided it by their number" in note


def test_parameters_win_over_the_sections_as_in_the_prototype() -> None:
    own, notes = _parameters(
        parameters={"tp": [1], "--kv-cache-dtype": ["auto"]},
        parallel_config={"tp": [2, 4]},
        quant_config={"kvcache_dtype": "fp8_e5m2"},
    )
    assert own == {"tp": {"values": [1]}, "kv_cache_dtype": {"values": ["auto"]}}
    assert notes == [
        "parallel_config.tp is ignored: parameters.tp sets the same flag",
        "quant_config.kvcache_dtype is ignored: parameters.--kv-cache-dtype sets the same flag",
    ]


@pytest.mark.parametrize(
    ("runtime", "quant", "flags", "named"),
    [
        ("sglang", {"gemm_dtype": "fp8", "moe_dtype": "auto"}, {"quantization": ["fp8"]}, []),
        ("sglang", {"gemm_dtype": ["float16", "auto"]}, {"dtype": ["float16", "auto"]}, []),
        ("sglang", {"kvcache_dtype": ["auto", "fp8"]}, {"kv_cache_dtype": ["auto", "fp8_e5m2"]}, []),
        ("vllm", {"kvcache_dtype": ["auto", "fp8"]}, {"kv_cache_dtype": ["auto", "fp8"]}, []),
        ("vllm", {"gemm_dtype": ["auto", "bfloat16"]}, {"dtype": ["auto", "bfloat16"]}, []),
        # Two flags that would have to change together.
        ("vllm", {"gemm_dtype": ["auto", "fp8"]}, {}, ["quant_config.gemm_dtype"]),
        ("sglang", {"kvcache_dtype": ["auto", "int4"]}, {}, ["quant_config.kvcache_dtype"]),
        ("sglang", {"attention_dtype": "fp8"}, {}, ["quant_config.attention_dtype"]),
        ("sglang", {"moe_dtype": ["auto", "w4afp8"]}, {}, ["quant_config.moe_dtype"]),
        ("llama.cpp", {"presets": ["default"]}, {}, ["quant_config.presets"]),
        ("sglang", {"gemm_dtyp": "fp8"}, {}, ["quant_config.gemm_dtyp"]),
        ("llama.cpp", {"kvcache_dtype": "fp8"}, {}, ["quant_config.kvcache_dtype"]),
        ("sglang", None, {}, []),
    ],
)  # fmt: skip
def test_quantization_becomes_flags_or_is_named(
    runtime: str, quant: Any, flags: dict[str, Any], named: list[str]
) -> None:
    first = {"threads": [1]} if runtime == "llama.cpp" else {"max-num-seqs": [8]} if runtime == "vllm" else None
    own, notes = _parameters(runtime, first, quant_config=quant)
    assert {name: one["values"] for name, one in list(own.items())[1:]} == flags
    assert [note.split()[0] for note in notes] == named


def test_the_prototypes_presets_are_expanded_and_its_parameters_win() -> None:
    data = changed("parallel_config", {"presets": ["single-gpu", "balanced"]}) | {
        "quant_config": {"preset": "kv-cache-fp8"}
    }
    task = quietly(data)
    assert {name: list(one.grid() or ()) for name, one in task.parameters.items()} == {
        "tp_size": [1, 2],
        "pp_size": [1],
        "dp_size": [1, 4],
        "kv_cache_dtype": ["fp8_e5m2"],
        "mem_frac": [0.8, 0.85, 0.9],
        "schedule_policy": ["lpm", "fcfs"],
    }
    assert {(p["tp_size"], p["dp_size"]) for p in task.space.grid()} == {(1, 1), (2, 4)}
    assert not [note for note in notes(data) if "preset" in note]


@pytest.mark.parametrize(
    ("path", "value", "begins"),
    [
        ("parallel_config", {"presets": ["balancd"]}, "parallel_config.presets[0]: unknown preset 'balancd'; did you"),
        ("quant_config", {"preset": "balanced"}, "quant_config.preset: balanced is a preset of parallelism, not of"),
        ("quant_config", {"presets": [1]}, "quant_config.presets[0]: must be the name of a preset, not 1"),
        ("parallel_config", {"preset": "long-context"}, "parallel_config.preset: the preset long-context has no flags"),
    ],
)
def test_a_preset_that_the_prototype_did_not_have_is_refused(path: str, value: Any, begins: str) -> None:
    with pytest.raises(TaskError) as caught:
        quietly(changed(path, value))
    assert str(caught.value).startswith(begins)


def test_the_prototypes_types_of_parameters_load() -> None:
    own, notes = _parameters(
        parameters={
            "mem-fraction-static": {"type": "continuous", "low": 0.7, "high": 0.9},
            "max-total-tokens": {"type": "integer", "low": 4096, "high": 16384, "log": True},
            "schedule-policy": {"type": "categorical", "choices": ["lpm", "fcfs"]},
            "chunked-prefill-size": [],
        },
        optimization={"strategy": "bayesian"},
    )
    assert own == {
        "mem_fraction_static": {"low": 0.7, "high": 0.9},
        "max_total_tokens": {"low": 4096, "high": 16384, "log": True},
        "schedule_policy": {"values": ["lpm", "fcfs"]},
    }
    assert notes == ["parameters.chunked-prefill-size is ignored: it has no values"]


def test_the_searchs_settings_are_carried_over_or_named_without_a_password() -> None:
    url = "postgresql://me:secret@db/optuna"
    settings = {"strategy": "bayesian", "seed": 7, "n_initial_random": 3, "storage": url, "study_name": "s"}
    data, notes = _in_a_cluster(optimization=settings)
    strategy = Task.parse(data).strategy
    assert (strategy.seed, strategy.options) == (7, {"n_startup_trials": 3})
    assert [note.split()[0] for note in notes] == ["optimization.storage", "optimization.study_name"]
    assert not any("secret" in note for note in notes)
    data, notes = _in_a_cluster(optimization={"strategy": "random", "n_initial_random": 3})
    assert Task.parse(data).strategy.options == {}
    assert [note.split()[0] for note in notes] == ["optimization.n_initial_random"]


def test_a_dataset_and_the_state_of_a_saved_task_are_named_and_null_is_absent() -> None:
    benchmark = {"num_concurrency": [1], "dataset_url": "https://a.example/p.csv", "dataset_deduplicate": True}
    data, notes = _in_a_cluster(
        benchmark=benchmark, id=3, status="completed", gpu_type="A100", description=None, quant_config=None, slo=None
    )
    assert Task.parse(data).description == ""
    assert sorted(note.split()[0] for note in notes) == [
        "benchmark.dataset_deduplicate",
        "benchmark.dataset_url",
        "gpu_type",
        "id",
        "optimization.objective",
        "status",
    ]
