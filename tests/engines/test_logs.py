"""Logs of engines, healthy and failing: the failure's kind, the line that is shown first, and the hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune_nb.deploy.engine_log import diagnose, explain, tail
from autotune_nb.deploy.log_lines import read_lines
from autotune_nb.engines.base import Engine
from autotune_nb.engines.llama_cpp import LLAMA_CPP
from autotune_nb.engines.log_patterns import COMMON_PATTERNS
from autotune_nb.engines.sglang import SGLANG
from autotune_nb.engines.vllm import VLLM
from autotune_nb.errors import FailureKind

LOGS = Path(__file__).parent / "logs"
ENGINES = {"vllm": VLLM, "sglang": SGLANG, "llama": LLAMA_CPP}
HEALTHY = sorted(path.stem for path in LOGS.glob("*-healthy-*.log"))

CONFIGURATION, MEMORY = FailureKind.CONFIGURATION, FailureKind.OUT_OF_MEMORY
CRASH, INFRASTRUCTURE = FailureKind.CRASH, FailureKind.INFRASTRUCTURE
#: The log, the exit code, the kind, a part of the first line, a part of the hint.
FAILING = [
    ("vllm-kv-cache-too-small", 1, MEMORY, "ValueError: To serve at least one request", "max_model_len"),
    ("vllm-cpu-cache-too-large", 1, MEMORY, "ValueError: Available memory on node 0", "gpu_memory_utilization"),
    ("vllm-gpu-in-use", 1, MEMORY, "ValueError: Free memory on device", "lower gpu_memory_utilization"),
    ("vllm-v0-cache-too-small", 1, MEMORY, "The model's max seq len (8192) is larger than", "max_model_len"),
    ("vllm-hip-out-of-memory", 1, MEMORY, "HIP out of memory. Tried to allocate 1.90 GiB", "at start"),
    ("vllm-nccl-shared-memory", 1, INFRASTRUCTURE, "Error while creating shared memory segment", "/dev/shm"),
    ("vllm-no-nvcc", 1, INFRASTRUCTURE, "No such file or directory: 'nvcc'", "compiler"),
    (
        "vllm-unknown-model-type",
        1,
        CONFIGURATION,
        "Value error, The checkpoint you are trying to load",
        "newer version",
    ),
    ("vllm-negative-token-budget", 1, CONFIGURATION, "max_num_scheduled_tokens is set to -1792", "max_num_seqs"),
    ("vllm-heads-not-divisible", 1, CONFIGURATION, "tensor parallel size (3)", "tensor_parallel_size"),
    ("vllm-bfloat16-on-old-gpu", 1, CONFIGURATION, "ValueError: Bfloat16 is only supported on GPUs", "half"),
    ("vllm-max-model-len", 1, CONFIGURATION, "Value error, User-specified max_model_len (99999)", "max_model_len"),
    ("vllm-value-of-a-choice", 1, CONFIGURATION, "Input should be 'auto', 'bfloat16'", "whole log"),
    ("vllm-lora-rank", 1, CONFIGURATION, "ValueError: LoRA rank 64 is greater", "raise max_lora_rank"),
    ("vllm-port-in-use", 1, INFRASTRUCTURE, "OSError: [Errno 98] Address already in use", "deploy.port"),
    ("vllm-root-cause-missing", 1, CRASH, "RuntimeError: Engine core initialization failed.", "whole log"),
    ("vllm-illegal-access", 1, CRASH, "CUDA error: an illegal memory access", "whole log"),
    ("vllm-illegal-access", -9, MEMORY, "CUDA error: an illegal memory access", "killed"),
    ("vllm-killed-while-loading", -9, MEMORY, "Loading safetensors", "killed"),
    ("sglang-graph-capture-oom", -9, MEMORY, "CUDA out of memory. Tried to allocate 448", "cuda_graph_max_bs"),
    ("sglang-no-room-for-cache", -9, MEMORY, "RuntimeError: Not enough memory.", "raise mem_fraction_static"),
    ("sglang-host-memory", 1, MEMORY, "Cannot allocate memory", "the host's memory"),
    ("sglang-no-kernel-image", 1, CRASH, "no kernel image is available", "whole log"),
    ("sglang-illegal-access", 1, CRASH, "Triton Error [CUDA]: an illegal memory access", "whole log"),
    ("sglang-illegal-access-later", 1, CRASH, "RuntimeError: CUDA error: an illegal memory access", "whole log"),
    ("sglang-illegal-access-later", -9, MEMORY, "RuntimeError: CUDA error: an illegal memory access", "killed"),
    ("sglang-context-too-long", 1, CONFIGURATION, "context_length (131072) is greater", "lower context_length"),
    # SGLang kills itself after an error of a child process.
    ("sglang-context-too-long", -9, CRASH, "context_length (131072) is greater", "lower context_length"),
    ("sglang-nccl-error", 1, CRASH, "NCCL error: unhandled system error", "NCCL_DEBUG"),
    ("sglang-nccl-error", -9, CRASH, "NCCL error: unhandled system error", "NCCL_DEBUG"),
    ("sglang-gated-model", 1, CONFIGURATION, "You are trying to access a gated repo", "HF_TOKEN"),
    ("sglang-numactl-refused", 1, INFRASTRUCTURE, "set_mempolicy: Invalid argument", "NUMA"),
    ("sglang-heads-not-divisible", 1, CONFIGURATION, "AssertionError: 16 is not divisible by 6", "tp_size"),
    ("sglang-jit-header-missing", 1, INFRASTRUCTURE, "fatal error: cuda_fp8.h: No such file", "headers"),
    ("sglang-unknown-flag", 2, CONFIGURATION, "error: unrecognized arguments: --turbo", "--help"),
    ("llama-cuda-oom", 1, MEMORY, "allocating 144817.04 MiB on device 0: cudaMalloc failed", "n_gpu_layers"),
    ("llama-cuda-error-later", -6, MEMORY, "allocating 1408.00 MiB on device 4: cudaMalloc failed", "ctx_size"),
    ("llama-value-expected", 1, CONFIGURATION, 'error while handling argument "--flash-attn"', "--help"),
    ("llama-removed-flag", 1, CONFIGURATION, "error: invalid argument: --no-mmap", "--help"),
    ("llama-truncated-file", 1, CONFIGURATION, "data is not within the file bounds", "download it again"),
    ("llama-unknown-architecture", 1, CONFIGURATION, "unknown model architecture: 'examplevl'", "newer version"),
    ("llama-quantized-v-cache", -11, CONFIGURATION, "quantized V cache was requested", "flash_attn"),
    ("llama-draft-context", 1, CONFIGURATION, "llama_init_from_model: failed to initialize the context", "draft model"),
    ("llama-illegal-instruction", -4, CRASH, "AMX is not ready to be used!", "this CPU"),
]


def _engine(name: str) -> Engine:
    return ENGINES[name.partition("-")[0]]


def test_each_log_is_tested() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == {*HEALTHY, *(name for name, *_ in FAILING)}


@pytest.mark.parametrize("name", HEALTHY)
def test_no_pattern_matches_a_line_of_a_healthy_engine(name: str) -> None:
    raw = tail(LOGS / f"{name}.log")
    for pattern in (*_engine(name).patterns, *COMMON_PATTERNS):
        assert [text for text in (*raw, *(line.text for line in read_lines(raw))) if pattern.pattern.search(text)] == []


@pytest.mark.parametrize("phase", ["deploy", "benchmark"])
@pytest.mark.parametrize(
    ("code", "kind", "hint"), [(1, CRASH, "whole log"), (-9, MEMORY, "killed"), (None, FailureKind.TIMEOUT, "ready_s")]
)
@pytest.mark.parametrize("name", HEALTHY)
def test_the_log_of_a_healthy_engine_explains_no_failure(
    name: str, code: int | None, kind: FailureKind, hint: str, phase: str
) -> None:
    failure = diagnose(LOGS / f"{name}.log", _engine(name), phase=phase, exit_code=code, message="it ended")
    assert failure.kind is kind
    assert hint in failure.hint
    assert not [line for line in failure.log_lines if "warning" in line.lower() or "error" in line.lower()]


@pytest.mark.parametrize(("name", "code", "kind", "first", "hint"), FAILING)
def test_the_log_of_a_failure_gives_its_kind_its_cause_first_and_a_hint(
    name: str, code: int, kind: FailureKind, first: str, hint: str
) -> None:
    failure = diagnose(LOGS / f"{name}.log", _engine(name), phase="deploy", exit_code=code, message="it ended")
    assert first in failure.log_lines[0]
    assert failure.kind is kind
    assert hint in failure.hint
    assert "under load" not in failure.hint
    noise = ("For further information", "ulimit", "usage:", "raise ", "Warning: resource", "Traceback")
    assert not [line for line in failure.log_lines for word in noise if line.startswith(word) or "ulimit" in line]


@pytest.mark.parametrize(("name", "code", "kind", "first", "hint"), FAILING)
def test_an_engine_that_was_killed_is_never_a_wrong_configuration(
    name: str, code: int, kind: FailureKind, first: str, hint: str
) -> None:
    raw = tail(LOGS / f"{name}.log")
    for killed in (-9, 137):
        assert explain(raw, _engine(name), exit_code=killed).kind is not CONFIGURATION


def test_memory_that_runs_out_under_load_has_another_hint_than_at_start() -> None:
    line = ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB."]
    for engine in (VLLM, SGLANG):
        assert "at start" in explain(line, engine, exit_code=1).hint
        assert "under load" in explain(line, engine, exit_code=1, started=True).hint


def test_an_error_of_a_request_is_no_cause_once_the_server_answers_again() -> None:
    raw = [
        "INFO:     Application startup complete.",
        "ERROR 08-27 14:02:27 [serving_chat.py:198] ValueError: too many tokens",
        'INFO:     127.0.0.1:36818 - "POST /v1/chat/completions HTTP/1.1" 400 Bad Request',
        "Fatal Python error: Segmentation fault",
    ]
    found = explain(raw, VLLM, exit_code=-11)
    assert found.kind is CRASH
    assert found.lines[0] == "Fatal Python error: Segmentation fault"
