"""Parallel sizes and the model's attention heads: refused in the task, or left out of a range."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.engines.given_flags import gpus_of_trial
from autotune_nb.engines.registry import engine_for, engine_problems, space_for
from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task

MakeTask = Callable[..., Task]


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., str]:
    """Writes a model's folder with this config.json, and returns its path."""

    def write(config: Any) -> str:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        return str(tmp_path)

    return write


@pytest.mark.parametrize(
    ("engine", "parameters", "field"),
    [
        ("vllm", {"tensor_parallel_size": [1, 2, 3, 6]}, "parameters.tensor_parallel_size"),
        ("vllm", {"tp": ["5"]}, "parameters.tp"),
        ({"kind": "vllm", "args": {"tp_size": 3}}, {}, "engine.args.tp_size"),
        ({"kind": "vllm", "raw_args": ["-tp", "3"]}, {}, "engine.raw_args"),
        ({"kind": "sglang", "args": {"tp": 3}}, {}, "engine.args.tp"),
        (
            {"kind": "sglang", "args": {"enable_dp_attention": True, "dp_size": 2}},
            {"tp_size": [6]},
            "parameters.tp_size",
        ),
    ],
)
def test_a_size_that_does_not_divide_the_attention_heads_is_refused(
    make_task: MakeTask, model: Callable[..., str], engine: Any, parameters: dict[str, Any], field: str
) -> None:
    task = make_task(
        model=model({"num_attention_heads": 16}),
        engine=engine,
        parameters=parameters or {"max_x": {"values": [1], "flag": "--x"}},
        deploy={"gpus": 8},
    )
    (problem,) = engine_problems(task)
    assert problem.field == field
    assert problem.message.startswith("the model's 16 attention heads cannot be divided among the GPUs with ")


@pytest.mark.parametrize(
    ("engine", "parameters", "field"),
    [
        ({"kind": "llama_cpp", "args": {"ctx_size": 4096}}, {}, "engine.args.ctx_size"),
        ({"kind": "llama_cpp", "args": {"c": 4096}}, {}, "engine.args.c"),
        ({"kind": "llama_cpp", "raw_args": ["-c", "4096"]}, {}, "engine.raw_args"),
        ("llama_cpp", {"ctx_size": [2048, 4096]}, "parameters.ctx_size"),
        ({"kind": "vllm", "args": {"max_model_len": "4k"}}, {}, "engine.args.max_model_len"),
        ("sglang", {"context_length": [2048, 4096]}, "parameters.context_length"),
    ],
)
def test_a_context_that_no_request_fits_is_refused(
    make_task: MakeTask, engine: Any, parameters: dict[str, Any], field: str
) -> None:
    task = make_task(
        engine=engine,
        parameters=parameters or {"max_x": {"values": [1], "flag": "--x"}},
        workload={"scenarios": ["D(16,8)", "mix(3*D(64,8),1*prefix(1000)+D(4000,8))"]},
    )
    (problem,) = engine_problems(task)
    assert problem.field == field
    assert problem.message.startswith("requests of prefix(1000)+D(4000,8) have 5,008 tokens, more than ")


@pytest.mark.parametrize(
    ("engine", "parameters", "changes"),
    [
        # 0 is the model's own, and an unknown length cannot be compared.
        ({"kind": "llama_cpp", "args": {"ctx_size": 0}}, {}, {}),
        ("vllm", {}, {}),
        ({"kind": "vllm", "args": {"max_model_len": "auto"}}, {}, {}),
        # A reply that is a little shorter is still valid.
        ({"kind": "llama_cpp", "args": {"ctx_size": 4096}}, {}, {"workload": {"scenarios": ["D(4000,100)"]}}),
        ({"kind": "llama_cpp", "args": {"ctx_size": 4096}}, {}, {"workload": {"scenarios": ["dataset"]}}),
        ({"kind": "llama_cpp", "args": {"ctx_size": 4096}}, {}, {"deploy": {"kind": "replay", "table": "x.csv"}}),
    ],
)
def test_a_context_in_which_requests_may_fit_passes(
    make_task: MakeTask, engine: Any, parameters: dict[str, Any], changes: dict[str, Any]
) -> None:
    given = {"parameters": {"max_x": {"values": [1], "flag": "--x"}}, "workload": {"scenarios": ["D(5000,8)"]}}
    assert engine_problems(make_task(engine=engine, **{**given, **changes})) == []


def test_values_that_requests_do_not_fit_are_left_out(make_task: MakeTask) -> None:
    task = make_task(
        engine="llama_cpp",
        parameters={"ctx_size": [2048, 8192, 0], "threads": [1]},
        workload={"scenarios": ["D(5000,8)"]},
    )
    assert [point["ctx_size"] for point in space_for(task, engine_for(task)).grid()] == [8192, 0]
    short = make_task(
        engine="llama_cpp",
        parameters={"ctx_size": {"type": "int", "low": 1024, "high": 4096}},
        workload={"scenarios": ["D(5000,8)"]},
    )
    with pytest.raises(TaskError, match="no point keeps 'ctx_size == 0 or ctx_size >= 5008', a rule of the engine"):
        space_for(short, engine_for(short))


