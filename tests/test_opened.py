"""Opened studies: finished, interrupted, or running in another process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from click.testing import CliRunner, Result

from autotune_nb import session
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyError, StudyNotFoundError, TaskError, UnknownNameError
from autotune_nb.handle import StudyHandle
from autotune_nb.opened import OpenedStudy
from autotune_nb.runner.runner import RunState
from autotune_nb.secrets.scrubbing import know
from autotune_nb.session import tune
from autotune_nb.study import Study
from autotune_nb.study.command_files import give_command, take_commands
from autotune_nb.study.steering import enqueue_edit, pin_edit
from autotune_nb.study.worker import RunCommand
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from tests.conftest import MINIMAL
from tests.stubs import World, open_study, package_env, until
from tests.study.test_study import asked, completed, failed, queue_of

WAIT_S = 60.0


def plain_task() -> Task:
    engine = {"kind": "command", "command": "server {port}"}
    parameters = {
        "threads": [1, 2, None, {"k": 1}],
        "batch_size": {"type": "int", "low": 32, "high": 512, "log": True},
        "ratio": {"type": "float", "low": 0.1, "high": 0.9, "step": 0.1},
    }
    limits = ["ttft_p99_s <= 0.5"]
    return Task.parse({**MINIMAL, "engine": engine, "model": "m", "parameters": parameters, "limits": limits})


@pytest.fixture
def task() -> Task:
    return plain_task()


def keep(study: Study, state: str = "finished") -> None:
    """What a run writes at its end."""
    results = study.results(state=state, elapsed_s=12.5, command=lambda _best: "server --port 1")
    study.folder.write_results(results)
    study.save_run(results)


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with every kind of a trial and of an edit."""
    study = open_study(plain_task(), tmp_path_factory.mktemp("finished") / "study")
    study.tell(completed(asked(study), 10.0, violation=-0.1))
    study.steer(enqueue_edit({"threads": {"k": 1}, "batch_size": 77, "ratio": 0.7}))
    study.steer(enqueue_edit({"threads": None, "batch_size": 78, "ratio": 0.3}))
    study.tell(completed(asked(study), 30.0, violation=-0.2))
    study.steer(pin_edit("ratio", 0.5))
    study.tell(failed(asked(study)).with_(fingerprint={"host": "elsewhere"}))
    study.tell(completed(asked(study), 50.0, violation=0.5).with_(attempts=1))
    study.tell(asked(study).with_(state=TrialState.STOPPED, seconds={"deploy": 0.125}))
    asked(study)
    study.mark_interrupted()
    keep(study, "stopped")
    study.close()
    return study.folder.path


@pytest.fixture
def finished(finished_once: Path, task: Task, tmp_path: Path) -> Study:
    """A copy of it, the test's own."""
    shutil.copytree(finished_once, tmp_path / "study")
    study = open_study(task, tmp_path / "study")
    study.close()
    return study


def no_optuna(*_: Any, **__: Any) -> Any:
    raise AssertionError("Optuna's storage was opened")


# Finished


