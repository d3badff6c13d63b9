"""The conditions of a level: machine load, CPU time and frequency, GPU clocks, power and heat, foreign processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import psutil
import pynvml
import pytest

from autotune_nb.runner import conditions as conditions_module
from autotune_nb.runner.cautions import Cautions
from autotune_nb.runner.conditions import GPU_FILE_NAME, LevelConditions, foreign
from autotune_nb.runner.engine_metrics import EngineMetrics
from autotune_nb.runner.gpus import GpuState, gpus, processes_on, state
from autotune_nb.trial.comparable import environment_text
from autotune_nb.trial.condition_names import CONDITIONS
from autotune_nb.trial.measurement import Level
from tests.runs import ran
from tests.stubs import World, in_loop, open_study
from tests.trial.test_comparable import beside, in_environments

T = TypeVar("T")
IDS = (
    "GPU-5c6a1d3e-1f2b-4a7c-9d1e-2b3c4d5e6f70",
    "GPU-9b8a7c6d-5e4f-3a2b-1c0d-9e8f7a6b5c4d",
    "GPU-1a2b3c4d-0000-1111-2222-333344445555",
)


class Nvml:
    """NVML's functions for the GPUs of IDS, of which the last one supports no query; processes by the GPU's number."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = pynvml.NVML_CLOCK_SM, pynvml.NVML_TEMPERATURE_GPU
    NVMLError = pynvml.NVMLError

    def __init__(self, clocks: Iterable[int] = (), reasons: int = 0, processes: Mapping[int, list[int]] | None = None):
        self._clocks, self._reasons, self._processes = iter(clocks), reasons, processes or {}

    def __getattr__(self, name: str) -> int:
        return int(getattr(pynvml, name))

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(IDS)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return IDS[handle]

    def nvmlDeviceGetClockInfo(self, handle: int, _kind: int) -> int:  # noqa: N802
        return self._supported(handle, next(self._clocks, 1980))

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return self._supported(handle, 612_345)

    def nvmlDeviceGetTemperature(self, handle: int, _kind: int) -> int:  # noqa: N802
        return self._supported(handle, 81)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:  # noqa: N802
        return self._supported(handle, self._reasons)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self._supported(handle, self._processes.get(handle, []))]

    def _supported(self, handle: int, value: T) -> T:
        if handle == 2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def use(**options: Any) -> None:
        library = Nvml(**options)
        monkeypatch.setattr("autotune_nb.runner.gpus._library", lambda: library)

    return use


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        (None, ["0", "1", "2"]),
        (["1"], ["1"]),
        (["GPU-5c6a"], ["0"]),
        # Part of some GPU: which one is unknown.
        (["MIG-77"], ["0", "1", "2"]),
    ],
)
def test_the_gpus_of_an_engine_are_those_of_its_numbers_or_ids(
    nvml: Callable[..., None], chosen: list[str] | None, numbers: list[str]
) -> None:
    nvml()
    assert [gpu.number for gpu in gpus(chosen)] == numbers


def test_the_state_of_a_gpu_is_what_its_driver_reports(nvml: Callable[..., None]) -> None:
    nvml(clocks=[1410], reasons=pynvml.nvmlClocksThrottleReasonSwPowerCap, processes={0: [4343], 1: [4242]})
    first, second, third = gpus()
    assert state(first) == GpuState(1410, 612.345, 81, True)
    assert state(third) == GpuState(None, None, None, None)
    assert (processes_on([first]), processes_on([first, second, third])) == ({4343}, {4242, 4343})


def test_an_idle_gpu_is_not_slowed_down(nvml: Callable[..., None]) -> None:
    nvml(reasons=pynvml.nvmlClocksThrottleReasonGpuIdle)
    assert state(gpus()[0]).throttled is False


def test_without_a_driver_there_are_no_gpus() -> None:
    assert gpus() == gpus(["0"]) == []


def test_processes_of_the_study_are_not_foreign_and_unknown_ones_are_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert foreign([os.getpid(), child.pid, 2**22 + 1]) == set()
        child.communicate(b"\n")
    assert foreign([os.getppid()]) == {os.getppid()}


def test_the_processes_of_this_one_are_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[psutil.Process] = []
    real = psutil.Process.children

    def children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        passes.append(process)
        return real(process, recursive)

    monkeypatch.setattr(psutil.Process, "children", children)
    start = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); input(); p.kill()"
    with subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            assert one.stdout is not None
            inner = int(one.stdout.readline())
            found = [[process.pid for process in tree] for tree in conditions_module._trees()]
            other.communicate(b"\n")
        one.communicate(b"\n")
    assert [one.pid, inner] in found and [other.pid] in found
    assert len(passes) == 1


