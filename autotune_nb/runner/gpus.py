"""The clocks, the power and the processes of this machine's NVIDIA GPUs, as the driver's library NVML reports them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

#: Reasons for which a clock is below the one that the GPU would have under load: limits of power and of heat.
_THROTTLING = (
    "nvmlClocksThrottleReasonSwPowerCap",
    "nvmlClocksThrottleReasonHwSlowdown",
    "nvmlClocksThrottleReasonSwThermalSlowdown",
    "nvmlClocksThrottleReasonHwThermalSlowdown",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
)


@dataclass(frozen=True)
class Gpu:
    """A GPU: its number and its id."""

    number: str
    id: str
    handle: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class GpuState:
    """The clock of a GPU's processors, its power, its temperature, and whether a limit of power or heat slows it down.

    None is what the driver does not report.
    """

    clock_mhz: float | None
    power_w: float | None
    temperature_c: float | None
    throttled: bool | None


def gpus(chosen: Collection[str] | None = None) -> list[Gpu]:
    """Return the GPUs, empty without NVIDIA's driver; with ``chosen``, those of these numbers or ids."""
    nvml = _library()
    found = []
    for number in range(_read(nvml.nvmlDeviceGetCount) or 0) if nvml is not None else ():
        handle = _read(nvml.nvmlDeviceGetHandleByIndex, number)
        id_ = _read(nvml.nvmlDeviceGetUUID, handle) if handle is not None else None
        if id_ is not None:
            found.append(Gpu(str(number), id_.decode() if isinstance(id_, bytes) else id_, handle))
    if chosen is None:
        return found
    # Ids may be abbreviated; an id of a part of a GPU contains no GPU's, so all of them are returned.
    ours = [gpu for gpu in found if gpu.number in chosen or any(gpu.id.startswith(one) for one in chosen)]
    return ours or found


def state(gpu: Gpu) -> GpuState:
    """Return the state of a GPU now."""
    nvml = _library()
    power_mw = _read(nvml.nvmlDeviceGetPowerUsage, gpu.handle)
    reasons = _read(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, gpu.handle)
    return GpuState(
        _read(nvml.nvmlDeviceGetClockInfo, gpu.handle, nvml.NVML_CLOCK_SM),
        None if power_mw is None else power_mw / 1000,
        _read(nvml.nvmlDeviceGetTemperature, gpu.handle, nvml.NVML_TEMPERATURE_GPU),
        None if reasons is None else any(reasons & getattr(nvml, name) for name in _THROTTLING),
    )


def processes_on(ours: Iterable[Gpu]) -> set[int]:
    """Return the processes that compute on these GPUs."""
    nvml = _library()
    return {one.pid for gpu in ours for one in _read(nvml.nvmlDeviceGetComputeRunningProcesses, gpu.handle) or ()}


def _read(ask: Callable[..., Any], *arguments: Any) -> Any:
    """Return what NVML responds; None if this GPU or this driver does not support it."""
    try:
        return ask(*arguments)
    except _library().NVMLError:
        return None


@functools.cache
def _library() -> Any:
    """Return NVML, started; None without NVIDIA's driver or the package."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