def test_tables_storage_and_results_give_the_same_view(
    finished: Study, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def view() -> dict[str, Any]:
        opened = OpenedStudy(finished.folder.path)
        return {
            "trials": opened.history,
            "edits": opened.edits,
            "queue": opened.queue,
            "state": opened.state,
            "elapsed": opened.elapsed_s,
            "best": opened.best,
            "budget": opened.budget,
            "left": opened.steering.restrictions,
            "results": opened.results(),
            "verdict": opened.verdict,
            "reasons": [opened.reason(trial) for trial in opened.history],
        }

    results = finished.folder.path / "results.json"
    with monkeypatch.context() as patch:
        patch.setattr(Study, "view", no_optuna)
        written = results.read_bytes()
        results.unlink()
        told = view()
        quick = OpenedStudy(finished.folder.path)
        results.write_bytes(written)
    assert told["results"] == {**json.loads(written), "study": str(finished.folder.path)}
    with monkeypatch.context() as patch:
        # As with tables of another version of Optuna, which its storage can read.
        patch.setattr("autotune_nb.study._sqlite_reader._REVISIONS", [])
        slow = OpenedStudy(finished.folder.path)
        assert view() == told
    finished.folder.database.unlink()
    assert view() == told
    for one, other, kept in zip(quick.history, slow.history, finished.trials, strict=True):
        for name in Trial.__dataclass_fields__:
            assert getattr(one, name) == getattr(other, name) == getattr(kept, name), (one.number, name)
    assert quick.state is RunState.STOPPED
    states = [trial.state for trial in quick.history]
    assert states == ["complete", "complete", "failed", "complete", "stopped", "interrupted"]
    assert quick.history[2].fingerprint == {"host": "elsewhere"}
    assert quick.best is not None
    assert (quick.best.number, quick.best.command) == (1, "server --port 1")
    assert quick.task == task
    assert (quick.running, quick.error, quick.elsewhere, quick.storage) == ((), None, None, None)
    assert "4 complete" not in repr(quick)
    assert "3 complete, 1 failed, 1 stopped, 1 interrupted" in repr(quick)


def test_a_queue_is_the_same_whoever_reads_it(finished: Study) -> None:
    # The first of the two was tried; the second one waits, because an edit leaves it out.
    waiting = [{"threads": None, "batch_size": 78, "ratio": 0.3}]
    assert queue_of(finished) == waiting
    assert OpenedStudy(finished.folder.path).queue == waiting


def test_a_configuration_that_is_enqueued_again_waits_though_it_was_tried(finished: Study) -> None:
    opened = OpenedStudy(finished.folder.path)
    opened.free("ratio")
    point = dict(opened.history[1].params)
    opened.enqueue(point)
    assert opened.queue[-1] == point
    assert len(opened.queue) == 2


def test_the_database_is_what_counts_even_if_the_results_are_newer(finished: Study, task: Task) -> None:
    folder = finished.folder
    kept = (folder.path / "results.json").read_bytes()
    again = open_study(task, folder)
    again.recover()
    more = again.tell(completed(asked(again), 99.0, violation=-1.0))
    again.close()
    (folder.path / "results.json").write_bytes(kept)
    opened = OpenedStudy(folder.path)
    assert opened.history[-1] == more
    assert opened.best is not None
    assert opened.best.number == more.number
    # The command is this trial's own, not the one that was told of another.
    assert opened.best.command.startswith("server ")
    assert "--port 1" not in opened.best.command


def test_an_edit_after_the_end_is_seen_by_everybody(finished: Study) -> None:
    opened, other = OpenedStudy(finished.folder.path), OpenedStudy(finished.folder.path)
    before = other.version
    edit = opened.ban("threads", 1)
    assert opened.edits[-1] == edit
    other.poll()
    assert other.edits == opened.edits == OpenedStudy(finished.folder.path).edits
    assert other.version > before
    assert other.history == finished.trials
    seen = other.version
    other.poll()
    assert other.version == seen


def test_a_note_is_kept_in_the_study_and_where_optuna_dashboard_shows_it(finished: Study) -> None:
    opened, other = OpenedStudy(finished.folder.path), OpenedStudy(finished.folder.path)
    steered = opened.edits
    opened.trial(1).note = "  best so far " + "x" * 3000
    opened.trial(1).tags = ["prod", "eu, prod"]
    other.poll()
    assert (other.trial(1).note[:11], other.trial(1).tags) == ("best so far", ("prod", "eu"))
    assert other.trial(1).score == other.history[1].score
    # It is no steering, and stays if the database is lost.
    assert other.edits == steered
    assert [one["note"][:4] for one in other.results()["edits"] if one["kind"] == "note" and "note" in one] == ["best"]
    opened.trial(1).note = "short"
    with contextlib.closing(sqlite3.connect(finished.folder.path / "study.db")) as database:
        rows = database.execute("SELECT key, value_json FROM study_system_attributes WHERE key LIKE 'dashboard:%'")
        stored = {key: json.loads(value) for key, value in rows}
    # As optuna-dashboard reads it: by the trial's id in the storage, which counts from 1, all parts in a row.
    assert stored["dashboard:2:note_ver"] == 3
    parts = [stored[f"dashboard:2:note_str:{n}"] for n in range(len(stored) - 1)]
    assert "".join(parts) == "short\n\nTags: prod, eu"
    with pytest.raises(TaskError, match="there is no trial 99"):
        opened.trial(99)
    with pytest.raises(AttributeError, match="no 'tag' to set"):
        opened.trial(1).tag = "x"
    frame = other.configurations
    assert frame.loc[1, "tags"] == "prod, eu"


SECRET = "hf_not_to_be_written_anywhere"


def edit_in_dashboard(study: Study, trial: int, text: str) -> None:
    """Change the note of a trial as optuna-dashboard's ``save_note`` does: the version first, then the parts."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{study.folder.path / 'study.db'}")
    known = storage.get_study_system_attrs(1)
    key = f"dashboard:{trial + 1}"
    storage.set_study_system_attr(1, f"{key}:note_ver", known.get(f"{key}:note_ver", 0) + 1)
    parts = [text[at : at + 2045] for at in range(0, len(text), 2045)]
    places = max(len(parts), sum(1 for name in known if name.startswith(f"{key}:note_str:")))
    for place in range(places):
        part = parts[place] if place < len(parts) else ""
        storage.set_study_system_attr(1, f"{key}:note_str:{place}", part)
    storage.remove_session()
    storage.engine.dispose()


def test_a_note_that_optuna_dashboard_edits_is_read_back_and_the_later_edit_wins(
    finished: Study, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = OpenedStudy(finished.folder.path)
    noted = opened.trial(1)

    def shown() -> tuple[str, tuple[str, ...]]:
        opened.poll()
        return noted.note, noted.tags

    monkeypatch.setenv("SOME_TOKEN", SECRET)
    know()
    # There is none of ours yet, and it is longer than one attribute.
    edit_in_dashboard(finished, 1, long := "y" * 3000)
    assert shown() == (long, ())
    noted.note, noted.tags = "ours", ["prod"]
    assert shown() == ("ours", ("prod",))
    edit_in_dashboard(finished, 1, "theirs\n\nof two lines\n\nTags: eu, prod")
    edit_in_dashboard(finished, 3, f"of another trial, {SECRET}")
    assert shown() == ("theirs\n\nof two lines", ("eu", "prod"))
    # In whichever way it is read, in the table, and if the database is lost afterwards.
    with monkeypatch.context() as patch:
        patch.setattr("autotune_nb.study._sqlite_reader._REVISIONS", [])
        assert dict(OpenedStudy(finished.folder.path).steering.notes) == opened.steering.notes
    assert opened.configurations.loc[1, "tags"] == "eu, prod"
    noted_edits = [one for one in opened.results()["edits"] if one.get("noted_trial") == 1]
    assert noted_edits[-1]["note"].startswith("theirs")
    # Setting the tags here keeps the note from there; the default's note was changed there only.
    noted.tags = ["eu"]
    assert shown() == ("theirs\n\nof two lines", ("eu",))
    assert OpenedStudy(finished.folder.path).trial(1).tags == ("eu",)
    assert opened.trial(3).note.startswith("of another trial")
    assert SECRET not in opened.trial(3).note
    # Changed there and back again, and deleted there.
    edit_in_dashboard(finished, 1, "passing")
    assert shown() == ("passing", ())
    edit_in_dashboard(finished, 1, "theirs\n\nof two lines\n\nTags: eu")
    assert shown() == ("theirs\n\nof two lines", ("eu",))
    edit_in_dashboard(finished, 1, "")
    assert shown() == ("", ())
    study = open_study(task, finished.folder.path)
    edit_in_dashboard(finished, 1, "while a process works on it")
    assert [edit.note for edit in study.apply_new_edits()] == ["while a process works on it"]
    assert study.apply_new_edits() == []
    edit_in_dashboard(finished, 1, "")
    study.apply_new_edits()
    assert study.steering.notes.get(1) is None
    study.close()


def test_the_queue_is_ordered_removed_from_and_filled_up(finished: Study) -> None:
    opened = OpenedStudy(finished.folder.path)
    assert opened.best_trial is not None
    filled = opened.filled_up({"batch_size": 99})
    assert filled == {**opened.best_trial.params, "batch_size": 99}
    opened.free("ratio")
    opened.enqueue(filled)
    opened.move_in_queue(1, 0)
    assert [point["batch_size"] for point in opened.queue] == [99, 78]
    opened.remove_from_queue(1)
    assert OpenedStudy(finished.folder.path).queue == [filled]
    with pytest.raises(TaskError, match="there is no position 1; expected 0 to 0"):
        opened.remove_from_queue(1)


@pytest.mark.parametrize("kept", ["finished", "stopped", "failed"])
def test_the_state_is_the_one_that_was_kept(finished: Study, kept: str) -> None:
    keep(finished, kept)
    assert OpenedStudy(finished.folder.path).state is RunState(kept)


@pytest.mark.parametrize("kept", ["starting", "running", "paused", "stopping"])
def test_one_that_was_at_work_and_is_no_more_was_interrupted(finished: Study, kept: str) -> None:
    keep(finished, kept)
    assert OpenedStudy(finished.folder.path).state == "interrupted"


def test_one_that_has_not_told_anything_yet_is_new(task: Task, tmp_path: Path) -> None:
    open_study(task, tmp_path)
    opened = OpenedStudy(tmp_path)
    assert (opened.state, opened.history, opened.best, opened.queue) == ("new", (), None, [])
    assert set(opened._repr_mimebundle_()) == {"text/plain"}
    assert opened.results()["trials"] == []


def test_a_study_elsewhere_never_uses_the_results_of_the_folder(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'team.db'}"
    study = open_study(task, tmp_path / "study", storage=url)
    told = study.tell(completed(asked(study), 10.0))
    # A file that says less, and is newer than anything.
    results = study.results(state="finished", elapsed_s=1.0)
    study.folder.write_results({**results, "trials": []})
    (tmp_path / "study" / "study.db").touch()
    for storage in (None, url):
        opened = OpenedStudy(tmp_path / "study", storage=storage)
        assert opened.history == (told,)
        assert opened.results()["trials"][0]["number"] == 0


def test_it_shows_itself_with_and_without_a_notebook(finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = OpenedStudy(finished.folder.path)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "<script" not in bundle["text/html"]
    assert "pin ratio to 0.5" in bundle["text/html"]
    assert "pin ratio to 0.5" in bundle["text/plain"]
    shown = OpenedStudy(finished.folder.path)
    seen: list[object] = []

    class Display:
        def show(self, study: object) -> bool:
            seen.append(study)
            return front_end

    monkeypatch.setattr(StudyHandle, "display", Display())
    front_end = True
    shown._ipython_display_()
    assert seen == [shown]
    front_end = False
    # IPython takes this for an object without the method.
    with pytest.raises(NotImplementedError):
        shown._ipython_display_()


def test_a_moved_folder_is_opened_where_it_is(finished: Study, tmp_path: Path) -> None:
    finished.folder.path.rename(tmp_path / "moved")
    opened = session.open(tmp_path / "moved")
    assert opened.results()["study"] == str(tmp_path / "moved")
    assert opened.history == finished.trials


# What is wrong


@pytest.mark.parametrize("where", ["nowhere", "file", "empty"])
def test_where_there_is_no_study_it_says_so_and_makes_nothing(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyNotFoundError, match="there is no study in"):
        OpenedStudy(tmp_path / where)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file"]
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("~no-such-user/x", "'~no-such-user/x' is not a folder's path: "),
        ("stu\0dy", r"'stu\\x00dy' is not a folder's path: "),
        ("x" * 5000, "cannot be read: File name too long"),
    ],
)
def test_a_path_that_no_folder_can_have_is_one_line(path: str, told: str) -> None:
    with pytest.raises(StudyError, match=told) as caught:
        session.open(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", [session.open, session.report, lambda path: tune("quickstart", study=path)])
def test_what_is_no_path_of_a_study_is_an_error_that_says_what_is_expected(call: Callable[[Any], Any]) -> None:
    with pytest.raises(StudyError, match=r"^expected the path of a study.s folder, not 5$"):
        call(5)


def test_a_folder_that_may_not_be_read_is_one_line(finished: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    # Whoever is root may read every folder.
    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(StudyError, match="cannot be read: Permission denied") as caught:
        session.open(finished.folder.path)
    assert str(finished.folder.path) in str(caught.value)


@pytest.mark.parametrize("name", ["study.json", "task.json"])
@pytest.mark.parametrize("text", ["", '{"id": "abc', "[]", "{}", "\x00"])
def test_a_torn_file_of_the_study_is_one_line(finished: Study, name: str, text: str) -> None:
    (finished.folder.path / name).write_text(text)
    with pytest.raises(StudyError, match=name.replace(".", r"\.")) as caught:
        OpenedStudy(finished.folder.path)
    assert "\n" not in str(caught.value)
    result = CliRunner().invoke(cli, ["show", str(finished.folder.path)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def spoil(database: Path, left: float | str | None) -> str:
    """Leave so many bytes of a database, or such a part of it; how that is reported."""
    whole = database.read_bytes()
    database.unlink()
    if left is None:
        return "is missing"
    if isinstance(left, str):
        database.write_text(left)
        return "is not a SQLite database"
    size = int(len(whole) * left) if isinstance(left, float) else int(left)
    database.write_bytes(whole[:size])
    if not size:
        return "is empty"
    return (
        f"is truncated, {size} bytes are left" if size < 100 else f"is truncated, {size} of {len(whole)} bytes are left"
    )


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder, with its bytes and when it was written."""
    return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(folder.iterdir()) if f.is_file()}


