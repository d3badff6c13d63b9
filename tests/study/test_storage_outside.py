"""A storage that other programs lock or change while a study runs: no measurement is lost."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb import events
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyError
from autotune_nb.runner.runner import RunState
from autotune_nb.study import StorageBusyError
from autotune_nb.study._trial_store import TrialStore
from autotune_nb.trial.trial import Trial, TrialState
from tests.runs import runner_for
from tests.stubs import World, in_loop, open_study
from tests.study.test_study import asked, completed


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_nb.study._storage.BUSY_S", 0.1)


def test_a_trial_that_a_locked_database_refuses_is_stored_by_the_next_run(make_task: Any, tmp_path: Path) -> None:
    study = open_study(make_task(), tmp_path)
    trial = completed(asked(study), 10)
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageBusyError, match=r"study\.db is locked by another program"):
            study.tell(trial)
    assert study.trials == (trial,)
    study.close()
    again = open_study(study.task, tmp_path)
    assert again.recover() == ["trial 0 had ended and is stored"]
    assert again.trials == (trial,)
    again.close()
    assert open_study(study.task, tmp_path).trials == (trial,)
    assert not list(tmp_path.glob("unstored*"))


@pytest.mark.parametrize(
    ("moment", "notice"),
    [
        ("measured", "trial 0 is kept and stored later"),
        ("ended", "waiting for the storage"),
        ("edits read", "the next trial waits"),
    ],
)
def test_a_run_goes_on_once_the_database_is_unlocked(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str, notice: str
) -> None:
    runner = runner_for(world, world.task(trials=2))
    other = sqlite3.connect(world.folder / "study.db", isolation_level=None, check_same_thread=False)
    read_edits = runner.study.apply_new_edits

    def lock(now: str) -> None:
        if now == moment and 0 in {t.number for t in runner.study.trials} and not notices():
            with contextlib.suppress(sqlite3.ProgrammingError):
                other.execute("BEGIN EXCLUSIVE")

    def notices() -> int:
        return sum(line.startswith(notice) for line in runner.notices)

    def listen(event: events.Event) -> None:
        if isinstance(event, events.LevelMeasured) and event.index == event.count:
            lock("measured")
        if isinstance(event, events.TrialEnded):
            lock("ended")
        if isinstance(event, events.Notice) and event.text.startswith(notice):
            other.close()

    def edits() -> Any:
        read = read_edits()
        lock("edits read")
        return read

    monkeypatch.setattr(runner.study, "apply_new_edits", edits)
    runner.bus.subscribe(listen)
    in_loop(runner.run())
    assert runner.state is RunState.FINISHED
    assert notices() == 1
    stored = open_study(runner.study.task, world.folder)
    assert [(t.number, t.state) for t in stored.trials] == [(0, TrialState.COMPLETE), (1, TrialState.COMPLETE)]


def test_a_trial_that_another_program_ended_is_one_line_and_kept_in_the_results(world: World) -> None:
    runner = runner_for(world, world.task(trials=2))

    def listen(event: events.Event) -> None:
        if isinstance(event, events.LevelMeasured) and event.number == 0 and event.index == event.count:
            stored = optuna.load_study(
                study_name=runner.study._study.study_name, storage=f"sqlite:///{world.folder / 'study.db'}"
            )
            stored.tell(0, state=optuna.trial.TrialState.FAIL)

    runner.bus.subscribe(listen)
    in_loop(runner.run())
    assert runner.state is RunState.FINISHED
    lines = [notice for notice in runner.notices if "another program ended it" in notice]
    assert len(lines) == 1
    assert [(t["state"], len(t["measurements"])) for t in world.results()["trials"]] == [("complete", 2)] * 2


def test_a_study_that_another_program_deleted_is_one_line_and_its_measurement_kept(world: World) -> None:
    runner = runner_for(world, world.task(trials=2))
    name = runner.study._study.study_name

    def listen(event: events.Event) -> None:
        if isinstance(event, events.LevelMeasured) and event.index == event.count:
            optuna.delete_study(study_name=name, storage=f"sqlite:///{world.folder / 'study.db'}")

    runner.bus.subscribe(listen)
    with pytest.raises(StudyError, match=f"another program deleted the study '{name}'") as caught:
        in_loop(runner.run())
    assert "\n" not in str(caught.value)
    assert runner.state is RunState.FAILED
    assert [(t["state"], len(t["measurements"])) for t in world.results()["trials"]] == [("complete", 2)]
    assert [t.state for t in at.open(world.folder).history] == [TrialState.COMPLETE]


def test_a_run_that_an_error_ends_exits_1_though_a_trial_is_complete(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = TrialStore.end

    def refused(self: TrialStore, trial: Trial) -> None:
        if trial.number == 1:
            raise StudyError("the storage is gone")
        end(self, trial)

    monkeypatch.setattr(TrialStore, "end", refused)
    file = tmp_path / "task.json"
    file.write_text(json.dumps(world.task(trials=2).model_dump(mode="json")))
    ran = CliRunner().invoke(cli, ["run", str(file), "--study", str(world.folder)])
    assert ran.exit_code == 1
    assert "error: the storage is gone" in ran.stderr.splitlines()
    assert [t["state"] for t in world.results()["trials"]] == ["complete", "complete"]
    monkeypatch.undo()
    again = open_study(world.task(trials=2), world.folder)
    assert again.recover() == ["trial 1 had ended and is stored"]


@pytest.mark.parametrize("moved", [".", "study.db"])
def test_a_study_that_is_moved_while_it_runs_is_reported_as_that(make_task: Any, tmp_path: Path, moved: str) -> None:
    study = open_study(make_task(), tmp_path / "study")
    trial = completed(asked(study), 10)
    (tmp_path / "study" / moved).rename(tmp_path / "elsewhere")
    with pytest.raises(StudyError, match=r"study\.db was deleted or moved while the study used it"):
        study.tell(trial)
