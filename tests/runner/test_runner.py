"""The runner with a stub engine on a real port and a fake benchmark that writes real files."""

from __future__ import annotations

import asyncio
import itertools
import shlex
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from autotune_nb import events
from autotune_nb.errors import SetupError, StudyError, TaskError
from autotune_nb.runner.runner import RunState
from autotune_nb.study import Study
from autotune_nb.study.steering import ban_edit, budget_edit, enqueue_edit, free_edit, narrow_edit, pin_edit
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from tests.runs import Watched, ran, runner_for
from tests.stubs import HANGS_S, World, in_loop, open_study, until_async

# To the end


def test_it_runs_to_its_budget_and_keeps_what_each_trial_gave(world: World) -> None:
    task = world.task(trials=3)
    runner = ran(world, task)
    assert runner.state is RunState.FINISHED
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE] * 3
    for trial in runner.trials:
        assert set(trial.seconds) == {"deploy", "probe", "benchmark", "stop"}
        assert all(0 < seconds < 20 for seconds in trial.seconds.values())
        assert [m.level.concurrency for m in trial.measurements] == [1, 2]
        assert trial.command[-4:] == tuple(
            str(word) for name, value in trial.params.items() for word in (f"--{name.replace('_', '-')}", value)
        )
        assert trial.fingerprint["seed"] == task.strategy.seed
        assert trial.fingerprint["benchmark"] == "genai-bench"
    assert list(open_study(task, world.folder).trials) == list(runner.trials)


def test_results_are_kept_as_they_are_told(world: World) -> None:
    runner = ran(world, world.task(trials=2))
    kept = world.results()
    told = runner.results()
    assert kept["state"] == "finished"
    assert {**kept, "elapsed_s": 0} == {**told, "elapsed_s": 0}
    assert shlex.split(kept["best"]["command"])[-4] == "--threads"
    # Nothing goes on after the end, not even the clock.
    elapsed = runner.elapsed_s
    time.sleep(0.01)
    assert runner.elapsed_s == elapsed


def test_events_come_in_order(world: World) -> None:
    runner = ran(world, world.task(trials=1))
    told = []
    for event in runner.seen:
        match event:
            case events.StateChanged(state=state):
                told.append(state)
            case events.PhaseStarted(phase=phase):
                told.append(phase)
            case events.LevelMeasured(index=index, count=count):
                told.append(f"{index}/{count}")
            case _:
                told.append(type(event).__name__)
    assert told == [
        *(
            "Notice",
            "running",
            "TrialStarted",
            "deploy",
            "LogOpened",
            "probe",
            "benchmark",
            "1/2",
            "2/2",
            "stop",
            "TrialEnded",
            "Notice",
            "finished",
        )
    ]
    assert runner.of(events.TrialEnded)[0].is_best


@pytest.mark.parametrize("stop", [False, True])
def test_that_it_is_over_is_kept_before_it_is_said(world: World, stop: bool) -> None:
    async def scenario() -> None:
        runner = Watched(world.task(trials=1), open_study(world.task(trials=1), world.folder))
        kept: list[tuple[str, str]] = []

        def heard(event: events.Event) -> None:
            if isinstance(event, events.StateChanged) and RunState(event.state).ended:
                kept.append((event.state, world.results()["state"]))
            if stop and isinstance(event, events.TrialStarted):
                asyncio.ensure_future(runner.stop())  # noqa: RUF006

        runner.bus.subscribe(heard)
        await runner.run()
        state = "stopped" if stop else "finished"
        assert kept == [(state, state)]

    in_loop(scenario())


def test_patience_ends_it_after_so_many_trials_that_are_no_better(world: World) -> None:
    runner = ran(world, world.task(trials=20, budget={"patience": 2}))
    assert len(runner.trials) == 3
    assert runner.state is RunState.FINISHED


def test_trials_that_fail_one_after_the_other_end_it_and_a_resumed_run_tries_again(world: World) -> None:
    task = world.task("exit:3", trials=200, budget={"patience": 2})
    runner = ran(world, task)
    assert runner.state is RunState.FINISHED
    assert [trial.state for trial in runner.trials] == [TrialState.FAILED] * 2
    assert runner.notices[-1].startswith("2 trials in a row failed in the same way: crash in deploy: ")
    assert len(ran(world, task).trials) == 4