@pytest.mark.parametrize("kept", ["stopped", "running", "damaged"])
@pytest.mark.parametrize("left", [None, 0, 50, 100, 0.5, "no database"])
def test_a_lost_database_is_said_and_none_is_made_for_it(finished: Study, kept: str, left: float | str | None) -> None:
    folder = finished.folder
    data = json.loads((folder.path / "results.json").read_text())
    words = spoil(folder.database, left)
    data["trials"][0]["state"] = "running" if kept == "running" else data["trials"][0]["state"]
    (folder.path / "results.json").write_text(json.dumps({**data, "state": kept}))
    before = contents(folder.path)
    gone = f"{folder.database} {words}; the trials of {folder.path} were in it"
    shown = CliRunner().invoke(cli, ["show", str(folder.path), "--json"])
    if kept == "damaged":
        assert (shown.exit_code, shown.stdout) == (2, "")
        assert shown.stderr.startswith(f"error: {gone}: restore it, or import what results.json has into a new study")
    else:
        # Its results tell all that it came to.
        told = json.loads(shown.stdout)
        assert [t["number"] for t in told["trials"]] == [t["number"] for t in data["trials"]]
        assert shown.stderr.startswith(
            f"note: {gone}. The trials shown are those in results.json; to resume, restore it, or import what"
        )
        opened = OpenedStudy(folder.path)
        assert f"note: {opened.lost}\n" == shown.stderr
        assert opened.lost in opened.lasting_bundle()["text/plain"]
        with pytest.raises(StudyError, match=f"study.db {words}"):
            opened.ban("threads", 1)
    if kept == "stopped":
        assert told["trials"] == data["trials"]
    if kept == "running":
        assert (told["state"], told["trials"][0]["state"]) == ("interrupted", "interrupted")
        assert (opened.state, opened.history[0].state) == ("interrupted", TrialState.INTERRUPTED)
    assert contents(folder.path) == before


