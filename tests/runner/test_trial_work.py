"""The execution of one trial: each error becomes a failure of the right kind."""

from __future__ import annotations

import contextlib
import errno
import shlex
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.deploy import DeployRequest, LocalDeployer
from autotune_nb.deploy._process import GuardedProcess
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import DeployError, Failure, FailureKind, SetupError, StudyError, SurroundingsError
from autotune_nb.runner.conditions import LevelConditions
from autotune_nb.runner.runner import RunState
from autotune_nb.study import StorageAwayError
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.trial import Trial, TrialState
from tests.runs import Watched, failure, ran, runner_for
from tests.stubs import World, in_loop, level_data, level_file, open_study, until


def test_an_engine_that_dies_under_load_is_a_crash_and_the_study_goes_on(world: World, tmp_path: Path) -> None:
    once = f'if [ ! -e "{tmp_path}/once" ]; then touch "{tmp_path}/once"; {world.first_level}; sleep 0.4; '
    task = world.task(trials=2, before=f"{once} {world.kill_engine}; sleep 600; fi")
    runner = ran(world, task)
    died, fine = runner.trials
    assert died.state is TrialState.FAILED
    assert failure(died).kind is FailureKind.CRASH
    assert "signal 11" in failure(died).message
    assert died.seconds["benchmark"] > 0
    assert fine.state is TrialState.COMPLETE
    # What was measured before is kept, here and in the study.
    assert [m.level.concurrency for m in died.measurements] == [1]
    assert open_study(task, world.folder).trials[0] == died


