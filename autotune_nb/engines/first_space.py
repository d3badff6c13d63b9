"""The parameters that a new task searches: the few that matter most, with values that make sense on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune_nb.task.parameters import Choice, Value
from autotune_nb.task.preset_catalog import SCHEDULING

#: More values than these of one kind would make the first study long; anything else is one click away.
_SIZES = (1, 2, 4, 8, 16, 32, 64)


def first_space(engine: str, *, cores: int, gpus: int) -> dict[str, Choice]:
    """Return the parameters of a first study; the ranges follow the engines' own tuning guides.

    Parallel sizes are searched only with several GPUs, and memory shares only with a GPU.
    """
    values: dict[str, Sequence[Value]] = dict(SCHEDULING.get(engine, {}))
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