def test_a_database_that_is_there_is_not_called_lost(finished: Study) -> None:
    assert OpenedStudy(finished.folder.path).lost == ""


def test_a_locked_database_is_read_from_the_results_until_it_is_unlocked(
    finished: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.study.reader.LOCKED_S", 0.01)
    folder = finished.folder
    before = contents(folder.path)
    with contextlib.closing(sqlite3.connect(folder.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opened = OpenedStudy(folder.path)
        assert opened.history == finished.trials
        assert opened.lost.startswith(f"the study's storage {folder.database} is locked by another program (")
        assert "The trials shown are those in results.json; end that program" in opened.lost
        (folder.path / "results.json").rename(folder.path / "away.json")
        with pytest.raises(StudyError, match="is locked by another program") as caught:
            OpenedStudy(folder.path)
        assert "\n" not in str(caught.value)
        (folder.path / "away.json").rename(folder.path / "results.json")
    opened.poll()
    assert (opened.lost, opened.history) == ("", finished.trials)
    assert contents(folder.path) == before


@pytest.mark.parametrize("kept", [False, True])
def test_a_lost_database_of_a_storage_is_said_and_none_is_made_for_it(task: Task, tmp_path: Path, kept: bool) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    study = open_study(task, tmp_path / "study", storage=url)
    told = study.tell(completed(asked(study), 10.0))
    if kept:
        study.folder.write_results(study.results(state="finished", elapsed_s=1.0))
    study.close()
    (tmp_path / "other.db").unlink()
    if kept:
        opened = OpenedStudy(tmp_path / "study")
        assert opened.history == (told,)
        assert opened.lost.startswith(f"{tmp_path / 'other.db'} is missing; ")
    else:
        with pytest.raises(StudyError, match=r"other\.db is missing; .*: restore it, or choose another folder$"):
            OpenedStudy(tmp_path / "study")
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("left", [None, 0.5])
def test_what_a_study_without_its_database_still_has_is_handed_on_and_gone_on_with(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float | None
) -> None:
    monkeypatch.chdir(tmp_path)
    before = tune(world.task(trials=2, budget={"baseline": True}), study=world.folder).wait()
    assert before.best is not None
    results = (world.folder / "results.json").read_bytes()
    words = spoil(world.folder / "study.db", left)
    database = (world.folder / "study.db").read_bytes() if left else None
    task = tmp_path / "task.json"
    task.write_text(world.task(trials=3, budget={"baseline": True}).model_dump_json())

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    note = f"note: {world.folder / 'study.db'} {words}; "
    shown = call("show", world.folder)
    assert (shown.exit_code, shown.stderr.startswith(note)) == (0, True)
    assert before.best.command in shown.stdout
    told = call("export", world.folder, "--as", "command")
    assert (told.stdout, told.stderr.startswith(note)) == (before.best.command + "\n", True)
    checked = call("check", task, "--study", world.folder)
    gone_on = call("run", task, "--study", world.folder)
    for refused, where in (checked, checked.stdout), (gone_on, gone_on.stderr):
        assert refused.exit_code == 2
        assert f"study.db {words}" in where
        # The very commands that it says.
        assert f"autotune-nb export {world.folder} --as csv -o levels.csv, then autotune-nb import levels.csv" in where
    assert call("export", world.folder, "--as", "csv", "-o", "levels.csv").exit_code == 0
    assert call("import", "levels.csv", "--study", "again", "--task", task).exit_code == 0
    assert call("run", task, "--study", "again").exit_code == 0
    again = OpenedStudy(tmp_path / "again")
    assert [t.params for t in again.history[:2]] == [t.params for t in before.history]
    assert [t.number for t in again.history] == [0, 1, 2]
    assert (world.folder / "results.json").read_bytes() == results
    assert ((world.folder / "study.db").read_bytes() if left else None) == database
    assert left or not (world.folder / "study.db").exists()


def foreign(folder: Path, kind: str) -> Path:
    """A file that no study of ours is in."""
    file = folder / "other.db"
    if kind == "text":
        file.write_text("notes, no database\n" * 100)
    elif kind == "empty":
        file.touch()
    elif kind != "missing":
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute(f"PRAGMA journal_mode={'wal' if kind == 'wal' else 'delete'}")
            table = "studies" if kind == "of other studies" else "books"
            database.execute(f"CREATE TABLE {table} (title TEXT)")
            database.execute(f"INSERT INTO {table} VALUES ('Moby Dick')")
            database.commit()
    return file


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "tables", "of other studies", "wal"])
def test_a_storage_that_is_named_by_mistake_is_reported_and_never_written_to(
    finished: Study, tmp_path: Path, kind: str
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    url = f"sqlite:///{foreign(place, kind)}"
    before, own = contents(place), contents(finished.folder.path)
    study = str(finished.folder.path)
    with pytest.raises(StudyNotFoundError, match=r"other\.db holds no study '.*'; it is stored in .*study\.db$"):
        session.open(study, storage=url)
    for command in (
        ("show", study),
        ("export", study, "--as", "csv"),
        ("report", study, "-o", str(tmp_path / "report.ipynb")),
    ):
        called = CliRunner().invoke(cli, [*command, "--storage", url])
        assert (called.exit_code, called.stdout) == (2, "")
        assert called.stderr.startswith(f"error: {url} holds no study")
        assert len(called.stderr.splitlines()) == 1
    assert not (tmp_path / "report.ipynb").exists()
    assert contents(place) == before
    assert contents(finished.folder.path) == own


@pytest.mark.parametrize("kind", ["tables", "of other studies"])
def test_a_foreign_database_in_the_place_of_the_studys_own_is_not_written_to(
    finished: Study, task: Task, tmp_path: Path, kind: str
) -> None:
    database = finished.folder.database
    database.unlink()
    foreign(tmp_path, kind).rename(database)
    before = contents(database.parent)[database.name]
    opened = OpenedStudy(database.parent)
    assert "study.db holds no study" in opened.lost
    assert len(opened.history) == len(finished.trials)
    with pytest.raises(StudyError, match=r"the trials of .* are not in .*study\.db"):
        open_study(task, database.parent)
    assert contents(database.parent)[database.name] == before


def test_a_database_in_the_middle_of_a_transaction_of_a_killed_process_is_put_right(finished: Study) -> None:
    database = finished.folder.database
    copy = database.with_name("copy.db")
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size=1")
        writer.execute("BEGIN")
        writer.execute("UPDATE trial_user_attributes SET value_json = value_json || zeroblob(20000)")
        copy.write_bytes(database.read_bytes())
        journal = Path(f"{database}-journal").read_bytes()
        writer.execute("ROLLBACK")
    assert journal[:8].strip(b"\0")
    copy.rename(database)
    Path(f"{database}-journal").write_bytes(journal)
    assert OpenedStudy(finished.folder.path).history == finished.trials
    assert not Path(f"{database}-journal").exists()


def _without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda data: {k: v for k, v in data.items() if k != name}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: None,
        lambda data: [],
        lambda data: {},
        lambda data: {"state": "finished"},
        lambda data: {**data, "state": "sleeping"},
        lambda data: {**data, "state": ["finished"]},
        lambda data: {**data, "trials": {"0": 1}},
        lambda data: {**data, "trials": [{"number": 0}]},
        lambda data: {**data, "trials": None},
        lambda data: {**data, "edits": [{"kind": "dance"}]},
        lambda data: {**data, "elapsed_s": "long"},
        *(_without(name) for name in ("fingerprints", "edits", "trials", "elapsed_s", "best", "state")),
    ],
)
def test_a_study_with_damaged_results_is_what_its_database_says(
    finished: Study, damage: Callable[[dict[str, Any]], Any]
) -> None:
    data = json.loads((finished.folder.path / "results.json").read_text())
    (finished.folder.path / "results.json").write_text(json.dumps(damage(data)))
    opened = OpenedStudy(finished.folder.path)
    assert opened.history == finished.trials
    assert opened.edits == finished.steering.edits
    assert opened.best is not None
    assert opened.best.number == 1
    assert opened.state is RunState.STOPPED
    assert len(opened.results()["trials"]) == 6