def test_cpu_time_is_that_of_the_engine_or_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.getloadavg", lambda: (3.0, 0.0, 0.0))
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    monkeypatch.setattr("autotune_nb.runner.conditions._MIN_ENGINE_CORES", 0.0)
    # Far more than the engine and this process used.
    busy = iter((0.0, 1000.0))
    times = namedtuple("times", "user idle")
    monkeypatch.setattr("psutil.cpu_times", lambda percpu: [times(next(busy), 5.0)])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)
    burn = "input()\nimport time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    argv = [sys.executable, "-c", burn]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        conditions = LevelConditions(engine.pid)
        in_loop(conditions.take())
        began = time.monotonic()
        engine.stdin.write(b"\n")
        engine.stdin.flush()
        engine.stdout.readline()
        taken = in_loop(conditions.take())
        passed_s = time.monotonic() - began
        engine.communicate(b"\n")
    assert taken["machine_load_per_core"] == 1.5
    assert taken["engine_cpu_cores"] * passed_s >= 0.15
    assert taken["other_cpu_share"] * passed_s > 900
    assert set(taken) <= set(CONDITIONS)


def test_the_gpus_of_a_level_and_other_processes_are_recorded(
    nvml: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    nvml(clocks=[1980, 1200, 1980], reasons=limit, processes={0: [os.getppid(), os.getpid()], 1: [1]})
    monkeypatch.setattr("autotune_nb.runner.conditions._SAMPLE_S", 0.001)
    monkeypatch.setattr("psutil.cpu_freq", lambda: SimpleNamespace(current=2600.0))
    # Nothing listens there.
    conditions = LevelConditions(os.getpid(), ["0"], EngineMetrics("http://127.0.0.1:1", {}, tmp_path))

    async def scenario() -> dict[str, float]:
        async with conditions.recording():
            while len(conditions._states) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            return await conditions.take(Level("D(16,8)", 2))

    taken = in_loop(scenario())
    assert taken["gpu_clock_min_mhz"] == 1200
    assert 1200 < taken["gpu_clock_mean_mhz"] < 1980
    assert taken["gpu_foreign_processes"] == 1
    assert (taken["gpu_power_mean_w"], taken["gpu_power_max_w"], taken["gpu_temperature_max_c"]) == (612.345,) * 2 + (
        81,
    )
    assert taken["gpu_throttled_share"] == 1
    assert taken["cpu_frequency_mean_mhz"] == 2600
    rows = [json.loads(line) for line in (tmp_path / GPU_FILE_NAME).read_text().splitlines()]
    assert [row["clock_mhz"] for row in rows[:3]] == [1980, 1200, 1980]
    assert (rows[0]["gpu"], rows[0]["power_w"], rows[0]["level"]) == (0, 612.345, "D(16,8) at concurrency 2")
    assert set(taken) <= set(CONDITIONS)


@pytest.mark.parametrize("error", [NotImplementedError, FileNotFoundError])
def test_a_platform_without_frequencies_has_none(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr("psutil.cpu_freq", refuse)
    conditions = LevelConditions(os.getpid())
    conditions._sample([], rare=True)
    assert "cpu_frequency_mean_mhz" not in in_loop(conditions.take())


def test_every_level_of_a_study_has_its_conditions_in_the_results(world: World) -> None:
    task = world.task(trials=1)
    (trial,) = ran(world, task).trials
    for one in trial.measurements:
        assert {"machine_load_per_core", "tool_cpu_cores", "engine_cpu_cores"} <= set(one.conditions)
    stored = world.results()["trials"][0]["measurements"]
    assert [row["engine_cpu_cores"] for row in stored] == [m.conditions["engine_cpu_cores"] for m in trial.measurements]
    assert open_study(task, world.folder).trials == (trial,)


def test_a_busy_machine_is_reported_before_the_first_trial(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.getloadavg", lambda: (0.9 * (psutil.cpu_count() or 1), 0.0, 0.0))
    runner = ran(world, world.task(trials=1))
    assert [
        line for line in runner.notices if line.startswith("this machine is busy, its load of the last minute is 0.9")
    ]


def test_an_idle_machine_is_not_reported(world: World) -> None:
    assert not [line for line in ran(world, world.task(trials=1)).notices if "busy" in line]


def test_other_work_beside_a_trial_is_reported_once() -> None:
    cautions = Cautions()
    first, second = beside(0, 0.8), beside(1, 0.9)
    assert [line.partition(" CPUs")[0] for line in cautions.after(first, [first])] == [
        "trial 0: other processes used 80% of this machine's"
    ]
    assert list(cautions.after(second, [first, second])) == []
    assert list(Cautions().after(beside(2, 0.1), [])) == []
    (line,) = Cautions().after(beside(3, 0.1, gpu_foreign_processes=1.0), [])
    assert line == "trial 3: other processes computed on the engine's GPUs during it; see nvidia-smi"


def test_a_resumed_study_reports_another_engine_once() -> None:
    found = in_environments({"engine_version": "0.7.0"})
    cautions = Cautions()
    assert list(cautions.after(found[2], found)) == [environment_text(found)]
    assert list(cautions.after(found[4], found)) == []
