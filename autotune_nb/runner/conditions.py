"""What else could change a level's figures: this machine's load, CPU time, GPUs; and the engine's own metrics."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import statistics
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar

import psutil

from autotune_nb.runner.engine_metrics import EngineMetrics, Sample, write_samples
from autotune_nb.runner.gpus import Gpu, GpuState, gpus, processes_on, state
from autotune_nb.trial.measurement import Level

#: The file of the GPUs' samples in the folder of an attempt: a JSON object per line.
GPU_FILE_NAME = "gpu_metrics.jsonl"
#: Between two samples; those of the CPUs' frequency and of processes on GPUs take longer, and come with every fifth.
_SAMPLE_S, _EVERY = 1.0, 5
#: An engine that uses fewer CPUs under load is a process elsewhere, such as in a container that a program started.
_MIN_ENGINE_CORES = 0.05
#: Times of a CPU at which it is idle, and those of guests, which are part of their users'.
_NOT_BUSY = {"idle", "iowait", "guest", "guest_nice"}
#: The program that starts an engine and ends it.
_GUARD = "_guard.py"


def load_per_core() -> float:
    """Return this machine's load average of the last minute, divided by its number of CPUs."""
    return psutil.getloadavg()[0] / (psutil.cpu_count() or 1)


@dataclass
class LevelConditions:
    """Records the conditions of one trial's levels.

    ``engine_pid`` is the parent of the engine's processes on this machine, None if there are none; ``gpus`` are the
    numbers or ids of its GPUs, None for all. ``metrics`` are the engine's own.
    """

    #: The engines that are measured now, of all trials.
    _engines: ClassVar[set[int]] = set()
    engine_pid: int | None
    gpus: Collection[str] | None = None
    metrics: EngineMetrics | None = None
    _since: float = field(init=False, default_factory=time.monotonic)
    _cpu_s: tuple[float, float, float] | None = field(init=False, default=None)
    #: When each state was read, and of which GPU.
    _states: list[tuple[float, Gpu, GpuState]] = field(init=False, default_factory=list)
    _frequencies: list[float] = field(init=False, default_factory=list)
    _foreign: set[int] = field(init=False, default_factory=set)

    @contextlib.asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Begin the first level; sample the CPUs, the GPUs and the engine's metrics while the levels run."""
        own = set() if self.engine_pid is None else {self.engine_pid}
        self._engines.update(own)
        await self.take()
        sampling = asyncio.ensure_future(self._sample_on())
        try:
            async with self.metrics.recording() if self.metrics is not None else contextlib.nullcontext():
                yield
        finally:
            self._engines.difference_update(own)
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    async def take(self, level: Level | None = None) -> dict[str, float]:
        """Return the conditions since the last call, by their names in CONDITIONS, without those that cannot be read.

        ``level`` is the level that ends now.
        """
        found: dict[str, float] = {}
        with contextlib.suppress(psutil.Error, OSError):
            found = await asyncio.to_thread(self._take, level)
        return found | (await self.metrics.take(level) if self.metrics is not None and level is not None else {})

    def _take(self, level: Level | None) -> dict[str, float]:
        now, cpu_s = time.monotonic(), self._read_cpu_s()
        passed_s, before = max(now - self._since, 1e-3), self._cpu_s or cpu_s
        tool, engine, others = (
            max(0.0, after - earlier) / passed_s for earlier, after in zip(before, cpu_s, strict=True)
        )
        found = {"machine_load_per_core": load_per_core(), "tool_cpu_cores": tool}
        if self.engine_pid is not None:
            found["engine_cpu_cores"] = engine
        if engine >= _MIN_ENGINE_CORES:
            found["other_cpu_share"] = others / len(_cpus())
        if self._frequencies:
            found["cpu_frequency_mean_mhz"] = statistics.fmean(self._frequencies)
        found |= _of_gpus([one for _, _, one in self._states])
        if self._states:
            found["gpu_foreign_processes"] = float(len(self._foreign))
            if self.metrics is not None and level is not None:
                write_samples(self.metrics.folder / GPU_FILE_NAME, level, _samples(self._states))
        self._since, self._cpu_s = now, cpu_s
        self._states, self._frequencies, self._foreign = [], [], set()
        return {name: round(value, 3) for name, value in found.items()}

    def _read_cpu_s(self) -> tuple[float, float, float]:
        """Return the CPU seconds of this process with the benchmark's, of the engine, and of other work."""
        busy_s = _busy_s()
        tool, engine, other_engines = [psutil.Process()], [], []
        for tree in _trees():
            with contextlib.suppress(psutil.Error):
                if tree[0].pid == self.engine_pid:
                    engine = tree
                elif any(word.endswith(_GUARD) for word in tree[0].cmdline()):
                    other_engines += tree
                else:
                    tool += tree
        if not engine and self.engine_pid is not None:
            # The daemon or the init process is the parent of those in a container.
            engine = _tree(self.engine_pid)
            other_engines += [one for pid in self._engines - {self.engine_pid} for one in _tree(pid)]
        tool_s, engine_s = _cpu_s(tool), _cpu_s(engine)
        return tool_s, engine_s, busy_s - tool_s - engine_s - _cpu_s(other_engines)

    async def _sample_on(self) -> None:
        # The CPUs and GPUs of an engine in a container or a cluster are not those of this machine, or its processes are
        # unknown.
        if self.engine_pid is None:
            return
        ours = await asyncio.to_thread(gpus, self.gpus)
        for number in itertools.count():
            await asyncio.to_thread(self._sample, ours, rare=number % _EVERY == 0)
            await asyncio.sleep(_SAMPLE_S)

    def _sample(self, ours: Collection[Gpu], *, rare: bool) -> None:
        self._states += [(time.time(), gpu, state(gpu)) for gpu in ours]
        if rare:
            self._frequencies += _frequency_mhz()
            if ours:
                self._foreign |= foreign(processes_on(ours)) - {process.pid for process in _tree(self.engine_pid)}