@pytest.mark.parametrize("text", ["", '{"state": "finished", "trials": [', "\x00", "nothing"])
def test_torn_results_change_nothing(finished: Study, text: str) -> None:
    (finished.folder.path / "results.json").write_text(text)
    opened = OpenedStudy(finished.folder.path)
    assert opened.history == finished.trials
    assert opened.state is RunState.STOPPED


@pytest.mark.parametrize(
    "live",
    [
        '{"state": "run',
        "[]",
        "{}",
        '{"state": "dancing", "running": [], "notices": []}',
        '{"state": "running", "running": [{"number": 1}], "notices": []}',
        '{"state": "running", "running": [], "notices": [3]}',
    ],
)
def test_what_another_process_tells_in_a_torn_way_is_left_out(finished: Study, live: str) -> None:
    finished.folder.acquire()
    try:
        (finished.folder.path / "live.json").write_text(live)
        opened = OpenedStudy(finished.folder.path)
        assert opened.state is RunState.RUNNING
        assert opened.running == ()
        assert len(opened.history) == 6
        opened.poll()
    finally:
        finished.folder.release()
    opened.poll()
    assert opened.state is RunState.STOPPED


def test_a_folder_that_goes_away_leaves_what_was_seen(finished: Study, tmp_path: Path) -> None:
    opened = OpenedStudy(finished.folder.path)
    finished.folder.path.rename(tmp_path / "gone")
    opened.poll()
    assert opened.history == finished.trials