def test_an_engine_that_is_healthy_but_generates_nothing_after_a_level_fails_the_level(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.bench.probe._ONE_TOKEN_S", 0.2)
    monkeypatch.setattr("autotune_nb.runner.trial_work._DYING_S", 0.2)
    task = world.task("silent-after:2", trials=1, deadlines={"probe_s": 2})
    (trial,) = ran(world, task).trials
    assert failure(trial).kind is FailureKind.CRASH
    assert failure(trial).message.startswith(
        "the engine was asked for one token after D(16,8) at concurrency 2, and generated none: no completion came"
    )
    first, second = trial.measurements
    assert first.valid
    assert second.problems == (failure(trial).message,)
    assert world.results()["best"] is None


def test_short_replies_make_a_trial_fail_however_fast_they_are(world: World) -> None:
    levels = world.bench.both_levels()
    levels[level_file(2)]["aggregated_metrics"]["stats"]["num_output_tokens"]["mean"] = 2
    (trial,) = ran(
        world, world.task(levels=levels, trials=1, objective={"direction": "minimize", "figure": "ttft", "at": 2})
    ).trials
    assert trial.state is TrialState.FAILED
    assert "replies had only 2 tokens on average, 8 were requested; at least 7.2 are needed" in failure(trial).message
    assert "workload.min_output_ratio" in failure(trial).hint


def test_a_failed_deployment_fails_its_trial_only(world: World) -> None:
    runner = ran(world, world.task("print:error:_invalid_value", "exit:1", trials=2))
    assert [failure(trial).kind for trial in runner.trials] == [FailureKind.CONFIGURATION] * 2
    assert runner.state is RunState.FINISHED
    assert world.results()["best"] is None


def test_a_server_that_gives_no_completion_fails_in_the_probe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_nb.runner.trial_work._DYING_S", 0.1)
    runner = ran(world, world.task("probe-html", trials=1))
    assert failure(runner.trials[0]).phase == "probe"
    assert runner.trials[0].measurements == ()
    assert runner.trials[0].command


def test_an_invalid_measurement_fails_the_trial_and_is_kept(world: World) -> None:
    task = world.task(trials=1, levels=world.bench.both_levels(failed=5))
    runner = ran(world, task)
    [trial] = runner.trials
    assert trial.state is TrialState.FAILED
    assert "requests failed" in failure(trial).message
    # No level after it: it fails in any case.
    assert [m.valid for m in trial.measurements] == [False]


def test_an_invalid_measurement_beside_other_work_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(self: LevelConditions, _level: Level | None = None) -> dict[str, float]:
        return {"other_cpu_share": 0.85}

    monkeypatch.setattr(LevelConditions, "take", take)
    [trial] = ran(world, world.task(trials=1, levels=world.bench.both_levels(failed=5))).trials
    assert "; other processes used 85% of the CPUs" in failure(trial).message


def test_a_level_whose_prompts_the_engine_had_seen_before_is_invalid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take(self: LevelConditions, _level: Level | None = None) -> dict[str, float]:
        return {"prefix_cache_hit_rate": 0.95}

    monkeypatch.setattr(LevelConditions, "take", take)
    monkeypatch.setattr("autotune_nb.trial.engine_checks._TEMPLATE_TOKENS", 1)
    [trial] = ran(world, world.task(trials=1)).trials
    assert "95% of its prompt tokens came from the engine's prefix cache" in failure(trial).message
    assert "turn the prefix cache off" in failure(trial).hint


def test_a_front_end_that_outlives_its_engine_is_a_crash_with_the_engine_s_log(world: World) -> None:
    task = world.task("core-dies-after:2", trials=1, levels=world.bench.both_levels(failed=5))
    died = failure(ran(world, task).trials[0])
    assert died.kind is FailureKind.CRASH
    assert "exit code 3" in died.message
    assert "CUDA error" in died.log_lines[0]


def test_a_front_end_that_stays_without_its_engine_has_the_engine_s_log_lines(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.runner.trial_work._DYING_S", 0.1)
    levels = world.bench.both_levels(failed=5)
    died = failure(ran(world, world.task("core-dies-after:2", "front-end-stays", trials=1, levels=levels)).trials[0])
    assert died.kind is FailureKind.CRASH
    assert "requests failed" in died.message
    assert "CUDA error" in died.log_lines[0]


def engine_that_finds_its_port_taken(
    world: World, times: int, message: str = "Address already in use"
) -> dict[str, Any]:
    started = world.stub.script.parent / "started"
    line = (
        f'echo x >> "{started}"; '
        f'if [ $(wc -l < "{started}") -le {times} ]; then echo {shlex.quote(message)}; exit 1; fi; '
        f"exec {shlex.join(world.stub.argv('PORT'))}"
    ).replace("PORT", "{port}")
    return {"kind": "command", "command": ["sh", "-c", line]}


def test_an_infrastructure_failure_is_retried_once(world: World) -> None:
    task = world.task(trials=1)
    # Three starts find a port each taken, the fourth belongs to the second try.
    task = Task.parse({**task.model_dump(), "engine": engine_that_finds_its_port_taken(world, 3)})
    runner = ran(world, task)
    assert runner.trials[0].state is TrialState.COMPLETE
    assert len([line for line in runner.notices if "trial 0 is retried" in line]) == 1
    assert (world.folder / "artifacts" / "trial-0000" / "engine.log").is_file()
    assert (world.folder / "artifacts" / "trial-0000" / "attempt-2" / "genai-bench").is_dir()


@pytest.mark.parametrize(
    "message",
    [
        "docker: Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker daemon running?",
        "Error: unable to connect to Podman socket: dial unix /run/podman/podman.sock: connect: connection refused",
    ],
)
def test_a_container_daemon_that_does_not_respond_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    monkeypatch.setattr("autotune_nb.runner.surroundings._FIRST_PAUSE_S", 0.01)
    task = world.task(trials=1)
    engine = engine_that_finds_its_port_taken(world, 3, message)
    runner = ran(world, Task.parse({**task.model_dump(), "engine": engine}))
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE]
    assert not [line for line in runner.notices if "is retried" in line]


def test_a_failure_of_the_surroundings_that_stays_fails_the_trial(world: World) -> None:
    task = world.task(trials=1)
    task = Task.parse({**task.model_dump(), "engine": engine_that_finds_its_port_taken(world, 99)})
    runner = ran(world, task)
    assert failure(runner.trials[0]).kind is FailureKind.INFRASTRUCTURE
    assert len((world.stub.script.parent / "started").read_text().split()) == 6


class _Away(LocalDeployer):
    """Its surroundings do not respond for the first ``times`` deployments."""

    times = 3

    @contextlib.asynccontextmanager
    async def deploy(self, request: DeployRequest) -> AsyncIterator[Any]:
        if self.times:
            self.times -= 1
            raise SurroundingsError(Failure(FailureKind.INFRASTRUCTURE, "deploy", "the webhook does not respond"))
        async with super().deploy(request) as running:
            yield running


def away(world: World, monkeypatch: pytest.MonkeyPatch, times: int, **deadlines: float) -> Watched:
    """Return a runner whose surroundings do not respond at first."""
    monkeypatch.setattr("autotune_nb.runner.surroundings._FIRST_PAUSE_S", 0.01)
    task = world.task(trials=1, deadlines={"ready_s": 20, "stop_s": 2, "probe_s": 10, **deadlines})
    runner = runner_for(world, task)
    runner._deployer = deployer = _Away(task, engine_for(task), study_id=runner.study.id, folder=world.folder)
    deployer.times = times
    return runner


def test_surroundings_that_do_not_respond_are_waited_for_and_cost_no_trial(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    runner = away(world, monkeypatch, times=5)
    in_loop(runner.run())
    (trial,) = runner.trials
    assert trial.state is TrialState.COMPLETE
    assert trial.seconds["wait"] > 0.1
    # Neither the waits nor the attempts in between count.
    assert runner.elapsed_s <= time.monotonic() - began - trial.seconds["wait"] + 0.01
    (notice,) = [text for text in runner.notices if "the webhook does not respond" in text]
    assert "waits up to 3600 s" in notice
    # Attempts without a file leave no folder.
    assert [file.name for file in (world.folder / "artifacts").rglob("attempt-*") if not any(file.iterdir())] == []


def test_a_run_whose_surroundings_stay_away_ends_and_can_be_resumed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = away(world, monkeypatch, times=10**6, surroundings_s=0.1)
    with pytest.raises(
        SetupError, match=r"deadlines\.surroundings_s.*the webhook does not respond.*continues with trial 0"
    ):
        in_loop(runner.run())
    assert runner.state is RunState.FAILED
    assert not [trial for trial in runner.trials if trial.state is TrialState.FAILED]
    again = away(world, monkeypatch, times=0, surroundings_s=0.1)
    in_loop(again.run())
    assert [trial.state for trial in again.trials] == [TrialState.COMPLETE]


def full_disk(world: World, monkeypatch: pytest.MonkeyPatch, times: int, **deadlines: float) -> Watched:
    """Return a runner with a disk that is full for the first ``times`` trial folders."""
    monkeypatch.setattr("autotune_nb.runner.surroundings._FIRST_PAUSE_S", 0.01)
    runner = runner_for(world, world.task(trials=1, deadlines={"ready_s": 20, "stop_s": 2, "probe_s": 10, **deadlines}))
    create, left = runner.study.folder.artifacts, [times]

    def full(*given: Any) -> Path:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(*given)

    monkeypatch.setattr(runner.study.folder, "artifacts", full)
    return runner


def test_a_disk_that_is_full_is_waited_for_and_costs_no_trial(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = full_disk(world, monkeypatch, times=4)
    in_loop(runner.run())
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE]
    assert len([text for text in runner.notices if "No space left" in text]) == 1
    assert any("goes on after a wait" in text for text in runner.notices)


def test_a_disk_that_stays_full_ends_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = full_disk(world, monkeypatch, times=10**6, surroundings_s=0.1)
    with pytest.raises(SetupError, match=r"No space left on device; free space.*continues with trial 0"):
        in_loop(runner.run())
    assert runner.state is RunState.FAILED


def test_an_engine_that_fails_while_the_disk_is_full_is_started_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.runner.surroundings._FIRST_PAUSE_S", 0.01)
    reports = ["", "", "the study's folder cannot be written: disk quota exceeded"]
    monkeypatch.setattr("autotune_nb.runner.trial_work.disk_problem", lambda _folder: reports.pop())
    task = world.task(trials=1)
    runner = ran(world, Task.parse({**task.model_dump(), "engine": engine_that_finds_its_port_taken(world, 3)}))
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE]
    assert not [line for line in runner.notices if "is retried" in line]


@pytest.mark.parametrize("method", ["tell", "ask", "apply_new_edits"])
def test_a_trial_is_stored_once_its_disk_takes_it(world: World, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr("autotune_nb.runner.surroundings._FIRST_PAUSE_S", 0.01)
    runner = runner_for(world, world.task(trials=1))
    call, left = getattr(runner.study, method), [3]

    def failing(*given: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise StorageAwayError("the study's storage does not work: database or disk is full")
        return call(*given)

    monkeypatch.setattr(runner.study, method, failing)
    in_loop(runner.run())
    assert left == [0]
    assert [trial.state for trial in open_study(runner.study.task, world.folder).trials] == [TrialState.COMPLETE]


def test_a_storage_that_does_not_respond_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_nb.runner.study_calls._SLOW_S", 0.05)
    runner = runner_for(world, world.task(trials=1))
    tell = runner.study.tell

    def hanging(trial: Trial) -> Trial:
        until(lambda: any("storage has not responded for 0.05 s" in notice for notice in runner.notices))
        return tell(trial)

    monkeypatch.setattr(runner.study, "tell", hanging)
    in_loop(runner.run())
    assert "the study's storage responds again" in runner.notices
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE]


@pytest.mark.parametrize(
    "error",
    [
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENOSPC, "No space left on device", "/dev/shm/x"),
        TimeoutError(),
    ],
)
def test_an_error_of_the_system_fails_its_trial_and_not_the_study(
    world: World, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    runner = runner_for(world, world.task(trials=2))
    start, errors = GuardedProcess.start, [error, error]

    async def failing_twice(*args: Any, **named: Any) -> GuardedProcess:
        if errors:
            raise errors.pop()
        return await start(*args, **named)

    monkeypatch.setattr(GuardedProcess, "start", failing_twice)
    in_loop(runner.run())
    assert runner.state is RunState.FINISHED
    failed, fine = runner.trials
    assert failure(failed).kind is FailureKind.INFRASTRUCTURE
    assert type(error).__name__ in failure(failed).message
    assert fine.state is TrialState.COMPLETE


def test_a_file_of_the_study_that_cannot_be_written_ends_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_for(world, world.task(trials=2))
    create = runner.study.folder.artifacts

    def blocked(trial: int, attempt: int) -> Path:
        folder = create(trial, attempt)
        (folder / "genai-bench.argv.json").mkdir()
        return folder

    monkeypatch.setattr(runner.study.folder, "artifacts", blocked)
    with pytest.raises(StudyError, match=r"cannot be written: .*genai-bench\.argv\.json"):
        in_loop(runner.run())


@pytest.mark.parametrize(
    "strange",
    [
        {"stats": {"ttft": [3]}},
        {"stats": [1]},
        {"num_completed_requests": "x"},
        {"run_duration": "abc"},
    ],
)
def test_results_in_a_shape_nobody_foresaw_fail_their_trial_and_not_the_study(
    world: World, strange: dict[str, Any]
) -> None:
    data = level_data()
    data["aggregated_metrics"].update(strange)
    runner = ran(world, world.task(levels={level_file(1): data, level_file(2): level_data(concurrency=2)}))
    assert runner.state is RunState.FINISHED
    assert [trial.state for trial in runner.trials] == [TrialState.FAILED] * 2
    assert failure(runner.trials[0]).phase == "benchmark"


class _Left(LocalDeployer):
    """Takes its engine down and says that it could not."""

    @contextlib.asynccontextmanager
    async def deploy(self, request: DeployRequest) -> AsyncIterator[Any]:
        async with super().deploy(request) as running:
            yield running
        raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "stop", "inferenceservice x is still there"))


def test_a_trial_that_was_measured_keeps_its_figures_where_its_engine_cannot_be_taken_down(world: World) -> None:
    task = world.task(trials=1)
    runner = runner_for(world, task)
    runner._deployer = _Left(task, engine_for(task), study_id=runner.study.id, folder=world.folder)
    in_loop(runner.run())
    (trial,) = runner.trials
    assert trial.state is TrialState.COMPLETE
    assert trial.score is not None
    assert any("inferenceservice x is still there" in text for text in runner.notices)


def test_files_that_cannot_be_searched_for_secrets_cost_no_trial(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*folders: Path) -> list[str]:
        raise RuntimeError("no way in")

    runner = runner_for(world, world.task(trials=1))
    monkeypatch.setattr("autotune_nb.runner.trial_work.scrub_files", broken)
    in_loop(runner.run())
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE]
    assert "trial 0's files could not be searched for secrets: RuntimeError: no way in" in runner.notices
