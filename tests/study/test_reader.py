"""A study read from Optuna's tables in a SQLite file, without Optuna."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.study import Study, StudyReader, _sqlite_reader
from autotune_nb.study.steering import ban_edit, enqueue_edit
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial
from tests.conftest import MINIMAL
from tests.stubs import open_study
from tests.study.test_study import asked, completed, failed

#: Values that are equal in Python or have no counterpart in Optuna, and every kind of a parameter.
PARAMETERS = {
    "alike": [1, 1.0, True, "1", None, {"k": [1]}, [1, 2]],
    "switch": {"type": "bool"},
    "power": {"type": "int", "low": 1, "high": 4096, "log": True},
    "even": {"type": "int", "low": 0, "high": 9, "step": 2},
    "stepped": {"type": "float", "low": 0.1, "high": 0.9, "step": 0.1},
    "smooth": {"type": "float", "low": 1e-6, "high": 1.0, "log": True},
}


@pytest.fixture
def task() -> Task:
    engine = {"kind": "command", "command": "server {port}"}
    return Task.parse({**MINIMAL, "engine": engine, "model": "m", "parameters": PARAMETERS})


@pytest.fixture
def study(task: Task, tmp_path: Path) -> Study:
    """A study of every kind of a trial, with each of the values that are alike."""
    study = open_study(task, tmp_path / "study")
    alike = task.space.parameters["alike"].values  # type: ignore[union-attr]
    rest = {"switch": False, "power": 77, "even": 4, "stepped": 0.7, "smooth": 0.123456789}
    trials = [completed(Trial(n, {"alike": value, **rest}), 5.0 + n) for n, value in enumerate(alike)]
    study.add([trial.with_(fingerprint={"host": f"h{trial.number % 2}"}, confirmation=(1, 2)) for trial in trials])
    study.steer(enqueue_edit({**rest, "alike": [1, 2], "switch": True}))
    study.steer(ban_edit("power", 5))
    study.tell(failed(asked(study)))
    asked(study)
    study.mark_interrupted()
    return study


@pytest.fixture(autouse=True)
def no_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    def view(*_: Any, **__: Any) -> Any:
        raise AssertionError("Optuna's storage was opened")

    monkeypatch.setattr(Study, "view", view)


def typed(trials: tuple[Trial, ...]) -> list[list[tuple[str, type, Any]]]:
    """The parameters of trials, with their types: 1 == 1.0 == True."""
    return [[(name, type(value), value) for name, value in trial.params.items()] for trial in trials]


#: Stores why the run ended.
WRITE = """INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'end_reason', '"x"')"""


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_it_is_what_optunas_storage_has(study: Study, task: Task) -> None:
    study.save_run({"elapsed_s": 12.5, "state": "stopped", "best": {"number": 3, "command": "server --port 1"}})
    study.save_end_reason("the budget is spent")
    read, kept = StudyReader(task, task.space, study.folder).read(), study.stored
    assert read.trials == kept.trials
    assert typed(read.trials) == typed(kept.trials)
    assert read.steering.edits == kept.steering.edits
    assert read.steering.restrictions == kept.steering.restrictions
    assert (read.trial_numbers_by_edit, read.elapsed_s) == (kept.trial_numbers_by_edit, 12.5)
    assert (read.end_reason, read.last_run) == ("the budget is spent", kept.last_run)
    assert len(kept.trial_numbers_by_edit) == 1


def test_trials_that_ended_are_read_once(study: Study, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    # More trials than are asked for in one statement.
    monkeypatch.setattr(_sqlite_reader, "_MOST_BOUND", 3)
    parsed: list[int] = []
    stored_trial = _sqlite_reader.stored_trial

    def noted(number: int, *arguments: Any, **named: Any) -> Trial:
        parsed.append(number)
        return stored_trial(number, *arguments, **named)

    monkeypatch.setattr(_sqlite_reader, "stored_trial", noted)
    reader = StudyReader(task, task.space, study.folder)
    before = reader.read()
    assert parsed == list(range(len(study.trials)))
    running = study.trials[-1]
    study.tell(completed(running, 1.0))
    parsed.clear()
    after = reader.read()
    assert parsed == [running.number]
    assert after.trials == study.trials != before.trials
    assert after.steering is before.steering
    assert after.trial_numbers_by_edit == study.trial_numbers_by_edit


def test_a_database_with_a_log_of_writes_is_read_and_no_file_is_created(study: Study, task: Task) -> None:
    folder = study.folder.path
    with contextlib.closing(sqlite3.connect(study.folder.database, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=wal")
        writer.execute(
            "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'end_reason', '\"x\"')"
        )
        before = names(folder)
        assert "study.db-wal" in before
        assert StudyReader(task, task.space, study.folder).read().end_reason == "x"
        assert names(folder) == before
    study.close()
    before = names(folder)
    assert "study.db-wal" not in before
    assert StudyReader(task, task.space, study.folder).read().end_reason == "x"
    assert names(folder) == before


def test_a_log_of_writes_that_must_be_recovered_first_is_left_to_optuna(
    study: Study, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(sqlite3.connect(study.folder.database, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=wal")
        writer.execute(
            "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'end_reason', '\"x\"')"
        )
        copy = tmp_path / "copy"
        shutil.copytree(study.folder.path, copy, ignore=shutil.ignore_patterns("*-shm"))
    monkeypatch.undo()
    opened = StudyReader(task, task.space, type(study.folder)(copy)).read()
    assert (opened.end_reason, opened.trials) == ("x", study.trials)