# Steering


def test_what_is_wrong_is_refused_in_one_line_and_nothing_changes(finished: Study) -> None:
    opened = OpenedStudy(finished.folder.path)
    before = opened.edits
    with pytest.raises(UnknownNameError, match="did you mean 'threads'"):
        opened.ban("thread", 1)
    with pytest.raises(TaskError, match=r"^batch_size: 1000 is not in the space: it is from 32 to 512"):
        opened.pin("batch_size", 1000)
    with pytest.raises(TaskError, match=r"^point\.ratio: excluded by the study's edits: ratio pinned to 0\.5; free"):
        opened.enqueue({"threads": 1, "batch_size": 64, "ratio": 0.1})
    with pytest.raises(TaskError, match=r"^budget\.trials"):
        opened.set_budget(trials=0)
    with pytest.raises(TaskError, match=r"^budget: give trials, minutes, gpu_hours"):
        opened.set_budget()
    assert opened.edits == before == OpenedStudy(finished.folder.path).edits


def test_an_edit_is_held_against_what_others_have_made_of_it_meanwhile(finished: Study) -> None:
    one, other = OpenedStudy(finished.folder.path), OpenedStudy(finished.folder.path)
    other.ban("batch_size", 40)
    one.ban("threads", 1, 2, None)
    with pytest.raises(TaskError, match="leaves no value"):
        other.ban("threads", {"k": 1})
    assert len(OpenedStudy(finished.folder.path).edits) == 5


def test_two_handles_that_write_edits_at_once_lose_none(finished: Study) -> None:
    handles = [OpenedStudy(finished.folder.path) for _ in range(3)]
    made: list[str] = []
    failures: list[BaseException] = []
    together = threading.Barrier(3)

    def work(handle: OpenedStudy, value: int) -> None:
        try:
            together.wait(10)
            for number in range(8):
                edit = handle.ban("batch_size", 100 * value + number)
                made.append(edit.id)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(handle, n + 1)) for n, handle in enumerate(handles)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    kept = OpenedStudy(finished.folder.path)
    assert {edit.id for edit in kept.edits} >= set(made)
    assert len(set(made)) == 24
    banned = kept.steering.restrictions["batch_size"].banned
    assert len(banned) == 24
    for handle in handles:
        handle.poll()
        assert handle.edits == kept.edits


