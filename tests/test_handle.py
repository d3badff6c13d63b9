"""What ``Run`` and ``OpenedStudy`` have in common: properties, edits and their errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb import events
from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.handle import Best, StudyHandle
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import Run
from autotune_nb.session import tune
from autotune_nb.study.steerable import UNCHANGED
from autotune_nb.study.steering import Edit, EditKind
from autotune_nb.task.task import Task
from tests.stubs import World, open_study, until

POINT = {"threads": 2, "batch_size": 77}


@pytest.fixture(params=["run", "ended", "opened"])
def handle(request: pytest.FixtureRequest, world: World) -> StudyHandle:
    """A study of two parameters: worked on, ended, or only looked at."""
    task = world.task(trials=1, before="" if request.param == "ended" else "sleep 600")
    if request.param == "opened":
        open_study(task, world.folder)
        return OpenedStudy(world.folder)
    run = tune(task, study=world.folder)
    if request.param == "ended":
        run.wait(60)
    return run


def test_every_edit_is_an_entry_of_the_study(handle: StudyHandle) -> None:
    made = [
        handle.enqueue(POINT),
        handle.ban("batch-size", 64, 65),
        handle.narrow("batch_size", high=300),
        handle.pin("threads", 1),
        handle.free("threads"),
        handle.narrow("threads", values=[1, 2]),
        handle.set_budget(trials=9, patience=3),
        handle.set_budget(patience=None),
    ]
    assert [edit.kind for edit in made] == [
        *(EditKind.ENQUEUE, EditKind.BAN, EditKind.NARROW, EditKind.PIN, EditKind.FREE, EditKind.NARROW),
        *(EditKind.BUDGET, EditKind.BUDGET),
    ]
    # At once, before any database has taken them.
    assert handle.edits == tuple(made)
    assert [edit.at for edit in made] == sorted({edit.at for edit in made})
    assert handle.queue == [POINT]
    assert (handle.budget.trials, handle.budget.patience, handle.num_trials) == (9, None, 9)
    assert not handle.steering.space.restrictions["batch_size"].permits(301)
    # And every other process reads them.
    until(lambda: OpenedStudy(handle.path).edits == tuple(made))
    text, page = handle.report().text(), handle.report().to_html()
    assert all(edit.text in text for edit in made)
    assert page.count("<li>") == len(made)


def test_a_value_of_the_wrong_type_is_an_error_that_says_what_is_expected(handle: StudyHandle) -> None:
    anything: Any = handle
    wrong: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: anything.enqueue({1: 2}),
            "point: expected a mapping of parameter names to values",
        ),
        (lambda: anything.enqueue([1]), "point: expected a mapping of parameter names"),
        (lambda: anything.enqueue(None), "point: expected a mapping of parameter names"),
        (lambda: anything.enqueue({"threads": object()}), "point."),
        (lambda: anything.command(5), "point: expected a mapping of parameter names"),
        (lambda: anything.ban(3, 1), "parameter: expected the name of a parameter, not 3"),
        (lambda: anything.ban("threads", object()), "threads: <object"),
        (lambda: anything.ban("threads", b"1"), "threads: b'1' is not in the space"),
        (lambda: anything.pin(None, 1), "parameter: expected the name of a parameter, not None"),
        (lambda: anything.pin("threads", {1}), "threads: {1} is not in the space"),
        (lambda: anything.free(["threads"]), "parameter: expected the name of a parameter, not ['threads']"),
        (lambda: anything.narrow(b"threads", 1, 2), "parameter: expected the name of a parameter, not b'threads'"),
        (lambda: anything.narrow("batch_size", "low"), "batch_size: 'low' is not a number"),
        (lambda: anything.narrow("batch_size", high=[300]), "batch_size: [300] is not a number"),
        (lambda: anything.narrow("threads", values=5), "threads: expected a list of values, not 5"),
        (lambda: anything.narrow("threads", values="12"), "threads: expected a list of values, not '12'"),
        (lambda: anything.set_budget(trials=[3]), "budget.trials: "),
        (lambda: anything.steer("ban threads"), "edit: expected an Edit"),
    ]
    for call, message in wrong:
        with pytest.raises(TaskError) as caught:
            call()
        assert str(caught.value).startswith(message)
    assert handle.edits == ()


def test_what_is_wrong_is_refused_at_once_and_leaves_no_entry(handle: StudyHandle) -> None:
    handle.ban("threads", 1)
    wrong: list[tuple[Callable[[], Edit], str]] = [
        (lambda: handle.ban("threads", 2), "threads: 'ban threads = 2' leaves no value of it"),
        (lambda: handle.pin("threads", 3), "threads: 3 is not in the space"),
        (lambda: handle.narrow("threads", 1), "threads: has no range"),
        (lambda: handle.narrow("batch_size", 600), "batch_size: 'narrow batch_size from 600' leaves no value"),
        (lambda: handle.narrow("batch_size", 64, values=[64]), "batch_size: give a range or values"),
        (lambda: handle.enqueue({"threads": 1, "batch_size": 64}), "point.threads: excluded by the study's edits"),
        (lambda: handle.enqueue({"threads": 2}), "point.batch_size: is missing"),
        (lambda: handle.set_budget(), "budget: give trials, minutes, gpu_hours, usd, patience or max_failures"),
        (lambda: handle.set_budget(minutes=-1), "budget.minutes: "),
    ]
    for call, message in wrong:
        with pytest.raises(TaskError) as caught:
            call()
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
    for name in (lambda: handle.ban("thread", 1), lambda: handle.free("thread"), lambda: handle.pin("thread", 1)):
        with pytest.raises(UnknownNameError, match="did you mean 'threads'"):
            name()
    assert [edit.text for edit in handle.edits] == ["ban threads = 1"]


def test_a_command_is_told_of_a_configuration_of_the_space_only(world: World) -> None:
    open_study(world.task(trials=1), world.folder)
    handle = OpenedStudy(world.folder)
    assert handle.command(POINT) == handle.command({"threads": 2, "batch-size": 77})
    assert len(handle.command({})) < len(handle.command({"threads": 2})) < len(handle.command(POINT))
    for told in (handle.command, handle.manifest):
        with pytest.raises(UnknownNameError, match="'thread'; did you mean 'threads'"):
            told({"thread": 1})
        for wrong in (None, ["threads"], {1: 2}):
            with pytest.raises(TaskError, match=r"point: expected a mapping of parameter names to values"):
                told(wrong)  # type: ignore[arg-type]


def test_many_threads_steer_at_once_and_lose_nothing(handle: StudyHandle) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def work(first: int) -> None:
        try:
            together.wait(10)
            for number in range(6):
                handle.ban("batch_size", first + number)
                assert first + number in {v for e in handle.edits for v in e.values}
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(100 + 10 * n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert len(handle.edits) == 24
    until(lambda: len(OpenedStudy(handle.path).edits) == 24)
    assert {e.id for e in OpenedStudy(handle.path).edits} == {e.id for e in handle.edits}


def test_what_it_says_of_itself_before_anything_is_measured(world: World) -> None:
    open_study(world.task(trials=5), world.folder)
    opened: StudyHandle = OpenedStudy(world.folder)
    assert repr(opened) == "<OpenedStudy 'study': new, no trials yet>"
    assert opened.best is None
    assert opened.best_trial is None
    assert list(opened.trials.index) == []
    assert opened.lasting_bundle() == {"text/plain": repr(opened)}
    assert opened.folder == opened.path == world.folder
    assert str(opened.verdict) == "No trial completed."
    assert opened.subscribe(lambda _event: None)() is None


def test_the_best_is_told_by_its_command() -> None:
    assert str(Best(3, {"a": 1}, {"x": 2.0}, "server --a 1")) == "server --a 1"
    assert repr(UNCHANGED) == "unchanged"


# A run


def test_an_edit_that_turns_out_wrong_by_then_is_told_and_leaves_no_entry(world: World) -> None:
    task = world.task(trials=1, before="sleep 600")
    run = tune(task, study=world.folder)
    told: list[events.Event] = []
    run.subscribe(told.append)
    # Another process bans the other value before this one knows of it.
    OpenedStudy(world.folder).ban("threads", 1)
    assert run.edits == ()
    run.ban("threads", 2)
    until(lambda: any("was not stored" in text for _, text in run.notices))
    until(lambda: [e.text for e in run.edits] == ["ban threads = 1"])
    assert [e.edit.text for e in told if isinstance(e, events.Steered)] == ["ban threads = 1"]
    assert [e.text for e in OpenedStudy(world.folder).edits] == ["ban threads = 1"]
    run.stop(wait_s=30)


def test_a_budget_that_is_set_while_the_last_trial_runs_makes_the_run_go_on(world: World) -> None:
    gate = world.folder.parent / "gate"
    task = world.task(trials=1, before=f'while [ ! -e "{gate}" ]; do sleep 0.02; done')
    run = tune(task, study=world.folder)
    until(lambda: run.running)
    run.set_budget(trials=2)
    assert run.num_trials == 2
    gate.touch()
    assert len(run.wait(60).history) == 2
    assert run.version > 0


def test_what_is_enqueued_leaves_the_queue_when_its_trial_begins(world: World) -> None:
    gate = world.folder.parent / "gate"
    task = world.task(trials=3, before=f'while [ ! -e "{gate}" ]; do sleep 0.02; done')
    run: Run = tune(task, study=world.folder)
    until(lambda: run.running)
    first = dict(run.running[0].trial.params)
    # The same once more is a trial of its own.
    run.enqueue(first)
    run.enqueue(POINT)
    assert run.queue == [first, POINT]
    gate.touch()
    run.wait(60)
    assert [dict(trial.params) for trial in run.history] == [first, first, POINT]
    assert run.queue == []
    assert OpenedStudy(world.folder).queue == []


def test_the_tasks_own_budget_counts_again_once_it_changes(world: World) -> None:
    task: Task = world.task(trials=1)
    run = tune(task, study=world.folder).wait(60)
    run.set_budget(trials=2)
    assert len(tune(task, study=world.folder).wait(60).history) == 2
    assert len(tune(task, study=world.folder, trials=3).wait(60).history) == 3


def test_tab_completion_lists_what_people_call(world: World) -> None:
    open_study(world.task(), world.folder)
    handle = OpenedStudy(world.folder)
    names = dir(handle)
    assert {"best", "trials", "verdict", "report", "chart", "trial", "ban", "command", "task"} <= set(names)
    assert not [name for name in names if name.startswith("_")]
    assert not {"poll", "subscribe", "version", "lasting_bundle", "storage"} & set(names)
    assert all(hasattr(type(handle), name) or hasattr(handle, name) for name in names)