def test_no_trial_starts_after_the_minutes_are_over(world: World) -> None:
    runner = runner_for(world, world.task(trials=50, budget={"minutes": 0.8 / 60}))
    # Each trial takes 0.3 s, however busy the machine is.
    active = runner._active
    active.now = lambda: 0.3 * len(runner.study.ended)
    active._counted = (0.0, 0.0)
    in_loop(runner.run())
    assert 1 <= len(runner.trials) <= 3
    assert all(trial.state is TrialState.COMPLETE for trial in runner.trials)


def test_an_exhausted_space_ends_it(world: World) -> None:
    task = world.task(trials=50, strategy="grid", parameters={"threads": [1, 2, 3]})
    runner = ran(world, task)
    assert [trial.params["threads"] for trial in runner.trials] == [1, 2, 3]


def test_trials_run_beside_each_other_where_the_task_says_so(world: World) -> None:
    runner = ran(world, world.task(trials=4, deploy={"parallel": 2}, before="sleep 0.3"))
    at_a_time, most = 0, 0
    for event in runner.seen:
        at_a_time += isinstance(event, events.TrialStarted) - isinstance(event, events.TrialEnded)
        most = max(most, at_a_time)
    assert most == 2
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE] * 4


def test_a_second_run_adds_only_what_is_missing(world: World) -> None:
    first = ran(world, world.task(trials=2))
    again = ran(world, world.task(trials=3))
    assert again.trials[:2] == first.trials
    assert len(again.trials) == 3
    assert again.elapsed_s > first.elapsed_s
    # One whose budget is spent does not even look for its benchmark.
    spent = runner_for(world, world.task(trials=3))
    world.bench.script.unlink()
    in_loop(spent.run())
    assert spent.trials == again.trials
    assert spent.of(events.TrialStarted) == []


# Pause and stop


def test_pause_lets_the_running_trial_end_and_starts_no_other_until_resume(world: World) -> None:
    async def scenario() -> None:
        runner = runner_for(world, world.task(trials=2, before="sleep 0.2"))
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.TrialStarted))
        await runner.pause()
        assert runner.state is RunState.PAUSED
        await until_async(lambda: runner.of(events.TrialEnded))
        assert runner.trials[0].state is TrialState.COMPLETE
        await asyncio.wait((running,), timeout=0.4)
        assert len(runner.of(events.TrialStarted)) == 1
        await runner.resume()
        await running
        assert len(runner.trials) == 2
        assert runner.state is RunState.FINISHED

    in_loop(scenario())


def test_a_pause_asked_while_it_starts_is_kept(world: World) -> None:
    async def scenario() -> None:
        runner = runner_for(world, world.task(trials=1))
        running = asyncio.ensure_future(runner.run())
        await runner.pause()
        await until_async(lambda: runner.state is RunState.PAUSED)
        before_s = runner.elapsed_s
        await asyncio.wait((running,), timeout=0.4)
        assert runner.trials == ()
        # A pause in which nothing runs does not count against budget.minutes.
        assert runner.elapsed_s - before_s < 0.2
        await runner.resume()
        await running
        assert runner.state is RunState.FINISHED

    in_loop(scenario())


def test_a_latency_read_at_the_easiest_load_is_said(world: World) -> None:
    async def scenario() -> None:
        runner = runner_for(world, world.task(trials=1, objective="minimize ttft"))
        await runner.run()
        assert any(
            "the lightest load; set objective.at to read it at another level" in n.text
            for n in runner.of(events.Notice)
        )

    in_loop(scenario())


def test_an_error_beyond_a_trial_ends_a_paused_run_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        runner = runner_for(world, world.task(trials=9, deploy={"parallel": 3}, before="sleep 0.3"))
        monkeypatch.setattr(runner.study, "tell", _disk_full)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.TrialStarted))
        await runner.pause()
        with pytest.raises(StudyError, match="disk is full"):
            await running
        assert runner.state is RunState.FAILED

    in_loop(scenario())


def _disk_full(_trial: Trial) -> Trial:
    raise StudyError("the disk is full")


