"""The flags of a task wherever they are set: passed with a note, refused, and the GPUs that they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import autotune_nb as at
from autotune_nb.engines.given_flags import FlagWarning, flag_notes, gpus_of_trial
from autotune_nb.engines.registry import engine_for, engine_problems, space_for
from autotune_nb.task.task import Task

MakeTask = Callable[..., Task]


def words(task: Task, params: dict[str, Any]) -> list[str]:
    argv = engine_for(task).argv(
        program=["engine"],
        model="m",
        served_name=None,
        host="h",
        port=1,
        params=params,
        space=task.parameters,
        args=task.engine.args,
        raw_args=task.engine.raw_args,
    )
    return argv[7:]


def notes(task: Task) -> list[str]:
    return list(flag_notes(task, engine_for(task)))


def test_flags_that_the_catalog_does_not_contain_pass_with_one_note(make_task: MakeTask) -> None:
    task = make_task(
        engine={"kind": "sglang", "args": {"device": "cuda", "disable-cuda-graph": False, "log_requests": True}},
        parameters={"sampling-backend": ["flashinfer"], "max_runing_requests": [64], "cuda-graph-max-bs": [128]},
    )
    former, unknown = sorted(notes(task), key=len)
    assert former == "cuda_graph_max_bs is a former name of cuda_graph_max_bs_decode, and passed as --cuda-graph-max-bs"
    assert unknown == (
        "sampling_backend, max_runing_requests (did you mean 'max_running_requests'?), device, disable_cuda_graph, "
        "log_requests are not in the catalog of sglang, and passed to the engine unchecked; "
        "'autotune-nb engine sglang' reads the installed version's flags"
    )
    point = {"sampling_backend": "flashinfer", "max_runing_requests": 64, "cuda_graph_max_bs": 128}
    assert words(task, point) == [
        *("--enable-metrics", "--device", "cuda", "--log-requests", "--sampling-backend", "flashinfer"),
        *("--max-runing-requests", "64", "--cuda-graph-max-bs", "128"),
    ]


def test_a_check_warns_of_flags_that_it_cannot_check(make_task: MakeTask) -> None:
    task = make_task(engine={"kind": "llama_cpp", "executable": "no-such-program", "args": {"brand_new": 1}})
    with pytest.warns(
        FlagWarning, match="^brand_new is not in the catalog of llama_cpp, and passed to the engine unchecked; "
    ):
        at.check(task)


def test_a_note_names_no_flag_of_the_catalog_and_none_with_its_own_spelling(make_task: MakeTask) -> None:
    parameters = {"np": [1, 2], "brand_new": {"values": [1], "flag": "--brand-new"}}
    assert notes(make_task(parameters=parameters, engine={"kind": "llama_cpp", "args": {"ngl": "all"}})) == []


@pytest.mark.parametrize(
    ("engine", "args", "expected"),
    [
        ("vllm", {"enable_sleep_mode": False}, ["--no-enable-sleep-mode"]),
        ("vllm", {"disable_log_stats": False}, []),
        ("vllm", {"trust_remote_code": True}, ["--trust-remote-code"]),
        ("vllm", {"middleware": ["a.b", "c.d"]}, ["--middleware", "a.b", "--middleware", "c.d"]),
        ("vllm", {"cudagraph_capture_sizes": [1, 2]}, ["--cudagraph-capture-sizes", "1", "2"]),
        ("vllm", {"hf_overrides": {"top_p": 0.95}}, ["--hf-overrides", '{"top_p":0.95}']),
        ("vllm", {"attention_config": {"use_x": None}}, ["--attention-config", '{"use_x":null}']),
        ("vllm", {"speculative_config": '{"method": "ngram"}'}, ["--speculative-config", '{"method":"ngram"}']),
        ("vllm", {"max_model_len": "16k", "seed": 1}, ["--max-model-len", "16k", "--seed", "1"]),
        ("sglang", {"cuda_graph_bs": [1, 2, 4]}, ["--enable-metrics", "--cuda-graph-bs", "1", "2", "4"]),
        ("sglang", {"dp": 2}, ["--enable-metrics", "--dp-size", "2"]),
        ("sglang", {"disable_radix": True}, ["--enable-metrics", "--disable-radix-cache"]),
        ("sglang", {"disable_overlap": True}, ["--enable-metrics", "--disable-overlap-schedule"]),
        ("llama_cpp", {"dev": "none"}, ["--fit", "off", "--metrics", "--device", "none"]),
        ("llama_cpp", {"mmap": False, "jinja": True}, ["--fit", "off", "--metrics", "--no-mmap", "--jinja"]),
        ("llama_cpp", {"ts": [3, 1]}, ["--fit", "off", "--metrics", "--tensor-split", "3,1"]),
        ("llama_cpp", {"lora": ["a", "b"]}, ["--fit", "off", "--metrics", "--lora", "a,b"]),
        ("llama_cpp", {"models_max": 1}, ["--fit", "off", "--metrics", "--models-max", "1"]),
    ],
)
def test_an_engine_gets_a_flag_as_it_reads_it(
    make_task: MakeTask, engine: str, args: dict[str, Any], expected: list[str]
) -> None:
    task = make_task(engine={"kind": engine, "args": args}, parameters={"x": {"values": [1], "flag": "--x"}})
    assert words(task, {}) == expected


@pytest.mark.parametrize(
    ("engine", "parameters", "field"),
    [
        ({"kind": "vllm", "args": {"served_model_name": "a"}}, {}, "engine.args.served_model_name"),
        ({"kind": "sglang", "args": {"nnodes": 2, "node_rank": 0}}, {}, "engine.args.nnodes"),
        ({"kind": "sglang", "raw_args": ["--nnodes", "2"]}, {}, "engine.raw_args"),
        ({"kind": "sglang", "raw_args": ["--port=80"]}, {}, "engine.raw_args"),
        ({"kind": "sglang", "raw_args": ["--tp", "4"]}, {"tp_size": [1, 2]}, "engine.raw_args"),
        ({"kind": "sglang", "args": {"dp": 2}, "raw_args": ["--data-parallel-size=4"]}, {}, "engine.raw_args"),
        ({"kind": "vllm", "raw_args": ["-tp", "${SIZE}"]}, {}, "engine.raw_args"),
        ({"kind": "vllm"}, {"port": [1, 2]}, "parameters.port"),
        ({"kind": "vllm"}, {"gpu_memory_utilization": [0.9, 1.5]}, "parameters.gpu_memory_utilization"),
        ({"kind": "vllm"}, {"optimization_level": [0, 5]}, "parameters.optimization_level"),
        ({"kind": "vllm"}, {"kv_cache_dtype": ["fp9"]}, "parameters.kv_cache_dtype"),
        ({"kind": "vllm"}, {"block_size": [17]}, "parameters.block_size"),
    ],
)
def test_what_every_trial_would_fail_on_is_refused(
    make_task: MakeTask, engine: dict[str, Any], parameters: dict[str, Any], field: str
) -> None:
    task = make_task(engine=engine, parameters=parameters or {"x": {"values": [1], "flag": "--x"}})
    assert [problem.field for problem in engine_problems(task)] == [field]


@pytest.mark.parametrize(
    ("engine", "params", "gpus"),
    [
        ({"kind": "sglang", "args": {"tp_size": 8}, "raw_args": ["--enable-dp-attention"]}, {"dp_size": 4}, 8),
        ({"kind": "sglang", "args": {"tp_size": 8, "enable_dp_attention": True}}, {"dp_size": 2}, 8),
        ({"kind": "sglang", "args": {"tp_size": 8, "enable_dp_attention": False}}, {"dp_size": 2}, 16),
        ({"kind": "sglang", "args": {"tp_size": 2}}, {"enable_dp_attention": True, "dp_size": 2}, 2),
        ({"kind": "sglang", "raw_args": ["--tp", "4", "--pp-size=2"]}, {}, 8),
        ({"kind": "vllm", "raw_args": ["-tp", "4"]}, {"data_parallel_size": 2}, 8),
        ({"kind": "vllm", "raw_args": "--tensor-parallel-size 2"}, {}, 2),
        ({"kind": "vllm", "args": {"tensor_parallel_size": "2"}}, {}, 2),
    ],
)
def test_the_gpus_of_a_trial(make_task: MakeTask, engine: dict[str, Any], params: dict[str, Any], gpus: int) -> None:
    task = make_task(engine=engine, parameters={name: [value] for name, value in params.items()} or {"page_size": [16]})
    assert gpus_of_trial(task, engine_for(task), params) == gpus


def test_rules_of_the_engine_compare_sizes_as_numbers(make_task: MakeTask) -> None:
    task = make_task(
        engine={"kind": "vllm", "args": {"enable_chunked_prefill": False}},
        parameters={"max_model_len": ["16k", "auto", -1, 4096], "max_num_batched_tokens": ["8k"]},
    )
    allowed = [point["max_model_len"] for point in space_for(task, engine_for(task)).grid()]
    assert allowed == ["auto", -1, 4096]


def test_dp_attention_splits_the_gpus_of_tp(make_task: MakeTask) -> None:
    task = make_task(
        engine={"kind": "sglang", "args": {"tp_size": 8}, "raw_args": ["--enable-dp-attention"]},
        parameters={"dp_size": [2, 3, 8]},
    )
    assert [point["dp_size"] for point in space_for(task, engine_for(task)).grid()] == [2, 8]


def test_a_rule_may_name_a_key_of_a_json_flag(make_task: MakeTask) -> None:
    task = make_task(
        engine="vllm",
        parameters={"compilation_config.mode": [0, 3], "max_num_seqs": [8, 16]},
        rules=["compilation_config.mode == 0 or max_num_seqs > 8"],
    )
    points = [(point["compilation_config.mode"], point["max_num_seqs"]) for point in task.space.grid()]
    assert points == [(0, 8), (0, 16), (3, 16)]
