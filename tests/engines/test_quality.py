"""Which searched parameters make the answers of a study's trials be compared."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_nb.engines.quality import changing_parameters, compares_answers, goal_with_quality, quality_lines
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task


def task_with(kind: str, parameters: dict[str, Any], **changes: Any) -> Task:
    return Task.parse(
        {
            "name": "t",
            "model": "m",
            "engine": {"kind": kind, **({"command": "serve {port}"} if kind == "command" else {})},
            "parameters": parameters,
            "workload": {"scenarios": ["D(16,8)"]},
            "objective": "maximize output_tokens_per_s",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        ("llama_cpp", "cache_type_k", ["f16", "q4_0"]),
        ("llama_cpp", "ctv", ["f16", "q4_0"]),
        ("llama_cpp", "fa", ["on", "off"]),
        ("llama_cpp", "draft_max", [4, 8]),
        ("vllm", "kv-cache-dtype", ["auto", "fp8"]),
        ("vllm", "quantization", ["fp8", None]),
        ("vllm", "speculative_config.num_speculative_tokens", [2, 4]),
        ("sglang", "attention_backend", ["fa3", "triton"]),
        ("sglang", "speculative_num_steps", [2, 4]),
        ("sglang", "dtype", ["half", "bfloat16"]),
        ("command", "kv_cache_dtype", ["auto", "fp8"]),
    ],
)
def test_a_parameter_that_changes_the_numbers_is_found(kind: str, name: str, values: list[Any]) -> None:
    task = task_with(kind, {name: values})
    engine = engine_for(task)
    assert len(changing_parameters(task, engine)) == 1
    assert [str(limit) for limit in goal_with_quality(task, engine).limits] == [
        "quality_agreement >= 0.5",
        "quality_kl <= 0.1",
    ]


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("llama_cpp", {"threads": [1, 2], "parallel": [1, 2], "n_gpu_layers": [0, 9]}),
        ("vllm", {"max_num_seqs": [64, 128], "enable_chunked_prefill": [True, False], "block_size": [16, 32]}),
        ("sglang", {"chunked_prefill_size": [2048, 4096], "schedule_policy": ["lpm", "fcfs"]}),
    ],
)
def test_nothing_is_compared_where_nothing_changes_the_numbers(kind: str, parameters: dict[str, Any]) -> None:
    task = task_with(kind, parameters)
    engine = engine_for(task)
    assert not compares_answers(task, engine)
    assert goal_with_quality(task, engine) == task.goal


@pytest.mark.parametrize("on", [{"quality": True}, {"limits": ["quality_kl <= 0.01"]}])
def test_it_is_on_if_the_task_asks_for_it(on: dict[str, Any]) -> None:
    task = task_with("llama_cpp", {"threads": [1, 2]}, **on)
    assert compares_answers(task, engine_for(task))


def test_the_task_s_own_limit_replaces_the_default_one() -> None:
    task = task_with(
        "vllm",
        {"kv_cache_dtype": ["auto", "fp8"]},
        limits=["quality_agreement >= 0.9"],
        quality={"enabled": "auto", "max_kl": 0.02},
    )
    assert [str(limit) for limit in goal_with_quality(task, engine_for(task)).limits] == [
        "quality_agreement >= 0.9",
        "quality_kl <= 0.02",
    ]


def test_it_can_be_switched_off() -> None:
    task = task_with("vllm", {"kv_cache_dtype": ["auto", "fp8"]}, quality=False)
    assert not compares_answers(task, engine_for(task))


def test_the_check_says_what_is_compared_and_why() -> None:
    task = task_with("vllm", {"kv_cache_dtype": ["auto", "fp8"], "max_num_seqs": [8, 16]}, quality={"prompts": ["a"]})
    assert quality_lines(task, engine_for(task)) == [
        "each trial answers 1 prompt with up to 32 tokens, which are compared with those of the engine's default, "
        "since kv_cache_dtype may change them; the limits are quality_agreement >= 0.5 and quality_kl <= 0.1"
    ]
    task = task_with("vllm", {"kv_cache_dtype": ["auto", "fp8"]}, budget={"baseline": False})
    (line,) = quality_lines(task, engine_for(task))
    assert line.startswith("answers are not compared, since the engine's default is not measured")
    task = task_with("vllm", {"max_num_seqs": [8, 16]})
    assert quality_lines(task, engine_for(task)) == []


def test_a_workload_without_text_has_no_answers() -> None:
    workload = {"task": "text-to-embeddings", "scenarios": ["E(64)"]}
    task = task_with("vllm", {"dtype": ["half", "float32"]}, workload=workload, objective="maximize requests_per_s")
    assert not compares_answers(task, engine_for(task))


def test_more_prompts_than_there_are_is_an_error() -> None:
    with pytest.raises(TaskError, match=r"^quality\.prompts.*12"):
        task_with("vllm", {"dtype": ["half"]}, quality={"prompts": 13})