def test_stop_takes_the_running_trial_down_and_keeps_it_as_stopped(world: World) -> None:
    task = world.task(trials=5, before=f"{world.first_level}; sleep 600")

    async def scenario() -> Watched:
        runner = runner_for(world, task)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.LevelMeasured))
        await runner.stop()
        assert runner.state is RunState.STOPPING
        await running
        assert not world.stub.alive
        return runner

    runner = in_loop(scenario())
    assert runner.state is RunState.STOPPED
    [trial] = runner.trials
    assert trial.state is TrialState.STOPPED
    assert len(trial.measurements) == 1
    kept = world.results()
    assert kept["state"] == "stopped"
    assert [one["state"] for one in kept["trials"]] == ["stopped"]
    # The next run tries it again under a new number, and is not held up by it.
    again = ran(world, world.task(trials=1))
    assert [one.state for one in again.trials] == [TrialState.STOPPED, TrialState.COMPLETE]


def test_a_trial_is_stopped_alone_and_the_run_continues(world: World) -> None:
    task = world.task(trials=2, before=f"{world.first_level}; test -f {world.folder}/go || sleep 600")

    async def scenario() -> Watched:
        runner = runner_for(world, task)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.LevelMeasured))
        (world.folder / "go").touch()
        await runner.stop_trial(99)
        await runner.stop_trial(0)
        await running
        return runner

    runner = in_loop(scenario())
    assert runner.state is RunState.FINISHED
    first, second = runner.trials
    assert (first.state, second.state) == (TrialState.FAILED, TrialState.COMPLETE)
    # As failed it is not started again; its level is kept.
    assert first.failure is not None
    assert "it was stopped" in str(first.failure)
    assert len(first.measurements) == 1


def test_a_trial_that_was_measured_is_kept_where_stop_comes_while_its_files_are_cleaned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaning, go_on = threading.Event(), threading.Event()

    def slowly(*folders: Path) -> list[str]:
        if folders:
            cleaning.set()
            assert go_on.wait(HANGS_S)
        return []

    monkeypatch.setattr("autotune_nb.runner.trial_work.scrub_files", slowly)

    async def scenario() -> None:
        runner = runner_for(world, world.task(trials=2))
        running = asyncio.ensure_future(runner.run())
        await until_async(cleaning.is_set)
        await runner.stop()
        await asyncio.sleep(0.05)
        go_on.set()
        await running
        assert runner.state is RunState.STOPPED
        assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE]

    in_loop(scenario())


@pytest.mark.parametrize("now", [False, True])
def test_a_trial_that_was_measured_is_kept_where_stop_comes_while_its_engine_goes_down(world: World, now: bool) -> None:
    async def scenario() -> None:
        runner = runner_for(world, world.task("stubborn", trials=3))
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: any(event.phase == "stop" for event in runner.of(events.PhaseStarted)))
        await (runner.stop_now() if now else runner.stop())
        await running
        assert runner.state is RunState.STOPPED
        (trial,) = runner.trials
        assert trial.state is TrialState.COMPLETE
        assert len(trial.measurements) == 2
        assert runner.study.best == trial

    in_loop(scenario())


def test_a_second_stop_kills_an_engine_that_does_not_listen(world: World) -> None:
    task = world.task("stubborn", trials=5, before="sleep 600", deadlines={"ready_s": HANGS_S, "stop_s": 600})

    async def scenario() -> None:
        runner = runner_for(world, task)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: any(e.phase == "benchmark" for e in runner.of(events.PhaseStarted)))
        await runner.stop()
        await until_async(lambda: any(e.phase == "stop" for e in runner.of(events.PhaseStarted)))
        await runner.stop_now()
        await running
        assert not world.stub.alive
        assert [trial.state for trial in runner.trials] == [TrialState.STOPPED]

    in_loop(scenario())


def test_stop_at_the_very_beginning_tries_nothing(world: World) -> None:
    async def scenario() -> None:
        runner = runner_for(world, world.task())
        running = asyncio.ensure_future(runner.run())
        await asyncio.sleep(0)
        await runner.stop()
        await running
        assert runner.state is RunState.STOPPED
        assert runner.of(events.TrialStarted) == []
        await runner.stop()
        assert runner.state is RunState.STOPPED

    in_loop(scenario())


# Steering


