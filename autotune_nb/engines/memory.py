"""An estimate of the GPU memory that an engine needs to start, from the model's weights and the flags of a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune_nb.engines.base import Engine
from autotune_nb.engines.engine_rules import comparable
from autotune_nb.engines.model_config import model_config, model_folder
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import Point
from autotune_nb.task.task import Task

_GIB = 1 << 30
#: What CUDA, the captured graphs and the libraries take on each GPU.
_RUNTIME_BYTES = 2.0 * _GIB
#: The tokens that are prefilled at once where the task does not say.
_BATCHED_TOKENS = 8192
#: A logarithm of available over needed memory below any real one: nothing is left.
_NOTHING = -3.0


#: With one of these in its configuration, not every layer of a model keeps every token.
_PARTIAL = ("layer_types", "sliding_window", "attn_layer_indices", "full_attention_interval")


@dataclass(frozen=True)
class _Flags:
    """The flags of one engine that decide its memory; where one of ``unknown`` is set, there is no estimate."""

    fraction: str
    sizes: tuple[str, str]
    tokens: str
    #: The longest sequence, whose KV cache must fit; None if the engine starts with less.
    length: str | None
    unknown: tuple[str, ...]
    #: Whether the memory beyond the fraction must hold the activations.
    activations_outside: bool = False


_FLAGS = {
    "vllm": _Flags(
        "gpu_memory_utilization",
        ("tensor_parallel_size", "pipeline_parallel_size"),
        "max_num_batched_tokens",
        "max_model_len",
        ("kv_cache_memory_bytes", "cpu_offload_gb", "quantization", "dtype", "load_format", "speculative_config"),
    ),
    "sglang": _Flags(
        "mem_fraction_static",
        ("tp_size", "pp_size"),
        "chunked_prefill_size",
        None,
        ("cpu_offload_gb", "quantization", "dtype", "load_format", "speculative_algorithm", "torchao_config"),
        activations_outside=True,
    ),
}


@dataclass(frozen=True)
class _Model:
    """The size of a model: its weights in bytes, and what its configuration says of layers and KV cache."""

    weights: float
    layers: int
    kv_heads: int
    #: Numbers in the KV cache by token, layer and head; None if the cache is of another kind.
    kv_width: float | None
    hidden: int
    inner: int
    length: float | None


def memory_headroom(task: Task, engine: Engine, gpu_bytes: float | None) -> Callable[[Point], float | None] | None:
    """Return a function of a point: the logarithm of available over needed GPU memory at start.

    It is above 0 where the engine should start, and None where a flag of the point makes it unknown. Returns None if
    nothing can be estimated: for other engines than vLLM and SGLang, without the GPU's memory, or unless the model is
    in a folder of this machine.
    """
    flags, model = _FLAGS.get(engine.name), None
    if flags is not None and gpu_bytes:
        model = _read_model(task, engine)
    if flags is None or model is None or not gpu_bytes:
        return None
    catalog = {flag.name: flag for flag in (*engine.flags, *engine.other_flags)}
    fixed: dict[str, Value] = {name: flag.default for name, flag in catalog.items()}
    fixed |= engine.named({**engine.flags_in(task.engine.raw_args), **task.engine.args})

    def headroom(point: Point) -> float | None:
        given = fixed | {name: value for name, value in engine.named(point).items() if value is not None}
        values = {name: comparable(catalog.get(name), value) for name, value in given.items()}
        if flags.length is not None and given.get(flags.length) in catalog[flags.length].other_values:
            # A word such as auto takes what fits.
            values[flags.length] = 0
        return _headroom(flags, model, gpu_bytes, values)

    return headroom


def _headroom(flags: _Flags, model: _Model, gpu_bytes: float, values: Mapping[str, Value]) -> float | None:
    if any(values.get(name) not in (None, "auto", 0, False) for name in flags.unknown):
        return None
    fraction = _number(values.get(flags.fraction))
    if fraction is None:
        return None
    tensor, stages = (max(1.0, _number(values.get(name)) or 1.0) for name in flags.sizes)
    tokens = _number(values.get(flags.tokens)) or 0.0
    activations = 2 * (tokens if tokens > 0 else _BATCHED_TOKENS) * (model.hidden + 2 * model.inner / tensor)
    needed, available = model.weights / (tensor * stages), fraction * gpu_bytes
    if flags.length is not None and model.kv_width is not None:
        given = _number(values.get(flags.length))
        length = (model.length or 0.0) if given is None else given
        heads, size = max(1.0, model.kv_heads / tensor), _bytes_of(values.get("kv_cache_dtype"))
        needed += length * model.layers / stages * heads * model.kv_width * size
    if not flags.activations_outside:
        available -= _RUNTIME_BYTES + activations
        return _ratio(available, needed)
    outside = (1 - fraction) * gpu_bytes
    return min(_ratio(available, needed + 0.5 * _GIB), _ratio(outside, 0.5 * _RUNTIME_BYTES + activations))


def _ratio(available: float, needed: float) -> float:
    return max(_NOTHING, math.log(available / needed)) if available > 0 else _NOTHING


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _bytes_of(dtype: Value) -> float:
    """Return the bytes of a number in the KV cache."""
    text = str(dtype or "auto")
    return 0.5625 if "fp4" in text else 1.0 if "8" in text else 4.0 if text == "float32" else 2.0


def _read_model(task: Task, engine: Engine) -> _Model | None:
    config, folder = model_config(task, engine), model_folder(task)
    if config is None or folder is None:
        return None
    try:
        files = [file for pattern in ("*.safetensors", "*.bin") for file in sorted(folder.glob(pattern))]
        # Of both formats the engines load one; a consolidated file repeats the others.
        kind = files[0].suffix if files else ""
        files = [f for f in files if f.suffix == kind and not f.name.startswith("consolidated")]
        weights = sum(file.stat().st_size for file in files)
    except OSError:
        return None
    layers, hidden = _positive(config, "num_hidden_layers"), _positive(config, "hidden_size")
    heads = _positive(config, "num_attention_heads")
    if not weights or layers is None or heads is None or hidden is None:
        return None
    kv_heads = _positive(config, "num_key_value_heads") or heads
    width: float | None = 2.0 * (_positive(config, "head_dim") or hidden // heads)
    latent = _positive(config, "kv_lora_rank")
    if latent is not None:
        kv_heads, width = 1, latent + (_positive(config, "qk_rope_head_dim") or 0)
    elif any(config.get(name) for name in _PARTIAL):
        width = None
    inner = _positive(config, "intermediate_size") or 4 * hidden
    return _Model(weights, layers, kv_heads, width, hidden, inner, _positive(config, "max_position_embeddings"))


def _positive(config: Mapping[str, Any], name: str) -> int | None:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
