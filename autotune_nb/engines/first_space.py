"""The parameters that a new task searches: the few that matter most, with values that make sense on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune_nb.task.parameters import Choice, Value

#: More values than these of one kind would make the first study long; anything else is one click away.
_SIZES = (1, 2, 4, 8, 16, 32, 64)


def first_space(engine: str, *, cores: int, gpus: int) -> dict[str, Choice]:
    """Return the parameters of a first study; the ranges follow the engines' own tuning guides.

    Parallel sizes are searched only with several GPUs, and memory shares only with a GPU.
    """
    values: dict[str, Sequence[Value]] = dict(_PARAMETERS.get(engine, {}))
    if engine == "llama_cpp":
        values = {"threads": _up_to(cores), **values}
    if gpus:
        values = {**_WITH_GPU.get(engine, {}), **values}
    if gpus > 1 and engine in _PARALLEL:
        values = {_PARALLEL[engine]: _up_to(gpus, itself=False), **values}
    return {name: Choice(values=list(found)) for name, found in values.items()}


def _up_to(most: int, *, itself: bool = True) -> list[Value]:
    """Return the powers of two up to a number, and the number itself."""
    found = {size for size in _SIZES if size <= max(1, most)}
    return [*sorted(found | {most} if itself and most > 0 else found)]


_PARALLEL = {"vllm": "tensor_parallel_size", "sglang": "tp_size"}
_WITH_GPU: Mapping[str, Mapping[str, Sequence[Value]]] = {
    "vllm": {"gpu_memory_utilization": (0.85, 0.9, 0.95)},
    "sglang": {"mem_fraction_static": (0.8, 0.85, 0.9)},
}
_PARAMETERS: Mapping[str, Mapping[str, Sequence[Value]]] = {
    "vllm": {
        "max_num_seqs": (32, 64, 128, 256, 512),
        "max_num_batched_tokens": (2048, 4096, 8192, 16384),
        "performance_mode": ("balanced", "interactivity", "throughput"),
        "async_scheduling": (True, False),
    },
    "sglang": {
        "max_running_requests": (32, 64, 128, 256),
        "chunked_prefill_size": (2048, 4096, 8192, 16384),
        "schedule_conservativeness": (0.3, 0.6, 1.0),
        "num_continuous_decode_steps": (1, 2, 4),
    },
    "llama_cpp": {
        "parallel": (1, 2, 4, 8),
        "batch_size": (256, 512, 1024, 2048),
        "ubatch_size": (128, 256, 512),
        "flash_attn": ("on", "off"),
    },
}
