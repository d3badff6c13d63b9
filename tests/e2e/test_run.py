"""`autotune-nb run` and `show`: the real llama.cpp server under the real genai-bench."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.deploy.ports import free_port
from tests.e2e.conftest import CLI, Started, in_this_process, study_processes, until_gone
from tests.stubs import World

pytestmark = pytest.mark.e2e
Cli = Callable[..., subprocess.CompletedProcess[str]]
KEYS = {"study", "task", "state", "trials", "best", "verdict", "elapsed_s", "end_reason", "fingerprints", "edits"}
TRIAL_KEYS = {"number", "state", "params", "values", "limits", "measurements", "failure", "seconds"}


def last_line(output: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(output.splitlines()[-1])
    return data


def test_a_study_ends_with_a_best_configuration_whose_command_line_serves(
    cli: Cli, real_task: Callable[..., Path], tmp_path: Path, environment: dict[str, str]
) -> None:
    study = tmp_path / "study"
    done = cli("run", real_task(), "--study", study, "--json")
    assert done.returncode == 0, done.stderr
    results = last_line(done.stdout)
    assert results.keys() == KEYS
    assert results["state"] == "finished"
    assert [t["number"] for t in results["trials"]] == [0, 1]
    for trial in results["trials"]:
        assert trial.keys() >= TRIAL_KEYS
        assert trial["state"] == "complete"
        assert trial["failure"] is None
        assert [m["concurrency"] for m in trial["measurements"]] == [1, 2]
        assert all(m["num_completed_requests"] >= 4 and m["output_tokens_mean"] == 8 for m in trial["measurements"])
        assert trial["seconds"].keys() == {"deploy", "probe", "benchmark", "stop"}
        assert trial["limits"]["ttft_p99_s <= 60"] < 0
        best_level = max(m["output_tokens_per_s"] for m in trial["measurements"])
        assert trial["values"] == {"output_tokens_per_s": best_level}
        fingerprint = results["fingerprints"][trial["fingerprint"]]
        assert fingerprint["benchmark_version"]
        assert fingerprint["engine_version"]
    # Trial 0 is the engine's default configuration, trial 1 the first point of the grid.
    assert results["trials"][0]["params"] == {}
    assert results["trials"][1]["params"] == {"threads_http": 1, "parallel": 1, "flash_attn": "on"}
    best = results["best"]
    assert best["values"]["output_tokens_per_s"] == max(t["values"]["output_tokens_per_s"] for t in results["trials"])
    assert json.loads((study / "results.json").read_text())["trials"] == results["trials"]
    assert study_processes(study) == []
    _serves(best["command"], environment)

    shown = in_this_process("show", study, "--json")
    assert shown.exit_code == 0
    assert last_line(shown.stdout)["trials"] == results["trials"]
    assert last_line(shown.stdout)["best"] == best

    again = in_this_process("run", real_task(), "--study", study, "--json")
    assert last_line(again.stdout)["trials"] == results["trials"]


def _serves(command: str, environment: dict[str, str]) -> None:
    port = free_port("127.0.0.1")
    argv = shlex.split(command)
    argv[argv.index("--port") + 1] = str(port)
    process = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                    assert reply.status == 200
                return
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_kill_9_during_a_trial_of_the_real_engine_loses_no_result_and_leaves_no_process(
    start: Callable[..., Started], cli: Cli, real_task: Callable[..., Path], tmp_path: Path
) -> None:
    task = real_task(budget={"trials": 3, "baseline": False})
    killed_and_resumed(start("run", task, "--study", tmp_path / "study", "--json"), cli, task, tmp_path / "study")


# The same with a run in a script: tests/test_run.py.
@pytest.mark.slow
def test_kill_9_during_a_trial_loses_no_result_and_leaves_no_process(
    start: Callable[..., Started], cli: Cli, world: World, tmp_path: Path
) -> None:
    # The second trial's benchmark ends with the process that runs it, as genai-bench does.
    hang = "while kill -0 $PPID; do sleep 0.05; done; exit"
    second = f'[ "$(wc -l < "{world.stub.script.parent}/pids")" != 2 ] || {{ {world.first_level}; {hang}; }}'
    task = world.task(trials=3, before=second).save(tmp_path / "task.yaml")
    killed_and_resumed(start("run", task, "--study", world.folder, "--json"), cli, task, world.folder)


def killed_and_resumed(running: Started, cli: Cli, task: Path, study: Path) -> None:
    running.wait_for("trial 1   level 1/2")
    before = json.loads((study / "results.json").read_text())["trials"][0]
    os.kill(running.process.pid, signal.SIGKILL)
    running.finish()
    until_gone(study)

    interrupted = last_line(cli("show", study, "--json").stdout)
    assert interrupted["state"] == "interrupted"
    assert [t["state"] for t in interrupted["trials"]] == ["complete", "interrupted"]

    done = cli("run", task, "--study", study, "--json")
    assert done.returncode == 0, done.stderr
    assert "trial 1 was interrupted and is retried" in done.stderr
    trials = last_line(done.stdout)["trials"]
    assert trials[0] == before
    assert [t["state"] for t in trials] == ["complete"] * 3
    assert trials[1]["params"] == interrupted["trials"][1]["params"]
    assert len({json.dumps(t["params"]) for t in trials}) == 3


def stopped_by_ctrl_c(running: Started, study: Path, *, times: int) -> None:
    running.wait_for("trial 1   level 1/2")
    for _ in range(times):
        running.process.send_signal(signal.SIGINT)
    code, output = running.finish()
    assert code == 0
    assert study_processes(study) == []
    results = last_line(output)
    assert results["state"] == "stopped"
    assert [t["state"] for t in results["trials"]] == ["complete", "stopped"]
    assert json.loads((study / "results.json").read_text())["state"] == "stopped"


@pytest.mark.slow
def test_ctrl_c_takes_the_real_engine_down_and_stores_complete_trials(
    start: Callable[..., Started], real_task: Callable[..., Path], tmp_path: Path
) -> None:
    study = tmp_path / "study"
    task = real_task(budget={"trials": 3, "baseline": False})
    stopped_by_ctrl_c(start("run", task, "--study", study, "--json"), study, times=1)


# Two interrupts of a run in the cluster: test_cluster.py.
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_once_or_twice_takes_the_engine_down_and_stores_complete_trials(
    start: Callable[..., Started], world: World, tmp_path: Path, times: int
) -> None:
    second = f'[ "$(wc -l < "{world.stub.script.parent}/pids")" = 1 ] || {{ {world.first_level}; sleep 60; }}'
    task = world.task(trials=3, before=second).save(tmp_path / "task.yaml")
    stopped_by_ctrl_c(start("run", task, "--study", world.folder, "--json"), world.folder, times=times)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_signal_during_start_up_still_ends_with_the_results(
    start: Callable[..., Started], real_task: Callable[..., Path], tmp_path: Path, number: int
) -> None:
    study = tmp_path / "study"
    running = start("run", real_task(), "--study", study, "--json")
    running.wait_for("starting the benchmark")
    running.process.send_signal(number)
    code, output = running.finish()
    assert code == 1, running.lines
    assert last_line(output)["state"] == "stopped"
    assert last_line(output)["trials"] == []
    assert any("run the same command to resume" in line for line in running.lines)
    until_gone(study)


def test_a_configuration_that_cannot_start_fails_only_its_trial(
    real_task: Callable[..., Path], world: World, tmp_path: Path
) -> None:
    parameters = {"wrong": {"type": "choice", "values": [None, "yes"], "flag": "--no-such-flag"}}
    executable = world.bench.write(world.bench.both_levels())
    task = real_task(parameters=parameters, budget={"baseline": False}, benchmark={"executable": executable})
    done = in_this_process("run", task, "--study", tmp_path / "s", "--json")
    assert done.exit_code == 0, done.stderr
    good, bad = last_line(done.stdout)["trials"]
    assert good["state"] == "complete"
    assert bad["state"] == "failed"
    assert bad["failure"]["kind"] == "configuration"
    assert any("--no-such-flag" in line for line in bad["failure"]["log_lines"])


def test_exit_code_is_1_when_no_trial_completed(world: World, tmp_path: Path) -> None:
    task = world.task("exit:3", trials=2).save(tmp_path / "task.yaml")
    done = in_this_process("run", task, "--study", world.folder, "--json")
    assert done.exit_code == 1
    results = last_line(done.stdout)
    assert results["best"] is None
    assert [t["state"] for t in results["trials"]] == ["failed", "failed"]


# The printer itself: tests/cli/test_output.py.
@pytest.mark.slow
def test_a_terminal_that_does_not_read_does_not_stop_the_run(
    environment: dict[str, str], world: World, tmp_path: Path
) -> None:
    task = world.task(trials=2).save(tmp_path / "task.yaml")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    argv = [*CLI, "run", str(task), "--study", str(world.folder), "--json"]
    with os.fdopen(writer, "w") as stream, os.fdopen(reader):
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, stderr=stream, text=True, timeout=60)
    assert done.returncode == 0
    assert [t["state"] for t in last_line(done.stdout)["trials"]] == ["complete", "complete"]


# The lock itself: tests/study/test_folder.py.
@pytest.mark.slow
def test_a_second_process_on_the_folder_is_refused(
    start: Callable[..., Started], cli: Cli, world: World, tmp_path: Path
) -> None:
    proceed = tmp_path / "proceed"
    task = world.task(before=f'until [ -e "{proceed}" ]; do sleep 0.05; done').save(tmp_path / "task.yaml")
    first = start("run", task, "--study", world.folder, "--json")
    first.wait_for("trial 0 (1 of 2)")
    second = cli("run", task, "--study", world.folder)
    assert second.returncode == 2
    assert f"pid {first.process.pid}" in second.stderr
    shown = cli("show", world.folder, "--json")
    assert last_line(shown.stdout)["state"] == "running"
    proceed.touch()
    code, output = first.finish()
    assert code == 0
    assert len(last_line(output)["trials"]) == 2
