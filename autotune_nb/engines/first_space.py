"""The parameters that a new task searches, and the first values of any other, with values that fit this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
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


def first_range(engine: Engine, flag: Flag, *, cores: int, gpus: int) -> Choice | Bool | Int | Float | None:
    """Return the values that a flag is searched in at first: few, and none that this machine cannot run.

    A flag without a suggested range has None.
    """
    known = first_space(engine.name, cores=cores, gpus=gpus).get(flag.name)
    if known is not None:
        return known
    if flag.name in engine.parallel_sizes:
        return Choice(values=_up_to(gpus, itself=False))
    if flag.name.startswith("threads"):
        return Choice(values=_up_to(cores))
    if flag.name in _LAYERS_ON_GPU and not gpus:
        return Choice(values=[0])
    suggested = flag.suggestion()
    if isinstance(suggested, Int | Float) and suggested.low < suggested.high:
        return Choice(values=_spread(flag, suggested))
    return suggested


def _spread(flag: Flag, wide: Int | Float) -> list[Value]:
    """Return at most five values from one end of a range to the other."""
    whole, low, high = isinstance(wide, Int), float(wide.low), float(wide.high)
    if whole and high - low < _FEW:
        return [*range(int(low), int(high) + 1)]
    parts = [step / (_FEW - 1) for step in range(_FEW)]
    if wide.log:
        found = [low * (high / low) ** part for part in parts]
    else:
        found = [low + (high - low) * part for part in parts]
    values: list[Value] = [_rounded(flag, value) if whole else float(f"{value:.3g}") for value in found]
    kept = [value for value in dict.fromkeys([wide.low, *values[1:-1], wide.high]) if flag.problem(value) is None]
    return kept or [wide.low]


def _rounded(flag: Flag, value: float) -> int:
    """Return a whole number near a value: a multiple that the engine accepts, or a power of two of a large range."""
    if flag.log:
        return int(2 ** round(math.log2(value)))
    return round(value / flag.multiple) * flag.multiple


def _up_to(most: int, *, itself: bool = True) -> list[Value]:
    """Return the powers of two up to a number, and the number itself."""
    found = {size for size in _SIZES if size <= max(1, most)}
    return [*sorted(found | {most} if itself and most > 0 else found)]


#: The most values of a range that become a first choice.
_FEW = 5
_LAYERS_ON_GPU = ("n_gpu_layers", "n_gpu_layers_draft", "gpu_layers_draft")
_PARALLEL = {"vllm": "tensor_parallel_size", "sglang": "tp_size"}
_WITH_GPU: Mapping[str, Mapping[str, Sequence[Value]]] = {
    "vllm": {"gpu_memory_utilization": (0.85, 0.9, 0.95)},
    "sglang": {"mem_fraction_static": (0.8, 0.85, 0.9)},
}