def test_a_preset_leaves_out_the_sizes_that_do_not_divide_the_heads(
    make_task: MakeTask, model: Callable[..., str]
) -> None:
    task = make_task(
        model=model({"num_attention_heads": 12}), engine="vllm", parameters={"preset": "parallelism-on-8-gpus"}
    )
    points = list(space_for(task, engine_for(task)).grid())
    assert {point["tensor_parallel_size"] for point in points} == {1, 2, 4}


def test_a_range_leaves_out_the_sizes_that_do_not_divide_the_heads(
    make_task: MakeTask, model: Callable[..., str]
) -> None:
    task = make_task(
        model=model({"num_attention_heads": 12}),
        engine="vllm",
        parameters={"tensor_parallel_size": {"type": "int", "low": 1, "high": 8}},
    )
    assert [point["tensor_parallel_size"] for point in space_for(task, engine_for(task)).grid()] == [1, 2, 3, 4, 6]


def test_dp_attention_shares_the_heads_among_fewer_gpus(make_task: MakeTask, model: Callable[..., str]) -> None:
    task = make_task(
        model=model({"num_attention_heads": 4}),
        engine={"kind": "sglang", "args": {"tp_size": 8}},
        parameters={"dp_size": [1, 2, 4], "enable_dp_attention": [True, False]},
        deploy={"gpus": 8},
    )
    points = [tuple(point.values()) for point in space_for(task, engine_for(task)).grid()]
    assert points == [(2, True), (4, True)]


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 99, "text_config": {"num_attention_heads": 8}},
        {"thinker_config": {"text_config": {"num_attention_heads": 8}}},
        {"n_head": 8},
    ],
)
def test_the_heads_are_those_of_the_language_model(
    make_task: MakeTask, model: Callable[..., str], config: dict[str, Any]
) -> None:
    task = make_task(model=model(config), engine="vllm", parameters={"tensor_parallel_size": [3, 8]})
    assert "the model's 8 attention heads cannot be divided among the GPUs with 3;" in str(engine_problems(task)[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "org/name"},
        {"model": {"id_or_path": "0"}},
        {"engine": {"kind": "vllm", "args": {"hf_overrides": {"num_attention_heads": 3}}}},
        {"engine": {"kind": "sglang"}, "deploy": {}},
        {"deploy": {"kind": "ome", "namespace": "a"}},
    ],
)
def test_sizes_pass_where_the_engine_may_accept_them(
    make_task: MakeTask, model: Callable[..., str], changes: dict[str, Any]
) -> None:
    """A model elsewhere, a configuration that is replaced, and SGLang on CPUs, which pads the heads."""
    given = {"model": model({"num_attention_heads": 16}), "engine": "vllm", "deploy": {"gpus": 3}} | changes
    assert engine_problems(make_task(parameters={"tp_size": [3]}, **given)) == []


@pytest.mark.parametrize("config", ["", "{", "[]", "[" * 5000, '{"num_attention_heads": [8, 4]}', '{"text_config": 1}'])
def test_a_config_without_a_number_of_heads_restricts_nothing(
    make_task: MakeTask, model: Callable[..., str], config: str
) -> None:
    task = make_task(model=model(config), engine="vllm", parameters={"tensor_parallel_size": [3]})
    assert engine_problems(task) == []
    assert space_for(task, engine_for(task)).num_allowed == 1


@pytest.mark.parametrize(
    ("engine", "fixed", "parameters", "kept"),
    [
        # As SGLang checks them in arg_groups/parallel_hook.py.
        ("sglang", {"tp_size": 8}, {"ep_size": [1, 2, 3, 4, 8]}, [1, 2, 4, 8]),
        ("sglang", {"tp_size": 8, "moe_dp_size": 2}, {"ep_size": [1, 2, 4, 8]}, [1, 4]),
        # As vLLM's ParallelConfig does.
        ("vllm", {"tp": 4}, {"dcp": [1, 2, 3, 4]}, [1, 2, 4]),
        ("vllm", {"tp": 4, "pcp": 2}, {"dcp": [1, 2, 4, 8]}, [1, 2, 8]),
    ],
)
def test_sizes_that_the_engine_refuses_together_are_left_out(
    make_task: MakeTask, engine: str, fixed: dict[str, Any], parameters: dict[str, Any], kept: list[int]
) -> None:
    task = make_task(engine={"kind": engine, "args": fixed}, parameters=parameters, deploy={"gpus": 16})
    (name,) = parameters
    assert [point[name] for point in space_for(task, engine_for(task)).grid()] == kept


def test_the_gpus_of_prompts_that_are_shared_count(make_task: MakeTask) -> None:
    task = make_task(engine={"kind": "vllm", "args": {"tp": 4}}, parameters={"pcp": [1, 2]}, deploy={"gpus": 16})
    assert [gpus_of_trial(task, engine_for(task), {"pcp": size}) for size in (1, 2)] == [4, 8]