def held(world: World) -> tuple[str, Path]:
    """A line of the benchmark's that waits for a file, and the file."""
    gate = world.folder.parent / "gate"
    return f'while [ ! -e "{gate}" ]; do sleep 0.02; done', gate


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_budget_raised_while_the_last_trial_runs_makes_the_run_go_on(world: World, parallel: int) -> None:
    async def scenario() -> None:
        line, gate = held(world)
        task = world.task(trials=1, deploy={"parallel": parallel}, before=line)
        runner = runner_for(world, task)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.TrialStarted))
        await runner.steer(budget_edit(task, trials=3))
        if parallel == 2:
            # It does not wait for the end of a trial.
            await until_async(lambda: len(runner.of(events.TrialStarted)) == 2)
        gate.touch()
        await running
        assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE] * 3
        assert [(e.edit.text, e.num_trials) for e in runner.of(events.Steered)] == [("budget: trials 3", 3)]
        assert runner.notices[-1] == "the budget of 3 trials is spent"

    in_loop(scenario())
    # The same task has had its budget.
    assert len(ran(world, world.task(trials=1, deploy={"parallel": parallel})).trials) == 3


def test_a_budget_lowered_while_a_trial_runs_ends_the_run_after_it(world: World) -> None:
    async def scenario() -> None:
        line, gate = held(world)
        task = world.task(trials=9, before=line)
        runner = runner_for(world, task)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.TrialStarted))
        await runner.steer(budget_edit(task, trials=1))
        gate.touch()
        await running
        assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE]
        assert runner.state is RunState.FINISHED

    in_loop(scenario())
    # Another budget of the task's own counts again.
    assert len(ran(world, world.task(trials=2)).trials) == 2


def test_a_bound_that_is_lifted_bounds_nothing_any_more(world: World) -> None:
    task = world.task(trials=1, parameters={"threads": [1, 2, 3]}, budget={"patience": 1})
    study = open_study(task, world.folder)
    study.steer(budget_edit(task, trials=None, patience=None))
    runner = Watched(task, study)
    in_loop(runner.run())
    assert len(runner.trials) == 3
    assert runner.notices[-1] == "every configuration was tried"


def test_patience_that_is_set_while_it_runs_ends_it(world: World) -> None:
    async def scenario() -> None:
        line, gate = held(world)
        task = world.task(trials=50, before=line)
        runner = runner_for(world, task)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.TrialStarted))
        await runner.steer(budget_edit(task, patience=1))
        gate.touch()
        await running
        assert len(runner.trials) == 2
        assert runner.notices[-1] == "1 trial brought no improvement"

    in_loop(scenario())


def test_edits_count_from_the_next_trial_on(world: World) -> None:
    async def scenario() -> None:
        line, gate = held(world)
        parameters = {"threads": [1, 2, 3, 4], "batch_size": {"type": "int", "low": 32, "high": 512, "log": True}}
        runner = runner_for(world, world.task(trials=6, before=line, parameters=parameters))
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.TrialStarted))
        await runner.steer(ban_edit("threads", 1, 2))
        await runner.steer(narrow_edit("batch_size", 64, 70))
        await runner.steer(enqueue_edit({"threads": 4, "batch_size": 69}))
        with pytest.raises(TaskError, match="leaves no value"):
            await runner.steer(ban_edit("threads", 3, 4))
        gate.touch()
        await running
        rest = [dict(trial.params) for trial in runner.trials[1:]]
        assert rest[0] == {"threads": 4, "batch_size": 69}
        assert len(rest) == 5
        assert all(p["threads"] in (3, 4) and 64 <= p["batch_size"] <= 70 for p in rest)  # type: ignore[operator]
        assert [e.edit.kind for e in runner.of(events.Steered)] == ["ban", "narrow", "enqueue"]
        assert [e["kind"] for e in world.results()["edits"]] == ["ban", "narrow", "enqueue"]

    in_loop(scenario())


def test_edits_of_another_process_are_taken_before_the_next_trial(world: World) -> None:
    async def scenario() -> None:
        line, gate = held(world)
        task = world.task(trials=1, before=line, parameters={"threads": [1, 2, 3]})
        runner = runner_for(world, task)
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: runner.of(events.TrialStarted))
        other = Study.view(task, task.space, runner.study.folder)
        [first] = other.trials
        left = next(value for value in (1, 2, 3) if value != first.params["threads"])
        other.steer(pin_edit("threads", left))
        other.steer(budget_edit(task, trials=9))
        # One made here meanwhile counts after them.
        with pytest.raises(TaskError, match="leaves no value"):
            await runner.steer(ban_edit("threads", left))
        gate.touch()
        await running
        assert [trial.params["threads"] for trial in runner.trials] == [first.params["threads"], left]
        assert [e.edit.kind for e in runner.of(events.Steered)] == ["pin", "budget"]
        assert runner.notices[-1] == "every configuration was tried"

    in_loop(scenario())


