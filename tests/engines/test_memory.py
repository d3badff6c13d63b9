"""The estimate of the memory that an engine needs to start."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.engines.memory import memory_headroom
from autotune_nb.engines.registry import engine_for

GIB = 1 << 30
SMALL = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
}
LARGE = {**SMALL, "num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64}


@pytest.fixture
def headroom(make_task: Any, tmp_path: Path) -> Any:
    """Return the headroom of one configuration on GPUs of so many GiB."""

    def estimate(
        config: dict[str, Any], weights_gib: float, gpu_gib: float, *, engine: str = "vllm", **point: Any
    ) -> float | None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        for name in ("model-1.safetensors", "model-2.safetensors"):
            (tmp_path / name).touch()
            # Of this size, but without data.
            os.truncate(tmp_path / name, int(weights_gib * GIB / 2))
        given = {name: [value] for name, value in point.items()}
        task = make_task(engine={"kind": engine}, model=str(tmp_path), parameters=given, deploy={"gpus": 8})
        found = memory_headroom(task, engine_for(task), gpu_gib * GIB)
        return None if found is None else found(point)

    return estimate


def test_weights_are_divided_by_the_parallel_sizes(headroom: Any) -> None:
    by_size = [headroom(LARGE, 131, 80, tensor_parallel_size=n, max_model_len=8192) for n in (1, 2, 4, 8)]
    assert by_size == sorted(by_size)
    assert by_size[0] < -0.5
    assert by_size[2] > 0.5
    assert headroom(LARGE, 131, 80, pipeline_parallel_size=4, max_model_len=8192) > 0.5


def test_the_kv_cache_of_the_longest_sequence_must_fit(headroom: Any) -> None:
    # 128 KiB a token: 16 GiB for 131 072 tokens.
    assert headroom(SMALL, 15, 24, max_model_len=131072) < -0.3
    assert headroom(SMALL, 15, 24, gpu_memory_utilization=0.95) < -0.3
    assert headroom(SMALL, 15, 24, max_model_len="4k") > 0.1
    assert headroom(SMALL, 15, 24, max_model_len="auto") > 0.1
    both = [headroom(SMALL, 15, 40, max_model_len=131072, kv_cache_dtype=dtype) for dtype in ("auto", "fp8")]
    assert both[0] < both[1]
    # The compressed cache of DeepSeek's attention is 70 times smaller.
    latent = {**LARGE, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    assert headroom(latent, 15, 24, max_model_len=32768) > headroom(LARGE, 15, 24, max_model_len=32768) + 0.2


def test_sglang_needs_memory_beyond_its_fraction(headroom: Any) -> None:
    fractions = [
        headroom(SMALL, 15, 24, engine="sglang", mem_fraction_static=f, chunked_prefill_size=8192)
        for f in (0.6, 0.85, 0.98)
    ]
    assert fractions[0] < 0 < fractions[1]
    assert fractions[2] < 0
    # Without a fraction SGLang chooses one itself.
    assert headroom(SMALL, 15, 24, engine="sglang", tp_size=1) is None


@pytest.mark.parametrize(
    "point",
    [{"kv_cache_memory_bytes": "8G"}, {"quantization": "fp8"}, {"cpu_offload_gb": 4}, {"dtype": "float32"}],
)
def test_flags_that_make_it_unknown(headroom: Any, point: dict[str, Any]) -> None:
    assert headroom(SMALL, 15, 24, max_model_len=4096, **point) is None


def test_without_model_gpu_or_known_engine_there_is_no_estimate(headroom: Any, make_task: Any, tmp_path: Path) -> None:
    assert headroom(SMALL, 15, 0, max_model_len=4096) is None
    assert headroom({**SMALL, "num_hidden_layers": "many"}, 15, 24, max_model_len=4096) is None
    assert headroom(SMALL, 0, 24, max_model_len=4096) is None
    for model, engine in (("org/name", "vllm"), (str(tmp_path), "llama_cpp")):
        task = make_task(engine={"kind": engine}, model=model, parameters={"x": [1]}, deploy={"gpus": 1})
        assert memory_headroom(task, engine_for(task), 24 * GIB) is None