# In another process

DRIVER = """
import json, sys
from pathlib import Path
import autotune_nb as at
task = at.Task.parse(json.loads(Path(sys.argv[1]).read_text()))
run = at.tune(task, study=sys.argv[2])
print("started", flush=True)
for line in sys.stdin:
    exec(line)
run.wait(60)
"""


@pytest.fixture
def world(tmp_path: Path, task_data: dict[str, Any]) -> Iterator[World]:
    world = World(tmp_path, task_data)
    yield world
    until(world.all_ended)


class Elsewhere:
    """A process that works on a study and does what it is told."""

    def __init__(self, world: World, task: Task) -> None:
        file = world.folder.parent / "task.json"
        file.write_text(json.dumps(task.model_dump(mode="json")))
        argv = [sys.executable, "-c", DRIVER, str(file), str(world.folder)]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=package_env()
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "started\n"

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Let it run to its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(WAIT_S) == 0

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self.process.wait()


def polled(opened: OpenedStudy, condition: Callable[[], Any]) -> Any:
    """Poll until the condition holds."""

    def so() -> Any:
        opened.poll()
        return condition()

    return until(so)


def gated(world: World) -> tuple[str, Path]:
    gate = world.folder.parent / "gate"
    return f'{world.first_level}; while [ ! -e "{gate}" ]; do sleep 0.02; done', gate


def test_a_study_of_another_process_is_followed_paused_steered_and_finished(world: World) -> None:
    line, gate = gated(world)
    task = world.task("print:loading_weights", trials=2, before=line, parameters={"threads": [1, 2, 3, 4]})
    with Elsewhere(world, task) as elsewhere:
        opened = session.open(world.folder)
        assert isinstance(opened, OpenedStudy)
        [running] = polled(opened, lambda: [r for r in opened.running if r.trial.measurements])
        assert opened.state is RunState.RUNNING
        assert str(elsewhere.process.pid) in (opened.elsewhere or "")
        assert running.doing == "benchmarking level 2 of 2"
        assert [m.level.concurrency for m in running.trial.measurements] == [1]
        assert running.log is not None
        assert "loading weights" in running.log.read_text()
        assert 0 <= time.time() - running.phase_since <= time.time() - running.since < 60
        assert [t.state for t in opened.history] == [TrialState.RUNNING]
        assert any("starting the benchmark" in text for _, text in opened.notices)
        assert opened.results()["trials"][0]["state"] == "running"
        shown = CliRunner().invoke(cli, ["show", str(world.folder), "--json"])
        assert json.loads(shown.stdout)["state"] == "running"
        assert shown.exit_code == 1

        elsewhere.tell("run.pause()")
        polled(opened, lambda: opened.state is RunState.PAUSED)
        elsewhere.tell("run.resume()")
        polled(opened, lambda: opened.state is RunState.RUNNING)

        # Its edits are seen here, those made here count there.
        elsewhere.tell("run.ban('threads', 1)")
        polled(opened, lambda: [e.text for e in opened.edits] == ["ban threads = 1"])
        opened.enqueue({"threads": 4})
        opened.enqueue({"threads": 3})
        opened.set_budget(trials=3)
        assert len(opened.queue) == 2
        gate.touch()
        elsewhere.end()
        polled(opened, lambda: opened.state is RunState.FINISHED)
        assert [t.params["threads"] for t in opened.history[1:]] == [4, 3]
        assert [t.state for t in opened.history] == [TrialState.COMPLETE] * 3
        assert (opened.running, opened.queue, opened.elsewhere) == ((), [], None)
        assert opened.num_trials == 3
        again = OpenedStudy(world.folder)
        assert again.history == opened.history
        assert [e.text for e in again.edits] == [e.text for e in opened.edits]
        assert not (world.folder / "live.json").exists()


def test_a_trial_of_another_process_is_stopped_paused_and_stopped_from_here(world: World) -> None:
    task = world.task(trials=5, before=f"{world.first_level}; sleep 600", parameters={"threads": [1, 2, 3, 4]})
    with Elsewhere(world, task) as elsewhere:
        opened = OpenedStudy(world.folder)
        polled(opened, lambda: [r for r in opened.running if r.trial.measurements])
        with pytest.raises(TaskError, match="trial 7 is not running; running: 0"):
            opened.stop_trial(7)
        opened.pause()
        polled(opened, lambda: opened.state is RunState.PAUSED)
        opened.stop_trial(0)
        polled(opened, lambda: opened.history[0].state is TrialState.FAILED)
        assert "it was stopped" in str(opened.history[0].failure)
        told = f"process {os.getpid()} on "
        polled(opened, lambda: any(told in text and "stop trial 0" in text for _, text in opened.notices))
        # The run continues with the next one.
        opened.resume()
        polled(opened, lambda: [r for r in opened.running if r.trial.number == 1])
        opened.stop(now=True)
        elsewhere.end()
        polled(opened, lambda: opened.state is RunState.STOPPED)
    with pytest.raises(StudyError, match=r"no process works on it; start\(\) resumes it"):
        opened.stop_trial(1)


