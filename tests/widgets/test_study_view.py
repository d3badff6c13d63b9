"""A view of a study: its buttons, redraws, and errors of the study."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb import session
from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.run import Run
from autotune_nb.runner.runner import Runner, RunState
from autotune_nb.session import tune
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets import _charts, _header
from autotune_nb.widgets._pace import Pace
from autotune_nb.widgets._study_view import StudyView
from tests.reports.test_metric_series import engine
from tests.stubs import World, open_study, until
from tests.widgets.stub_handle import LIMIT, StubHandle, complete, working

WAIT_S = 60.0


@pytest.fixture
def stub(make_task: Callable[..., Task], tmp_path: Path) -> StubHandle:
    """A stub handle with a study folder."""
    handle = StubHandle(make_task(limits=[LIMIT]), tmp_path / "stub")
    handle.path.mkdir()
    (handle.path / "study.json").write_text("{}")
    return handle


def buttons(view: StudyView) -> dict[str, bool]:
    """Return which buttons are enabled."""
    named = {
        "start": view.header.buttons.start,
        "pause": view.header.buttons.pause,
        "resume": view.header.buttons.resume,
        "stop": view.header.buttons.stop,
    }
    return {name: not button.disabled for name, button in named.items()}


def only(*names: str) -> dict[str, bool]:
    return {name: name in names for name in ("start", "pause", "resume", "stop")}


def endless(world: World, **changes: Any) -> Task:
    return world.task(before=f"{world.first_level}; sleep 600", trials=5, **changes)


def redraw(view: StudyView) -> None:
    """Redraw the view and wait for it."""
    view._drawn = None
    # The first end may be that of a redraw which had begun before.
    for _ in range(2):
        view.drawn.clear()
        view._redraw_now()
        assert view.drawn.wait(WAIT_S)


# Buttons during a run


def test_the_buttons_follow_the_run_and_start_resumes_it(world: World) -> None:
    run = tune(endless(world), study=world.folder)
    view = StudyView(run)
    until(lambda: run.running)
    until(lambda: buttons(view) == only("pause", "stop"))
    view.header.buttons.pause.click()
    until(lambda: buttons(view) == only("resume", "stop"))
    view.header.buttons.resume.click()
    until(lambda: buttons(view) == only("pause", "stop"))
    view.header.buttons.pause.click()
    until(lambda: run.state is RunState.PAUSED)
    # Also from a pause.
    view.header.buttons.stop.click()
    run.wait(WAIT_S)
    until(lambda: buttons(view) == only("start"))
    assert view.header.buttons.stop.description == "Stop"
    until(lambda: "everything is taken down" in view.notices.value)
    view.header.buttons.start.click()
    assert view.header.buttons.start.disabled
    until(lambda: isinstance(view.handle, Run) and view.handle is not run and view.handle.running)
    until(lambda: buttons(view) == only("pause", "stop"))
    assert isinstance(view.handle, Run)
    view.handle.stop(now=True, wait_s=WAIT_S)


def test_a_double_click_on_stop_kills_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = Run.stop

    def stop(run: Run, *, now: bool = False, **_: Any) -> None:
        asked.append(now)
        real(run)

    monkeypatch.setattr(Run, "stop", stop)
    run = tune(endless(world, deadlines={"ready_s": 20, "stop_s": 60, "probe_s": 10}), study=world.folder)
    view = StudyView(run)
    until(lambda: run.running)
    redraw(view)
    monkeypatch.setattr(view, "_redraw", lambda: 0)
    view.header.buttons.stop.click()
    until(lambda: run.state is not RunState.RUNNING)
    # The label after a redraw between the two clicks.
    view.header.buttons.stop.description = "Kill the engines"
    view.header.buttons.stop.click()
    assert asked == [False, False]
    # A click that comes later.
    monkeypatch.setattr("autotune_nb.widgets._run_buttons._DOUBLE_CLICK_S", 0)
    view.header.buttons.stop.click()
    assert asked == [False, False, True]
    monkeypatch.undo()
    real(run, now=True, wait_s=WAIT_S)


def test_a_start_that_fails_shows_the_error_and_can_be_retried(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise StudyError("somebody <b>else</b> has it")

    monkeypatch.setattr(session, "tune", busy)
    stub.state = "new"
    view = StudyView(stub)
    until(lambda: buttons(view) == only("start"))
    for _ in range(2):
        view.header.buttons.start.click()
        until(lambda: "somebody &lt;b&gt;else" in view.header.errors.value)
        until(lambda: buttons(view) == only("start"))
        assert "ended with an error" not in view.header.errors.value


def test_a_study_that_another_process_runs_cannot_be_started(stub: StubHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StubHandle, "elsewhere", "pid 1 on moon", raising=False)
    view = StudyView(stub)
    until(lambda: "pid 1 on moon, is running this study" in view.notices.value)
    # Its commands reach the other process.
    assert buttons(view) == only("pause", "stop")


# Errors and changes of the study


@pytest.mark.parametrize("ending_s", [0.0, 0.7, 1.2])
def test_the_error_of_a_run_is_shown_even_if_it_is_set_late(
    world: World, monkeypatch: pytest.MonkeyPatch, ending_s: float
) -> None:
    going = asyncio.Event()

    async def fail(_runner: Runner) -> None:
        await going.wait()
        raise StudyError("the disk is full") from OSError("no <space>")

    end = Runner._end

    async def ends(runner: Runner) -> None:
        await asyncio.sleep(ending_s)
        await end(runner)

    monkeypatch.setattr(Runner, "_work", fail)
    monkeypatch.setattr(Runner, "_end", ends)
    run = tune(world.task(), study=world.folder)
    view = StudyView(run)
    until(lambda: run.state is RunState.RUNNING)
    redraw(view)
    run._loop.loop.call_soon_threadsafe(going.set)
    until(lambda: run.ended)
    until(lambda: "the disk is full" in view.header.errors.value)
    assert "caused by OSError: no &lt;space&gt;" in view.header.errors.value
    until(lambda: buttons(view) == only("start"))
    with pytest.raises(StudyError, match="the disk is full"):
        run.wait(WAIT_S)


def test_a_budget_that_another_cell_raises_after_the_end_is_shown(world: World) -> None:
    run = tune(world.task(trials=1), study=world.folder)
    view = StudyView(run)
    run.wait(WAIT_S)
    until(lambda: "finished" in view.header.progress.value and view._over and buttons(view) == only())
    run.set_budget(trials=2)
    until(lambda: buttons(view) == only("start"))
    assert "1 of 2 trials" in view.header.progress.value


def test_a_run_that_another_cell_starts_is_shown(world: World) -> None:
    tune(world.task(trials=1), study=world.folder).wait(WAIT_S)
    view = StudyView(session.open(world.folder))
    until(lambda: "finished" in view.header.progress.value)
    assert not isinstance(view.handle, Run)
    run = tune(endless(world), study=world.folder)
    until(lambda: view.handle is run)
    until(lambda: buttons(view) == only("pause", "stop"))
    assert "is running this study" not in view.notices.value
    run.stop(now=True, wait_s=WAIT_S)


def test_a_missing_database_and_a_missing_folder_are_reported(make_task: Callable[..., Task], tmp_path: Path) -> None:
    study = open_study(make_task(engine={"kind": "command", "command": "server {port}"}, model="m"), tmp_path / "study")
    study.folder.write_results(study.results(state="finished", elapsed_s=1.0))
    study.close()
    view = StudyView(session.open(tmp_path / "study"))
    assert view.drawn.wait(WAIT_S)
    assert view.header.errors.value == ""
    study.folder.database.unlink()
    until(lambda: "study.db is missing; the trials of" in view.header.errors.value)
    shutil.rmtree(tmp_path / "study")
    until(lambda: "folder is gone" in view.header.errors.value)
    assert "test" in view.header.progress.value


def test_the_metrics_of_the_selected_trial_are_shown_else_of_the_latest(stub: StubHandle) -> None:
    stub.history = tuple(complete(n, 10.0 + n) for n in range(3))
    # What belongs to a trial that was repeated is the last attempt.
    engine(stub.path / "artifacts" / "trial-0002" / "attempt-10")
    (stub.path / "artifacts" / "trial-0002" / "attempt-9").mkdir()
    engine(stub.path / "artifacts" / "trial-0001")
    view = StudyView(stub)
    view.charts.show("Engine metrics")
    metrics = view.charts.plots["Engine metrics"]
    until(lambda: "trial 2 reported" in metrics.caption)
    assert set(metrics._traces) == {"running requests", "KV cache", "generated tokens"}
    view.selection.trials = (1,)
    until(lambda: "trial 1 reported" in metrics.caption)
    view.selection.trials = (0,)
    until(lambda: "has no metrics of its engine" in metrics.announced)


def test_a_view_follows_another_study_of_the_same_folder(stub: StubHandle, make_task: Callable[..., Task]) -> None:
    stub.history = tuple(complete(n, 10.0 + n) for n in range(40))
    view = StudyView(stub)
    view.selection.trials = (3,)
    until(lambda: "Trial 3" in view.page.page.value)
    view.page.edited.click()
    other = StubHandle(make_task(parameters={"parallel": [5, 6]}), stub.path, history=(complete(0, 7.0, parallel=5),))
    view.follow(other)
    until(lambda: "0 of" not in view.header.progress.value and list(view.table._rows) == [0])
    assert view.page.try_next.editor not in view.page.try_next.box.children
    until(lambda: "Select a trial" in view.page.page.value)
    assert "parallel" in [column["key"] for column in view.table._columns]


def test_a_log_that_cannot_be_read_is_skipped(stub: StubHandle, tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("first\n\x1b[31mred <b>\x1b[0m\n")
    stub.running = (
        working(complete(1, 5.0), log=log),
        working(complete(2, 5.0), log=tmp_path / "none"),
        working(complete(3, 5.0), log=tmp_path),
        working(complete(4, 5.0)),
    )
    view = StudyView(stub)
    until(lambda: "red &lt;b&gt;" in view.strip.running.value)
    assert all(f"trial {n}" in view.strip.running.value for n in (1, 2, 3, 4))
    # A growing log sends no event.
    with log.open("a") as file:
        file.write("second\n")
    until(lambda: "second" in view.strip.running.value)
    log.unlink()
    until(lambda: "second" not in view.strip.running.value)
    stub.running, stub.version = (), 1
    view._wake.set()
    until(lambda: "trial" not in view.strip.running.value or "next trial" in view.strip.running.value)
    redraw(view)
    assert view.strip._lines == {}


def test_a_failed_redraw_is_retried_at_the_next_change(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_header, "header_html", lambda *_, **__: 1 / 0)
        view = StudyView(stub)
        until(lambda: "could not be drawn" in caplog.text)
    stub.version = 1
    view._wake.set()
    until(lambda: "test" in view.header.progress.value)


def test_a_part_that_cannot_be_drawn_is_a_notice_and_the_others_are_drawn(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stub.history = (complete(1, 50.0),)
    with monkeypatch.context() as patch:
        patch.setattr(_charts, "latency_caption", lambda *_: 1 / 0)
        view = StudyView(stub)
        redraw(view)
        assert "the chart of the monitor could not be drawn: ZeroDivisionError" in view.notices.value
        assert "trial 1" in view.header.progress.value
        assert view.table._rows
    redraw(view)
    assert "could not be drawn" not in view.notices.value
    # Views of other tests may be drawn at the same time, and log the error too.
    assert "Traceback" in caplog.text


def test_a_huge_budget_does_not_break_the_view(stub: StubHandle) -> None:
    stub.history = (complete(1, 50.0),)
    view = StudyView(stub)
    redraw(view)
    view.budget.fields["trials"].value, view.budget.fields["minutes"].value = "none", "1e300"
    view.budget.change.click()
    redraw(view)
    assert view.budget.fields["minutes"].placeholder == "1e+300"
    assert "left" in view.header.progress.value


# The table, the charts


def test_a_row_of_the_table_opens_the_page_of_its_trial_and_steers(stub: StubHandle) -> None:
    stub.history = tuple(complete(n, 10.0 + n, threads=1 + n % 2) for n in range(4))
    view = StudyView(stub)
    until(lambda: {n: row.trials for n, row in view.table._rows.items()} == {0: (0, 2), 1: (1, 3)})
    # What the page's script sets.
    view.table.widget.selected = [1]
    until(lambda: "Trial 1: best, complete" in view.page.page.value)
    assert view.selection.trials == (1,)
    view.table._received(None, {"parameter": "threads", "do": "ban", "values": [2]}, [])
    until(lambda: "ban threads = 2: applies" in view.page.message.value)
    view.table._received(None, {"parameter": "threads", "do": "ban", "values": [2]}, [])
    assert "changes nothing" in view.page.message.value
    until(lambda: "ban threads = 2" in view.budget.edits.value)


def test_without_a_change_nothing_is_sent(stub: StubHandle) -> None:
    stub.history = (complete(1, 50.0),)
    view = StudyView(stub)
    redraw(view)
    before = view.redraws
    for _ in range(3):
        redraw(view)
    assert view.redraws == before


def test_without_anywidget_everything_but_the_charts_is_shown(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "autotune_nb.widgets._plot", None)
    stub.history = (complete(1, 50.0),)
    view = StudyView(stub)
    assert "pip install &#x27;autotune_nb[lab]&#x27;" in view.charts.box.children[0].value
    until(lambda: 1 in view.table._rows and 50.0 in view.table._rows[1].cells)


def test_importances_of_many_trials_come_after_the_first_redraw(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def importances(trials: Any, *_: Any) -> dict[str, float]:
        asked.append(len(trials))
        return {"threads": 1.0}

    monkeypatch.setattr("autotune_nb.study.importance.importances", importances)
    stub.history = tuple(complete(n, 10.0 + n) for n in range(501))
    view = StudyView(stub)
    assert view.drawn.wait(WAIT_S)
    # They are computed for the charts that show them.
    assert asked == []
    view.charts.show("Parameters")
    until(lambda: asked == [501])


def test_a_level_is_drawn_while_the_skipped_configurations_are_computed(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = threading.Event()

    def skipped(_handle: StubHandle) -> list[str]:
        assert computed.wait(WAIT_S)
        return ["threads = 4 resembles trial 1"]

    monkeypatch.setattr(StubHandle, "skipped", skipped)
    stub.history = (complete(0, 10.0),)
    view = StudyView(stub)
    assert view.drawn.wait(WAIT_S)
    stub.running, stub.version = (working(complete(1, 20.0)),), 1
    stub.history = (*stub.history, complete(1, 20.0).with_(state=TrialState.RUNNING, score=None))
    view._wake.set()
    until(lambda: "running" in view.charts.plots["Latency and throughput"]._traces)
    assert view.skipped.value == ""
    computed.set()
    until(lambda: "threads = 4" in view.skipped.value)


def test_the_table_of_many_trials_follows_the_first_redraw_however_much_that_sent(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "wait_s", property(lambda _pace: 10 * WAIT_S))
    stub.history = tuple(complete(n, 10.0 + n) for n in range(501))
    view = StudyView(stub)
    until(lambda: len(view.table._rows) == 501)


def test_importances_are_up_to_date_once_the_work_is_over_and_nothing_is_sent_later(
    stub: StubHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def importances(trials: Any, *_: Any) -> dict[str, float]:
        asked.append(len(trials))
        return {"threads": len(trials) / 20, "parallel": 1 - len(trials) / 20}

    monkeypatch.setattr("autotune_nb.study.importance.importances", importances)
    # The next computation would come much later than this test.
    monkeypatch.setattr("autotune_nb.widgets._recomputed._PAUSE", 1e9)
    stub.history = tuple(complete(n, 10.0 + n) for n in range(10))
    view = StudyView(stub)
    view.charts.show("Parameters")
    until(lambda: asked == [10])
    stub.history = tuple(complete(n, 10.0 + n) for n in range(12))
    stub.version += 1
    redraw(view)
    assert asked == [10]
    stub.state = RunState.FINISHED
    stub.version += 1
    redraw(view)
    assert asked == [10, 12]
    redraws = view.redraws
    view._importances._next_at = 0.0
    redraw(view)
    assert (asked, view.redraws) == ([10, 12], redraws)


# Why


def test_each_running_trial_has_the_reason_for_its_choice(stub: StubHandle) -> None:
    proposed = Trial(3, {"threads": 4}, reason="the largest expected improvement per second; predicted 5 to <9>")
    default, enqueued, sampled = Trial(0, {}, baseline=True), Trial(1, {"threads": 1}), Trial(2, {"threads": 2})
    stub.running = tuple(working(trial) for trial in (default, enqueued, sampled, proposed))
    stub._trial_numbers_by_edit = {"edit": 1}
    view = StudyView(stub)
    assert view.drawn.wait(WAIT_S)
    chosen = re.findall(r'title="chosen: (.*?)">', view.strip.running.value)
    assert chosen == [
        "the engine&#x27;s default configuration, with which the others are compared",
        "it was enqueued",
        f"by the strategy {stub.task.strategy.sampler}",
        "the largest expected improvement per second; predicted 5 to &lt;9&gt;",
    ]


@pytest.mark.parametrize(("strategy", "shown"), [("auto", True), ("random", False)])
def test_skipped_configurations_are_shown_as_soon_as_a_failure_is_known(
    make_task: Callable[..., Task], tmp_path: Path, strategy: str, shown: bool
) -> None:
    task = make_task(strategy=strategy, parameters={"slots": list(range(1, 13)), "flag": ["a", "b"]}, rules=[])
    (tmp_path / "study.json").write_text("{}")
    params = [{"slots": slots, "flag": "a" if slots % 2 else "b"} for slots in range(1, 11)]
    ended = tuple(complete(n, 10.0 + n, **one) for n, one in enumerate(params[:5]))
    stub = StubHandle(task, tmp_path, history=ended)
    view = StudyView(stub)
    assert view.drawn.wait(WAIT_S)
    assert view.skipped.value == ""
    failure = Failure(FailureKind.OUT_OF_MEMORY, "deploy", "too large")
    lost = [Trial(5 + n, one, TrialState.FAILED, failure=failure) for n, one in enumerate(params[5:])]
    stub.history, stub.state = (*ended, *lost), RunState.FINISHED
    redraw(view)
    # 14 of the 24 are left; those with many slots resemble the failed ones.
    found = re.findall(
        r'<div class="at-dim">skipped: \d+ configurations.* like trials? [\d, and]+: (.*?)</div>', view.skipped.value
    )
    assert found == (["out of memory at start"] if shown else [])