def _samples(states: Sequence[tuple[float, Gpu, GpuState]]) -> list[Sample]:
    """Return what is known of each GPU at each time."""
    return [
        Sample(at, {"gpu": float(gpu.number), **{k: float(v) for k, v in asdict(one).items() if v is not None}})
        for at, gpu, one in states
    ]


def _of_gpus(states: Sequence[GpuState]) -> dict[str, float]:
    """Return the conditions of GPUs that samples of them show."""
    found = {}
    if clocks := [one.clock_mhz for one in states if one.clock_mhz is not None]:
        found["gpu_clock_mean_mhz"], found["gpu_clock_min_mhz"] = statistics.fmean(clocks), min(clocks)
    if powers := [one.power_w for one in states if one.power_w is not None]:
        found["gpu_power_mean_w"], found["gpu_power_max_w"] = statistics.fmean(powers), max(powers)
    if temperatures := [one.temperature_c for one in states if one.temperature_c is not None]:
        found["gpu_temperature_max_c"] = max(temperatures)
    if throttled := [one.throttled for one in states if one.throttled is not None]:
        found["gpu_throttled_share"] = statistics.fmean(throttled)
    return found


def _frequency_mhz() -> list[float]:
    """Return the mean frequency of the CPUs; empty where the platform does not report it."""
    # On some platforms psutil has no cpu_freq, on others it raises NotImplementedError.
    with contextlib.suppress(psutil.Error, OSError, NotImplementedError, AttributeError):
        found = psutil.cpu_freq()
        return [found.current] if found and found.current else []
    return []


def foreign(pids: Iterable[int]) -> set[int]:
    """Return the processes that this one did not start, without those of other PID namespaces, which are unknown."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if os.getpid() not in (pid, *(parent.pid for parent in psutil.Process(pid).parents())):
                found.add(pid)
    return found


def _trees() -> list[list[psutil.Process]]:
    """Return each child of this process with the processes that it started.

    psutil reads all processes of the machine for each call of ``children``, so there is a single one.
    """
    trees: dict[int, list[psutil.Process]] = {}
    found: list[list[psutil.Process]] = []
    # A process comes before those that it started.
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            parent = process.ppid()
            if parent == os.getpid():
                found.append([])
            tree = found[-1] if parent == os.getpid() else trees.get(parent, [])
            tree.append(process)
            trees[process.pid] = tree
    return found


def _tree(pid: int | None) -> list[psutil.Process]:
    """Return a process and those that it started; nothing for None."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)] if pid is not None else []
    return []


def _cpus() -> list[int]:
    """Return the numbers of the CPUs that this process and its children may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(psutil.cpu_count() or 1))


def _busy_s() -> float:
    """Return the seconds that these CPUs were not idle."""
    per_cpu, total = psutil.cpu_times(percpu=True), 0.0
    for number in _cpus():
        if number < len(per_cpu):
            times: dict[str, float] = per_cpu[number]._asdict()
            total += sum(seconds for name, seconds in times.items() if name not in _NOT_BUSY)
    return total


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            # With those of children that have ended, so that the sum never decreases.
            total += sum(process.cpu_times()[:4])
    return total