def test_a_grid_without_a_budget_is_tried_whole_whatever_is_enqueued_beside_it(world: World) -> None:
    task = world.task(
        strategy="grid",
        parameters={"n": {"type": "int", "low": 1, "high": 8, "log": True}},
        budget={"trials": None, "baseline": False},
    )
    study = open_study(task, world.folder)
    for n in (3, 2, 2):
        study.steer(enqueue_edit({"n": n}))
    runner = Watched(task, study)
    in_loop(runner.run())
    assert [trial.params["n"] for trial in runner.trials] == [3, 2, 2, 1, 4, 8]
    assert runner.notices[-1] == "every configuration was tried"
    # With nothing left to try it does not even look for its benchmark.
    world.bench.script.unlink()
    again = runner_for(world, task)
    in_loop(again.run())
    assert len(again.trials) == 6
    # Until an edit asks for more.
    world.task()
    study.steer(enqueue_edit({"n": 8}))
    assert len(ran(world, task).trials) == 7


def test_an_edit_right_after_the_start_of_a_spent_study_gives_it_trials(world: World) -> None:
    task = world.task(trials=1)
    ran(world, task)
    runner = runner_for(world, task)

    async def scenario() -> None:
        edits: list[asyncio.Task[None]] = []

        def steer(event: events.Event) -> None:
            if isinstance(event, events.StateChanged) and event.state == "running":
                edits.append(asyncio.ensure_future(runner.steer(budget_edit(task, trials=2))))
            if isinstance(event, events.Notice) and event.text == "the budget of 2 trials is spent":
                edits.append(asyncio.ensure_future(runner.steer(budget_edit(task, trials=3))))

        runner.bus.subscribe(steer)
        await runner.run()
        await asyncio.gather(*edits)

    in_loop(scenario())
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE] * 2
    assert runner.trials[1].fingerprint["benchmark"] == "genai-bench"
    # Too late for this run.
    assert "the run is ending: the edit applies to the next run" in runner.notices
    assert len(ran(world, task).trials) == 3


def test_an_enqueued_configuration_that_the_budget_does_not_cover_is_reported(world: World) -> None:
    task = world.task(trials=1)
    first = ran(world, task)
    open_study(task, world.folder).steer(enqueue_edit(dict(first.trials[0].params)))
    again = runner_for(world, task)
    in_loop(again.run())
    told = (
        "the budget of 1 trial is spent; 1 enqueued configuration was not tried: raise the budget, with set_budget or"
    )
    assert again.notices[-1] == f"{told} --trials"
    assert len(again.trials) == 1


def test_a_run_whose_edits_leave_nothing_together_ends_in_good_order(world: World) -> None:
    task = world.task(trials=9, parameters={"threads": [1, 2], "x": {"type": "float", "low": 0, "high": 1}})
    one, other = open_study(task, world.folder), open_study(task, world.folder)
    one.steer(ban_edit("threads", 1))
    other.steer(ban_edit("threads", 2))
    runner = ran(world, task)
    assert (runner.trials, runner.state) == ((), RunState.FINISHED)
    one.apply_new_edits()
    one.steer(free_edit("threads"))
    assert len(ran(world, task).trials) == 9


def test_what_stop_takes_down_is_told_and_when_it_is_gone(world: World) -> None:
    async def scenario() -> None:
        runner = runner_for(world, world.task(trials=5, deploy={"parallel": 2}, before="sleep 600"))
        running = asyncio.ensure_future(runner.run())
        await until_async(lambda: len([e for e in runner.of(events.PhaseStarted) if e.phase == "benchmark"]) == 2)
        await runner.stop()
        await runner.stop()
        await running
        told = [text for text in runner.notices if "taking down" in text or "everything is taken down" in text]
        assert told[0] == "taking down the engines and benchmarks of trials 0, 1"
        assert told[1].startswith("everything is taken down, ")
        assert told[1].endswith(" s after the request to stop")
        assert len(told) == 2

    in_loop(scenario())


def test_results_that_take_long_to_write_are_written_less_often_and_whole_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_for(world, world.task(trials=4))
    write, written = runner.study.folder.write_results, []

    def slowly(results: dict[str, Any]) -> None:
        time.sleep(0.3)
        written.append(len(results["trials"]))
        write(results)

    monkeypatch.setattr(runner.study.folder, "write_results", slowly)
    in_loop(runner.run())
    assert written[0] == 0
    assert written[-1] == 4
    assert len(written) < 5
    assert [trial["state"] for trial in world.results()["trials"]] == ["complete"] * 4