def test_a_command_for_a_process_that_has_ended_is_not_obeyed_by_the_next(finished: Study) -> None:
    folder = finished.folder
    for command in (RunCommand("pause", "me"), RunCommand("stop_trial", "me", trial=3)):
        give_command(folder.path, command)
    (folder.path / "commands" / "torn.json").write_text('{"kind": ')
    assert [(one.text, one.by) for one in take_commands(folder.path)] == [("pause", "me"), ("stop trial 3", "me")]
    give_command(folder.path, RunCommand("stop", "me"))
    folder.acquire()
    assert take_commands(folder.path) == []
    folder.release()


def test_one_that_is_stopped_is_seen_as_stopped(world: World) -> None:
    task = world.task(trials=5, before=f"{world.first_level}; sleep 600")
    with Elsewhere(world, task) as elsewhere:
        opened = OpenedStudy(world.folder)
        polled(opened, lambda: [r for r in opened.running if r.trial.measurements])
        elsewhere.tell("run.stop()")
        elsewhere.end()
        polled(opened, lambda: opened.state is RunState.STOPPED)
        assert [t.state for t in opened.history] == [TrialState.STOPPED]
        assert len(opened.history[0].measurements) == 1


def test_one_that_is_killed_is_interrupted_and_its_edits_count_for_the_next(world: World) -> None:
    line, gate = gated(world)
    task = world.task(trials=3, before=line, parameters={"threads": [1, 2, 3]})
    with Elsewhere(world, task) as elsewhere:
        opened = OpenedStudy(world.folder)
        polled(opened, lambda: [r for r in opened.running if r.trial.measurements])
        elsewhere.process.send_signal(signal.SIGKILL)
        elsewhere.process.wait()
    until(lambda: not world.stub.alive)
    polled(opened, lambda: opened.state == "interrupted")
    assert (opened.running, opened.elsewhere) == ((), None)
    [left] = opened.history
    assert left.state is TrialState.INTERRUPTED
    assert OpenedStudy(world.folder).state == "interrupted"
    assert "interrupted" in CliRunner().invoke(cli, ["show", str(world.folder)]).stdout
    # Nobody works on it: the edits wait for the next run.
    rest = [value for value in (1, 2, 3) if value != left.params["threads"]]
    opened.ban("threads", left.params["threads"])
    opened.enqueue({"threads": rest[1]})
    gate.touch()
    run = tune(task, study=world.folder).wait(WAIT_S)
    assert [t.params["threads"] for t in run.history[1:]] == [rest[1], rest[0]]
    assert run.history[0].state is TrialState.INTERRUPTED
    assert run.queue == []


def test_the_command_line_honours_the_edits_of_the_study(world: World) -> None:
    task = world.task(trials=1, parameters={"threads": [1, 2, 3, 4]})
    tune(task, study=world.folder).wait(WAIT_S)
    opened = session.open(world.folder)
    assert isinstance(opened, OpenedStudy)
    first = opened.history[0].params["threads"]
    rest = [value for value in (1, 2, 3, 4) if value != first]
    opened.ban("threads", rest[0])
    opened.enqueue({"threads": rest[2]})
    opened.set_budget(trials=None)
    file = world.folder.parent / "task.json"
    file.write_text(json.dumps(task.model_dump(mode="json")))
    done = CliRunner().invoke(cli, ["run", str(file), "--study", str(world.folder), "--json"])
    assert done.exit_code == 0, done.stderr
    results = json.loads(done.stdout)
    assert [trial["params"]["threads"] for trial in results["trials"]] == [first, rest[2], rest[1]]
    assert [edit["kind"] for edit in results["edits"]] == ["ban", "enqueue", "budget"]
    assert "every configuration was tried" in done.stderr
    opened.poll()
    assert opened.results()["trials"] == results["trials"]
    shown = CliRunner().invoke(cli, ["show", str(world.folder), "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["trials"] == results["trials"]
    assert "3 trials" in CliRunner().invoke(cli, ["show", str(world.folder)]).stdout


def test_a_run_of_this_process_is_what_is_opened(world: World) -> None:
    run = tune(world.task(trials=1, before="sleep 0.3"), study=world.folder)
    assert session.open(world.folder) is run
    assert session.open(str(world.folder / ".." / world.folder.name)) is run
    run.wait(WAIT_S)
    after = session.open(world.folder)
    assert isinstance(after, OpenedStudy)
    assert after.history == run.history
    assert after.results()["trials"] == run.results()["trials"]
    assert after.best == run.best
    # The database has everything.
    assert after.results() == json.loads((world.folder / "results.json").read_text())
    (world.folder / "results.json").unlink()
    assert session.open(world.folder).results() == after.results()


def test_a_study_is_gone_on_with_and_stopped_by_the_handle_that_opened_it(world: World) -> None:
    tune(world.task(trials=1), study=world.folder).wait(60)
    opened = session.open(world.folder)
    assert isinstance(opened, OpenedStudy)
    with pytest.raises(StudyError, match=r"no process works on it; start\(\) resumes it"):
        opened.stop()
    opened.set_budget(trials=2)
    opened.start().wait(60)
    opened.poll()
    assert [trial.state for trial in opened.history] == [TrialState.COMPLETE] * 2
    opened.set_budget(trials=50)
    run = opened.start()
    opened.pause()
    opened.resume()
    opened.stop(wait_s=30)
    assert run.ended
    assert world.all_ended()
