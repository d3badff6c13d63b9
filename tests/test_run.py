"""Runs: starting, awaiting, stopping and resuming them, as notebook cells do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune_nb import events, session
from autotune_nb.errors import RunError, SetupError, StudyBusyError, StudyError, StudyMismatchError, StudyNotFoundError
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import Run, live_run
from autotune_nb.runner.progress import LEDGER_VARIABLE
from autotune_nb.runner.runner import RunState
from autotune_nb.session import tune, with_overrides
from autotune_nb.study import Study, StudyFolder
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import TrialState
from tests.stubs import World, contents_below, in_loop, package_env, until

WAIT_S = 60.0


def opened(folder: Path) -> dict[str, Any]:
    """What is kept of a study, as its results have it."""
    return session.open(folder).results()


def endless(world: World, **changes: Any) -> Task:
    """A task whose first trial goes on until it is stopped."""
    return world.task(before=f"{world.first_level}; sleep 600", trials=5, **changes)


def stopped(run: Run) -> Run:
    run.stop(wait_s=30)
    assert run.ended
    return run


def test_a_run_starts_at_once_and_has_everything_at_the_end(world: World) -> None:
    started = world.folder.parent / "started"
    run = tune(world.task(trials=2, before=f'until [ -e "{started}" ]; do sleep 0.05; done'), study=world.folder)
    started.touch()
    assert run.wait(WAIT_S) is run
    assert run.ended
    assert run.error is None
    assert run.state is RunState.FINISHED
    assert list(run.trials["state"]) == ["complete", "complete"]
    assert len(run.levels) == 4
    best = run.best
    assert best is not None
    assert best.values == {"output_tokens_per_s": 100.0}
    assert str(best) == best.command == world.results()["best"]["command"]
    assert run.results()["elapsed_s"] == pytest.approx(world.results()["elapsed_s"], abs=0.5)
    assert "finished, 2 complete" in repr(run)
    assert set(run._repr_mimebundle_()) == {"text/plain", "text/html"}
    assert not StudyFolder(world.folder).busy


def test_awaiting_a_run_gives_it(world: World) -> None:
    run = tune(world.task(trials=1), study=world.folder)

    async def cell() -> Run:
        return await run

    assert in_loop(cell()) is run
    # And once more, after its end.
    assert in_loop(cell()) is run


def test_cancelling_whoever_watches_does_not_stop_the_run(world: World) -> None:
    run = tune(endless(world), study=world.folder)

    async def cell() -> None:
        watching = asyncio.ensure_future(_watch(run))
        await asyncio.sleep(0.05)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    in_loop(cell())
    in_loop(cell())
    until(lambda: world.bench.pids)
    assert not run.ended
    assert run.state is RunState.RUNNING
    stopped(run)


async def _watch(run: Run) -> Run:
    return await run


def test_a_run_in_which_nothing_completed_raises_when_awaited_and_when_waited_for(world: World) -> None:
    run = tune(world.task("print:error:_invalid_value_for_x", "exit:1", trials=1), study=world.folder)
    with pytest.raises(RunError, match="no trial completed: configuration in deploy") as caught:
        run.wait(WAIT_S)
    assert str(world.folder / "artifacts") in str(caught.value)
    with pytest.raises(RunError):
        in_loop(_watch(run))
    assert run.state is RunState.FINISHED
    assert run.best is None
    assert run.error is None


def test_what_ended_a_run_is_raised_and_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StudyError("the disk is full")

    monkeypatch.setattr(Study, "tell", full)
    run = tune(world.task(), study=world.folder)
    with pytest.raises(StudyError, match="disk is full"):
        run.wait(WAIT_S)
    assert run.state is RunState.FAILED
    assert isinstance(run.error, StudyError)
    assert not StudyFolder(world.folder).busy
    assert not world.stub.alive


def test_a_ledger_that_cannot_be_written_ends_no_run(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(LEDGER_VARIABLE, str(tmp_path))
    assert tune(world.task(trials=1), study=world.folder).wait(WAIT_S).state is RunState.FINISHED
    assert "the progress of a notebook cannot be reported" in caplog.text


def test_an_error_while_a_run_cleans_up_ends_the_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_folder: StudyFolder) -> None:
        raise RuntimeError("no lock")

    with monkeypatch.context() as patched:
        patched.setattr(StudyFolder, "release", fail)
        run = tune(world.task(trials=1), study=world.folder)
        with pytest.raises(RuntimeError, match="no lock"):
            run.wait(WAIT_S)
    run._study.folder.release()


def test_waiting_has_a_deadline_that_does_not_stop_the_run(world: World) -> None:
    run = tune(endless(world), study=world.folder)
    with pytest.raises(TimeoutError):
        run.wait(0.1)
    assert not run.ended
    stopped(run)


def test_tuning_the_same_folder_twice_attaches(world: World) -> None:
    task = endless(world)
    run = tune(task, study=world.folder)
    assert tune(task, study=str(world.folder)) is run
    assert tune(with_overrides(task, trials=50), study=world.folder) is run
    stopped(run)
    assert live_run(world.folder) is None


def test_another_task_does_not_attach_to_a_running_study(world: World) -> None:
    task = endless(world)
    run = tune(task, study=world.folder)
    other = Task.parse({**task.model_dump(), "objective": "maximize requests_per_s"})
    with pytest.raises(StudyMismatchError, match=r"objective\.figure"):
        tune(other, study=world.folder)
    assert not run.ended
    stopped(run)


def test_a_folder_that_another_process_has_is_refused(world: World) -> None:
    world.folder.mkdir()
    folder = StudyFolder(world.folder)
    folder.acquire()
    try:
        with pytest.raises(StudyBusyError, match=f"pid {os.getpid()}"):
            tune(world.task(), study=world.folder)
    finally:
        folder.release()
    assert not (world.folder / "study.json").exists()


def test_a_folder_is_free_again_when_its_study_cannot_be_opened(world: World) -> None:
    task = world.task(trials=1)
    with pytest.raises(StudyError):
        tune(task, study=world.folder, storage="nonsense")
    assert not StudyFolder(world.folder).busy
    assert tune(task, study=world.folder).wait(WAIT_S).state is RunState.FINISHED


def test_a_listener_that_raises_does_not_stop_the_run_and_others_are_told(world: World) -> None:
    run = tune(endless(world), study=world.folder)
    told: list[events.Event] = []

    def broken(event: events.Event) -> None:
        raise ValueError(event)

    run.subscribe(broken)
    leave = run.subscribe(told.append)
    stopped(run)
    assert [e.state for e in told if isinstance(e, events.StateChanged)][-2:] == ["stopping", "stopped"]
    leave()


def test_a_stopped_run_keeps_its_trial_as_stopped(world: World) -> None:
    run = tune(endless(world), study=world.folder)
    until(lambda: (world.folder / "artifacts" / "trial-0000" / "genai-bench").is_dir())
    stopped(run)
    assert run.state is RunState.STOPPED
    assert [trial.state for trial in run.history] == [TrialState.STOPPED]
    assert world.results()["state"] == "stopped"
    assert not world.stub.alive
    # Stopped on purpose: nothing completed, and that is no error.
    assert run.wait(WAIT_S) is run


def test_pause_and_resume_are_called_from_any_thread(world: World) -> None:
    run = tune(world.task(trials=2, before="sleep 0.3"), study=world.folder)
    until(lambda: run.state is RunState.RUNNING)
    run.pause()
    until(lambda: run.state is RunState.PAUSED)
    until(lambda: [t.state for t in run.history] == [TrialState.COMPLETE])
    run.resume()
    assert len(run.wait(WAIT_S).history) == 2


def test_going_on_adds_what_is_missing_and_nothing_where_nothing_is(world: World) -> None:
    task = world.task(trials=2)
    first = tune(task, study=world.folder).wait(WAIT_S)
    again = tune(task, study=world.folder).wait(WAIT_S)
    assert again is not first
    assert again.history == first.history
    more = tune(task, study=world.folder, trials=3).wait(WAIT_S)
    assert more.history[:2] == first.history
    assert len(more.history) == 3


def test_a_cluster_that_is_not_reached_ends_the_run_in_words_and_leaves_no_trial(world: World, tmp_path: Path) -> None:
    run = tune(world.task(), study=world.folder, deploy="ome", kubeconfig=str(tmp_path / "none"))
    with pytest.raises(SetupError, match="there is no kubeconfig file"):
        run.wait(timeout_s=30)
    assert run.state is RunState.FAILED
    assert run.history == ()


def test_a_study_is_looked_at_while_it_runs_and_after(world: World) -> None:
    with pytest.raises(StudyNotFoundError):
        opened(world.folder)
    run = tune(endless(world), study=world.folder)
    until(lambda: run.history)
    seen = opened(world.folder)
    assert seen["state"] == "running"
    assert [trial["state"] for trial in seen["trials"]] == ["running"]
    stopped(run)
    assert opened(world.folder)["state"] == "stopped"
    done = tune(world.task(trials=1), study=world.folder).wait(WAIT_S)
    after = opened(world.folder)
    assert after["state"] == "finished"
    assert {**after, "elapsed_s": 0} == {**done.results(), "elapsed_s": 0}
    # The study's own port is not asked of the command to paste.
    assert after["best"]["command"] == world.results()["best"]["command"]


def test_secrets_of_the_environment_are_in_no_file_of_the_study(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL_API_KEY", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "FOO_PASSWORD"):
        monkeypatch.setenv(name, "hidden-value")
    tune(world.task(trials=1, before="env"), study=world.folder).wait(WAIT_S)
    files = contents_below(world.folder)
    assert any(b"PATH=" in data for data in files.values())
    assert not [file for file, data in files.items() if b"hidden-value" in data]


KILLED = """
import json, sys, time
from pathlib import Path
import autotune_nb as at
task = at.Task.parse(json.loads(Path(sys.argv[1]).read_text()))
run = at.tune(task, study=sys.argv[2])
print("started", flush=True)
time.sleep(600)
"""


def test_a_process_killed_in_the_middle_loses_no_finished_trial_and_leaves_nothing(
    world: World, tmp_path: Path
) -> None:
    # Its first trial completes, its second one hangs in the middle of its load.
    second = (
        f'if [ $(wc -l < "{world.bench.script.parent}/bench-pids") -eq 2 ]; then {world.first_level}; sleep 600; fi'
    )
    task = world.task("children", "detached-child", trials=3, before=second)
    (tmp_path / "task.json").write_text(json.dumps(task.model_dump(mode="json")))
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "task.json"), str(world.folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=package_env()) as process:
        until(lambda: len(world.bench.pids) == 2)
        until(lambda: list((world.folder / "artifacts" / "trial-0001").glob("genai-bench/*.json")))
        process.send_signal(signal.SIGKILL)
    until(lambda: not world.stub.alive)
    seen = opened(world.folder)
    assert seen["state"] == "interrupted"
    assert [trial["state"] for trial in seen["trials"]] == ["complete", "interrupted"]
    run = tune(task, study=world.folder).wait(WAIT_S)
    assert [trial.state for trial in run.history] == [TrialState.COMPLETE] * 3
    assert run.results()["trials"][0] == seen["trials"][0]
    assert dict(run.history[1].params) == seen["trials"][1]["params"]
    assert [trial.attempts for trial in run.history] == [1, 2, 1]


ENDS = """
import json, multiprocessing, sys, time
from pathlib import Path
import autotune_nb as at
task = at.Task.parse(json.loads(Path(sys.argv[1]).read_text()))
run = at.tune(task, study=sys.argv[2])
# A forked process that ends stops nothing.
child = multiprocessing.get_context("fork").Process(target=int)
child.start()
child.join(10)
assert child.exitcode == 0
while not any(trial.phase == "stop" for trial in run.running):
    time.sleep(0.01)