# What goes wrong


def test_a_trial_that_breaks_a_limit_is_complete_and_never_best(world: World) -> None:
    runner = ran(world, world.task(trials=1, limits=["ttft_p99_s <= 0.01"], budget={"cut": False}))
    assert runner.trials[0].state is TrialState.COMPLETE
    assert runner.study.best is None
    assert not runner.of(events.TrialEnded)[0].is_best


def test_what_cannot_be_kept_ends_the_run_with_every_engine_taken_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first trial to end cannot be kept while another one is in the middle of its load.
    slow_second = f'mkdir "{world.bench.script.parent}/first" 2>/dev/null || sleep 600'
    runner = runner_for(world, world.task(trials=9, deploy={"parallel": 2}, before=slow_second))
    monkeypatch.setattr(runner.study, "tell", _disk_full)
    with pytest.raises(StudyError, match="disk is full"):
        in_loop(runner.run())
    assert runner.state is RunState.FAILED
    assert not world.stub.alive
    assert world.results()["state"] == "failed"


def test_a_setup_that_is_missing_ends_the_run_before_any_trial(world: World) -> None:
    task = Task.parse({**world.task().model_dump(), "benchmark": {"executable": "no-such-bench"}})
    runner = runner_for(world, task)
    with pytest.raises(SetupError, match="no-such-bench"):
        in_loop(runner.run())
    assert runner.state is RunState.FAILED
    assert runner.trials == ()
    assert world.results()["state"] == "failed"


def test_a_run_that_fails_leaves_no_trial_on_record_as_running(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(_study: Study, _trial: Trial) -> Trial:
        raise StudyError("the disk is full")

    runner = runner_for(world, world.task(trials=2))
    monkeypatch.setattr(Study, "tell", tell)
    with pytest.raises(StudyError, match="the disk is full"):
        in_loop(runner.run())
    assert [trial.state for trial in runner.trials] == [TrialState.INTERRUPTED]
    assert world.results()["trials"][0]["state"] == "interrupted"


def test_a_benchmark_that_cannot_be_closed_keeps_nothing_else_from_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_for(world, world.task(trials=1))
    closed: list[str] = []

    async def close_deployer() -> list[str]:
        closed.append("deployer")
        raise ConnectionError("the cluster is gone")

    async def close_benchmark() -> None:
        raise OSError("no such process")

    monkeypatch.setattr(runner._deployer, "close", close_deployer)
    monkeypatch.setattr(runner._benchmark, "close", close_benchmark)
    in_loop(runner.run())
    assert closed == ["deployer"]
    assert world.results()["state"] == "finished"
    assert "the benchmark could not be closed: OSError: no such process" in runner.notices
    assert "the deployer could not be closed: ConnectionError: the cluster is gone" in runner.notices


def test_a_listener_that_raises_stops_nothing(world: World) -> None:
    runner = runner_for(world, world.task(trials=1))

    def broken(event: events.Event) -> None:
        raise ValueError(event)

    runner.bus.subscribe(broken)
    in_loop(runner.run())
    assert runner.trials[0].state is TrialState.COMPLETE


def test_what_is_no_finite_score_is_told_as_the_failure_that_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_for(world, world.task(trials=1))
    tell = runner.study.tell

    def spoiled(trial: Trial) -> Trial:
        assert trial.score is not None
        return tell(trial.with_(score=type(trial.score)({"output_tokens_per_s": float("nan")})))

    monkeypatch.setattr(runner.study, "tell", spoiled)
    in_loop(runner.run())
    [ended] = runner.of(events.TrialEnded)
    assert ended.trial.state is TrialState.FAILED
    assert not ended.is_best


# Its parts


def test_a_wall_clock_that_jumps_changes_neither_durations_nor_figures(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, wall = itertools.cycle((0, 7, -30)), time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 3600 * next(hours))
    began = time.monotonic()
    runner = ran(world, world.task(trials=2, budget={"minutes": 60}))
    took_s = time.monotonic() - began
    assert [trial.state for trial in runner.trials] == [TrialState.COMPLETE] * 2
    assert all(0 <= seconds <= took_s for trial in runner.trials for seconds in trial.seconds.values())
    assert 0 < runner.elapsed_s <= took_s
    assert not [text for text in runner.notices if "hour" in text or "minutes" in text]
