"""Presets: what they expand to, beside what a task sets itself, and how they are written back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.task.file import task_data, task_yaml
from autotune_nb.task.preset_catalog import PRESETS
from autotune_nb.task.preset_expansion import expand, preset_names
from autotune_nb.task.presets import named_presets
from autotune_nb.task.task import Task
from autotune_nb.task.written_presets import preset_lines

BASE = {
    "name": "t",
    "model": "m/x",
    "engine": "vllm",
    "workload": {"scenarios": ["D(1,1)"]},
    "objective": "maximize output_tokens_per_s",
}


def parsed(preset: Any, engine: Any = "vllm", own: dict[str, Any] | None = None, **sections: Any) -> Task:
    return Task.parse({**BASE, "engine": engine, "parameters": {"preset": preset, **(own or {})}, **sections})


def values(task: Task) -> dict[str, Any]:
    return {name: list(one.grid() or ()) for name, one in task.parameters.items()}


def test_every_size_that_fits_the_gpus_is_searched_and_no_other() -> None:
    task = parsed("parallelism-on-8-gpus")
    sizes = [tuple(point.values()) for point in task.space.grid()]
    powers = (1, 2, 4, 8)
    assert sizes == [(t, p, d) for t in powers for p in powers for d in powers if t * p * d <= 8]
    assert values(parsed("parallelism-on-6-gpus", "sglang"))["tp_size"] == [1, 2, 4]


def test_a_preset_for_one_gpu_has_no_parallel_sizes() -> None:
    assert parsed("throughput").parameters == parsed("throughput-on-1-gpu").parameters
    assert set(values(parsed("throughput"))) == {"max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization"}


def test_what_the_task_sets_itself_has_precedence_under_every_spelling() -> None:
    task = parsed("throughput-on-8-gpus", own={"--max-num-seqs": [7], "tp": [2, 4]}, rules=["max_num_seqs > 1"])
    found = values(task)
    assert (found["max_num_seqs"], found["tp"]) == ([7], [2, 4])
    assert "tensor_parallel_size" not in found
    assert task.rules == ["max_num_seqs > 1", "tp * pipeline_parallel_size * data_parallel_size <= 8"]


def test_a_fixed_flag_is_not_searched_and_counts_in_the_rule() -> None:
    task = parsed("parallelism-on-8-gpus", {"kind": "vllm", "args": {"dp": 4}})
    assert task.rules == ["tensor_parallel_size * pipeline_parallel_size * 4 <= 8"]
    assert [tuple(point.values()) for point in task.space.grid()] == [(1, 1), (1, 2), (2, 1)]


def test_configurations_of_one_kind_are_alternatives_without_mixtures() -> None:
    task = parsed(["balanced", "high-throughput", "moe-optimized"])
    points = [
        (p["tensor_parallel_size"], p["data_parallel_size"], p["enable_expert_parallel"]) for p in task.space.grid()
    ]
    assert sorted(points) == [(1, 8, False), (2, 4, False), (2, 8, True)]
    task = parsed(["kv-cache-fp8", "bf16-stable", "default"])
    assert sorted((p["kv_cache_dtype"], p["dtype"]) for p in task.space.grid()) == [
        ("auto", "auto"),
        ("fp8_e5m2", "auto"),
        ("fp8_e5m2", "bfloat16"),
    ]


def test_a_draft_model_is_part_of_the_values() -> None:
    use = {"name": "speculative-eagle", "draft_model": "me/eagle"}
    configs = values(parsed(use))["speculative_config"]
    assert configs[0] is None
    assert {one["model"] for one in configs[1:]} == {"me/eagle"}
    sglang = parsed(use, "sglang")
    assert values(sglang)["speculative_draft_model_path"] == ["me/eagle"]
    # One branch has one token a step, and the one that is certain.
    single = [p for p in sglang.space.grid() if p["speculative_eagle_topk"] == 1]
    assert [(p["speculative_num_steps"], p["speculative_num_draft_tokens"]) for p in single] == [(3, 4), (5, 6)]


@pytest.mark.parametrize(
    ("preset", "engine", "field", "begins"),
    [
        (
            "througput-on-8-gpus",
            "vllm",
            "",
            "unknown preset 'througput-on-8-gpus'; did you mean 'throughput-on-8-gpus'",
        ),
        (["scheduling", "latncy"], "vllm", "", "unknown preset 'latncy'; did you mean 'latency'"),
        ("balanced-on-8-gpus", "vllm", "", "unknown preset"),
        ("parallelism\n", "vllm", "", "parallelism needs the number of GPUs, as in parallelism-on-8-gpus"),
        ("throughput-on-0-gpus", "vllm", "", "0 GPUs; give 1 to 1024"),
        (
            "parallelism-on-8-gpus",
            "llama_cpp",
            "",
            "the preset parallelism has no flags of llama_cpp; it has scheduling",
        ),
        ("scheduling", {"kind": "command", "command": "x {port}"}, "", "the preset scheduling has no flags of command"),
        (["throughput", "scheduling"], "vllm", "", "both throughput and scheduling set max_num_seqs"),
        (["scheduling", "scheduling"], "vllm", "", "a preset is named twice"),
        ("speculative-eagle", "vllm", "", "speculative-eagle needs a draft model"),
        ({"name": "scheduling", "draft_model": "x"}, "vllm", "", "scheduling takes no draft_model"),
        ({"name": "scheduling", "model": "x"}, "vllm", ".model", "unknown field"),
        (7, "vllm", "", "7 names no preset"),
        (["scheduling", None], "vllm", "[1]", "None names no preset"),
    ],
)
def test_a_preset_that_cannot_be_used_is_one_line(preset: Any, engine: Any, field: str, begins: str) -> None:
    with pytest.raises(TaskError) as caught:
        parsed(preset, engine)
    assert caught.value.field == f"parameters.preset{field}"
    assert caught.value.message.startswith(begins)
    assert "\n" not in str(caught.value)


def test_an_unknown_engine_is_the_error_not_its_presets() -> None:
    with pytest.raises(TaskError, match="unknown engine 'vlm'"):
        parsed("scheduling", "vlm")


def test_a_flag_of_this_name_is_still_a_parameter() -> None:
    task = Task.parse({**BASE, "parameters": {"preset": {"values": ["a", "b"], "flag": "--preset"}}})
    assert values(task) == {"preset": ["a", "b"]}
    assert not task.expanded_presets


@pytest.mark.parametrize(
    ("preset", "engine", "own"),
    [
        ("throughput-on-8-gpus", "vllm", {}),
        (["default", "dynamic-fp8"], "sglang", {"mem_frac": [0.8]}),
        ([{"name": "speculative-eagle", "draft_model": "a/b"}, "scheduling"], "vllm", {"max_num_seqs": [1]}),
        ("parallelism-on-4-gpus", "vllm", {"tp": {"low": 1, "high": 2}}),
    ],
)
def test_the_file_keeps_the_name_and_a_study_the_expansion(
    tmp_path: Path, preset: Any, engine: str, own: dict[str, Any]
) -> None:
    task = parsed(preset, engine, own)
    data = task_data(task)
    named = [named_presets(one["parameters"]["preset"]) for one in (data, {"parameters": {"preset": preset}})]
    assert named[0] == named[1]
    assert data["parameters"].keys() - {"preset"} == own.keys()
    assert "rules" not in data
    assert Task.load(task.save(tmp_path / "t.yaml")) == task
    # As a study stores it: without the names it would depend on this version's presets.
    stored = Task.parse(task.model_dump(mode="json"))
    assert (stored, stored.expanded_presets) == (task, task.expanded_presets)
    expanded = task_data(task, expanded=True)
    assert "preset" not in str(sorted(expanded["parameters"]))
    assert Task.parse(expanded).parameters == task.parameters


def test_a_task_that_its_names_do_not_give_is_written_out() -> None:
    task = parsed("scheduling")
    changed = Task.parse({**task.model_dump(), "parameters": {"max_num_seqs": [1]}})
    assert task_data(changed)["parameters"] == {"max_num_seqs": {"type": "choice", "values": [1]}}


def test_the_expansion_is_shown() -> None:
    assert preset_lines(Task.parse({**BASE, "parameters": {"max_num_seqs": [1]}})) == []
    lines = preset_lines(parsed("parallelism-on-2-gpus", own={"max_num_seqs": [1]}))
    assert lines == [
        "preset parallelism-on-2-gpus expands to tensor_parallel_size: 1, 2; pipeline_parallel_size: 1, 2; "
        "data_parallel_size: 1, 2; rule: tensor_parallel_size * pipeline_parallel_size * data_parallel_size <= 2",
        "the task itself sets max_num_seqs",
    ]
    assert "preset: parallelism-on-2-gpus" in task_yaml(parsed("parallelism-on-2-gpus"))


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llama_cpp"])
def test_every_preset_of_an_engine_is_offered_and_has_points(make_task: Callable[..., Task], engine: str) -> None:
    names = preset_names(engine)
    assert {name.removesuffix("-on-8-gpus") for name in names} == {one.name for one in PRESETS if one.supports(engine)}
    for name in set(names) - {"default"}:
        use = {"name": name, "draft_model": "a/b"} if name == "speculative-eagle" else name
        task = parsed(use, engine)
        assert task.space.num_allowed, name
        assert expand(task.expanded_presets, engine).parameters.keys() == task.parameters.keys()