"""


def test_a_program_that_ends_before_its_run_stops_it_and_keeps_the_measured_trial(world: World, tmp_path: Path) -> None:
    # Its engine ignores SIGTERM, so that it is still being taken down when the program ends.
    task = world.task("stubborn", trials=3)
    (tmp_path / "task.json").write_text(json.dumps(task.model_dump(mode="json")))
    argv = [sys.executable, "-c", ENDS, str(tmp_path / "task.json"), str(world.folder)]
    ended = subprocess.run(argv, stderr=subprocess.PIPE, env=package_env(), timeout=60, text=True, check=True)
    results = world.results()
    assert results["state"] == "stopped"
    assert [(t["state"], len(t["measurements"])) for t in results["trials"]] == [("complete", 2)]
    assert world.all_ended()
    assert "await the run, or call its wait()" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


# Told to other processes, and steered


def test_what_runs_is_told_in_a_file_while_it_runs(world: World) -> None:
    gate = world.folder.parent / "gate"
    run = tune(
        world.task(trials=1, before=f'{world.first_level}; while [ ! -e "{gate}" ]; do sleep 0.02; done'),
        study=world.folder,
    )
    live = until(lambda: [one for one in [StudyFolder(world.folder).read_live()] if one and one["running"]])[0]
    assert live["state"] == "running"
    assert live["running"][0]["number"] == 0
    measured = until(lambda: run.running[0].trial.measurements)
    assert [m.level.concurrency for m in measured] == [1]
    run.pause()
    until(lambda: (StudyFolder(world.folder).read_live() or {}).get("state") == "paused")
    run.resume()
    gate.touch()
    run.wait(WAIT_S)
    assert run.running == ()
    assert not (world.folder / "live.json").exists()
    assert any("budget of 1 trial is spent" in text for _, text in run.notices)
    assert (run.path, run.storage, run.elsewhere) == (world.folder, None, None)


def test_an_edit_made_in_a_listener_or_before_the_first_trial_is_kept(world: World) -> None:
    run = tune(world.task(trials=2, parameters={"threads": [1, 2, 3, 4]}), study=world.folder)
    made: list[events.Event] = []

    def steer(event: events.Event) -> None:
        # In the run's own thread, which must not wait for itself.
        if isinstance(event, events.TrialEnded) and not made:
            made.append(event)
            run.ban("threads", event.trial.params["threads"])
            run.set_budget(trials=4)

    run.subscribe(steer)
    run.wait(WAIT_S)
    assert len(run.history) == 4
    assert [edit["kind"] for edit in world.results()["edits"]] == ["ban", "budget"]
    assert run.results()["edits"] == world.results()["edits"]


def test_edits_after_the_end_count_for_the_next_run(world: World) -> None:
    task = world.task(trials=1, parameters={"threads": [1, 2, 3]})
    run = tune(task, study=world.folder).wait(WAIT_S)
    first = run.history[0].params["threads"]
    other, last = [value for value in (1, 2, 3) if value != first]
    run.enqueue({"threads": last})
    run.ban("threads", other)
    run.set_budget(trials=None)
    before = run.version
    run.set_budget(trials=9)
    assert run.version > before
    again = tune(task, study=world.folder)
    assert again.edits == run.edits
    again.wait(WAIT_S)
    assert [trial.params["threads"] for trial in again.history] == [first, last]
    assert any("every configuration was tried" in text for _, text in again.notices)
    # A run that is over steers the one that goes on in the same folder.
    run.free("threads")
    assert [t.params["threads"] for t in tune(task, study=world.folder).wait(WAIT_S).history] == [first, last, other]


def test_the_run_and_what_is_opened_of_it_agree_at_any_time(world: World) -> None:
    run = tune(world.task(trials=3, before="sleep 0.1"), study=world.folder)
    run.enqueue({"threads": 2, "batch_size": 77})
    while not run.ended:
        seen = OpenedStudy(world.folder)
        assert {t.number for t in seen.history} <= {0, 1, 2}
        assert all(t.state in (TrialState.RUNNING, TrialState.COMPLETE) for t in seen.history), seen.history
        json.dumps(run.results(), allow_nan=False)
        json.dumps(seen.results(), allow_nan=False)
    after = OpenedStudy(world.folder)
    assert after.history == run.history
    assert after.edits == run.edits
    assert {**after.results(), "elapsed_s": 0} == {**run.results(), "elapsed_s": 0}
