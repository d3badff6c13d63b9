"""The conditions of a level: machine load, CPU time of the tool and the engine, GPU clocks, foreign GPU processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import namedtuple

import psutil
import pytest

from autotune_nb.runner import nvidia_smi
from autotune_nb.runner.cautions import Cautions
from autotune_nb.runner.conditions import LevelConditions, foreign
from autotune_nb.trial.comparable import environment_text
from autotune_nb.trial.measurement import CONDITIONS
from tests.runs import ran
from tests.stubs import World, in_loop, open_study
from tests.trial.test_comparable import beside, in_environments

GPUS = """0, GPU-5c6a1d3e-1f2b-4a7c-9d1e-2b3c4d5e6f70, 1980
1, GPU-9b8a7c6d-5e4f-3a2b-1c0d-9e8f7a6b5c4d, 1410
2, GPU-1a2b3c4d-0000-1111-2222-333344445555, [N/A]
"""
APPS = """4242, GPU-9b8a7c6d-5e4f-3a2b-1c0d-9e8f7a6b5c4d
4343, GPU-5c6a1d3e-1f2b-4a7c-9d1e-2b3c4d5e6f70
[Insufficient Permissions], GPU-5c6a1d3e-1f2b-4a7c-9d1e-2b3c4d5e6f70
"""


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
def test_the_gpus_of_an_engine_are_read_from_nvidia_smi(chosen: list[str] | None, numbers: list[str]) -> None:
    assert [gpu.number for gpu in nvidia_smi.gpus(GPUS, chosen)] == numbers


def test_clocks_and_processes_are_read_where_the_driver_reports_them() -> None:
    first, second, third = nvidia_smi.gpus(GPUS)
    assert (first.clock_mhz, second.clock_mhz, third.clock_mhz) == (1980, 1410, None)
    assert nvidia_smi.processes_on(APPS, [first]) == {4343}
    assert nvidia_smi.processes_on(APPS, [first, second]) == {4242, 4343}
    for text in ("", "No devices were found\n", "Failed to initialize NVML: Driver/library version mismatch\n"):
        assert nvidia_smi.gpus(text) == []


def test_processes_of_the_study_are_not_foreign_and_unknown_ones_are_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert foreign([os.getpid(), child.pid, 2**22 + 1]) == set()
        child.communicate(b"\n")
    assert foreign([os.getppid()]) == {os.getppid()}


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


def test_the_clocks_of_a_level_and_other_processes_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.getppid()
    clocks = iter((1980, 1200, 1980))

    def query(*_fields: str, of: str = "gpu") -> str:
        return f"0, GPU-5c, {next(clocks, 1980)}\n" if of == "gpu" else f"{other}, GPU-5c\n{os.getpid()}, GPU-5c\n"

    monkeypatch.setattr(nvidia_smi, "query", query)
    monkeypatch.setattr("autotune_nb.runner.conditions._SAMPLE_S", 0.001)
    conditions = LevelConditions(os.getpid())

    async def scenario() -> dict[str, float]:
        async with conditions.recording():
            while len(conditions._clocks) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            return await conditions.take()

    taken = in_loop(scenario())
    assert taken["gpu_clock_min_mhz"] == 1200
    assert 1200 < taken["gpu_clock_mean_mhz"] < 1980
    assert taken["gpu_foreign_processes"] == 1


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
