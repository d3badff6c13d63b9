"""A study's folder: whose it is, what it keeps, and what nothing may tear."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from autotune_nb.errors import StudyBusyError, StudyError, StudyMismatchError, StudyNotFoundError
from autotune_nb.study import Study, StudyFolder
from autotune_nb.study.steering import ban_edit
from autotune_nb.task.task import Task
from tests.stubs import contents_below, open_study, package_env

OWNER = """
import sys, time
from autotune_nb.study import StudyFolder
folder = StudyFolder(sys.argv[1])
folder.create()
folder.acquire()
print("mine", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    return folder


@pytest.fixture
def owner(folder: StudyFolder) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that works on the folder."""
    command = [sys.executable, "-c", OWNER, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=package_env()) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"mine\n"
            yield process
        finally:
            process.kill()


# Whose it is


def test_the_second_process_is_told_who_works_on_it(folder: StudyFolder, owner: subprocess.Popen[bytes]) -> None:
    assert folder.busy
    with pytest.raises(StudyBusyError, match=rf"pid {owner.pid} on .+ since 20") as caught:
        folder.acquire()
    assert "autotune-nb show" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_owner_that_is_killed_frees_it(
    folder: StudyFolder, owner: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    owner.send_signal(number)
    owner.wait(10)
    assert not folder.busy
    folder.acquire()
    try:
        assert json.loads((folder.path / "run.json").read_text())["pid"] == os.getpid()
        assert folder.busy
        assert StudyFolder(folder.path).busy
    finally:
        folder.release()
    assert not folder.busy
    assert not (folder.path / "run.json").exists()


def test_two_handles_of_one_process_exclude_each_other(folder: StudyFolder) -> None:
    folder.acquire()
    with pytest.raises(StudyBusyError, match=f"pid {os.getpid()}"):
        StudyFolder(folder.path).acquire()
    folder.release()
    other = StudyFolder(folder.path)
    other.acquire()
    other.release()


def test_somebody_who_only_looks_does_not_keep_the_owner_out(folder: StudyFolder) -> None:
    looking = StudyFolder(folder.path)
    looking._lock.acquire()
    threading.Timer(0.1, looking._lock.release).start()
    folder.acquire()
    folder.release()


def test_asking_whether_a_folder_that_is_not_there_is_busy_makes_nothing(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "missing")
    assert not folder.busy
    assert not folder.exists
    assert not folder.path.exists()


def test_a_torn_note_of_the_owner_does_not_hide_that_it_is_busy(folder: StudyFolder) -> None:
    folder.acquire()
    (folder.path / "run.json").write_text('{"pid": 1')
    with pytest.raises(StudyBusyError):
        StudyFolder(folder.path).acquire()
    folder.release()


# Which task it holds


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("parameters", {"parameters": {"threads": [1, 2]}}),
        ("workload.concurrency", {"workload": {"scenarios": ["D(16,8)"], "concurrency": [1, 4]}}),
        ("objective.figure", {"objective": "maximize requests_per_s"}),
        ("model.id_or_path", {"model": "other.gguf"}),
        ("engine.args", {"engine": {"kind": "command", "command": "server {port}", "args": {"x": 5}}}),
        ("limits", {"limits": ["ttft_p99_s <= 1"]}),
    ],
)
def test_another_task_in_the_folder_names_the_field_and_changes_nothing(
    make_task: Any, folder: StudyFolder, field: str, change: dict[str, Any]
) -> None:
    open_study(make_task(), folder).ask()
    before = (folder.path / "task.json").read_bytes()
    with pytest.raises(StudyMismatchError, match=f"^{field}") as caught:
        open_study(make_task(**change), folder)
    assert "\n" not in str(caught.value)
    assert (folder.path / "task.json").read_bytes() == before


def test_a_study_that_never_began_a_trial_takes_another_task(make_task: Any, folder: StudyFolder) -> None:
    open_study(make_task(model="wrong.gguf"), folder)
    other = make_task(model="right.gguf", objective="minimize ttft", parameters={"x": [1, 2]})
    study = open_study(other, folder)
    trial = study.ask()
    assert trial is not None
    assert folder.task() == other
    assert open_study(other, folder).trials[0].number == trial.number


def test_what_changes_no_figure_may_change(make_task: Any, folder: StudyFolder) -> None:
    first = open_study(make_task(), folder)
    trial = first.ask()
    changed = make_task(
        name="renamed",
        description="more of it",
        budget={"trials": 99, "minutes": 5},
        deadlines={"ready_s": 7},
        strategy="random",
    )
    again = open_study(changed, folder)
    assert again.id == first.id
    assert trial is not None
    assert [t.number for t in again.trials] == [trial.number]
    assert folder.task() == changed


# Writing


def test_a_folder_whose_name_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    name = os.fsdecode(b"runs-\xe4")
    with pytest.raises(StudyError, match=r"runs-.*udce4' is not a folder's path: it is not valid UTF-8"):
        StudyFolder(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="cannot be written") as caught:
        StudyFolder(tmp_path / "file" / "study").create()
    assert "\n" not in str(caught.value)


def test_a_read_only_folder_is_one_line(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    # Root may write anywhere, so the file system's answer is put in its place.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(StudyError, match="Read-only file system") as caught:
        folder.create()
    assert "--study" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("when", ["opening", "writing", "replacing"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file_whole(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    folder.write("results.json", {"old": True})
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*_: Any, **__: Any) -> Any:
        raise full

    with monkeypatch.context() as patch:
        if when == "opening":
            patch.setattr(tempfile, "mkstemp", refuse)
        elif when == "writing":
            patch.setattr(os, "fdopen", refuse)
        else:
            patch.setattr(Path, "replace", refuse)
        with pytest.raises(StudyError, match=r"results\.json cannot be written: No space left") as caught:
            folder.write("results.json", {"new": True})
    assert "\n" not in str(caught.value)
    assert folder.read("results.json") == {"old": True}
    assert [file.name for file in folder.path.iterdir()] == ["results.json"]


def test_readers_never_see_half_a_file(folder: StudyFolder) -> None:
    folder.write("results.json", {"n": 0, "text": "x" * 20_000})
    seen: list[dict[str, Any] | None] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(folder.read("results.json"))

    reader = threading.Thread(target=read)
    reader.start()
    deadline = time.monotonic() + 0.5
    number = 0
    while time.monotonic() < deadline:
        number += 1
        folder.write("results.json", {"n": number, "text": "x" * 20_000})
    stop.set()
    reader.join()
    assert seen
    assert all(one is not None and len(one["text"]) == 20_000 for one in seen)


# Reading


@pytest.mark.parametrize("text", ["", '{"id": "abc"', "[]", "{}", '{"id": 3, "storage": null}', "\x00\x00"])
def test_a_damaged_study_json_is_one_line_and_is_left_as_it_is(make_task: Any, folder: StudyFolder, text: str) -> None:
    about = folder.path / "study.json"
    about.write_text(text)
    with pytest.raises(StudyError, match=r"study\.json") as caught:
        open_study(make_task(), folder)
    assert "\n" not in str(caught.value)
    assert about.read_text() == text


def test_a_damaged_task_is_one_line(make_task: Any, folder: StudyFolder) -> None:
    with pytest.raises(StudyNotFoundError):
        folder.task()
    (folder.path / "task.json").write_text('{"name": "x"}')
    with pytest.raises(StudyError, match=r"task\.json") as caught:
        folder.task()
    assert "\n" not in str(caught.value)


# Secrets


def test_the_password_of_a_storage_is_in_no_file_and_asked_for_again(
    make_task: Any, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{folder.path / 'study.db'}"
    real = optuna.storages.get_storage
    monkeypatch.setattr(
        "autotune_nb.study._storage.optuna.storages.get_storage",
        lambda _asked: real(url),
    )
    monkeypatch.setattr("autotune_nb.study._loading.holds_study", lambda *_: True)
    monkeypatch.setattr("autotune_nb.study._storage._require_own_migrations", lambda *_: None)
    task = make_task()
    for secret in ("s3cr3t-hidden", "s3/cr3t-hidden"):
        study = open_study(task, folder, storage=f"mysql://me:{secret}@host/db")
        study.ask()
        folder.write_results(study.results(state="running", elapsed_s=1))
        assert b"me:***@host" in (folder.path / "study.json").read_bytes()
        assert not [file for file, data in contents_below(folder.path).items() if b"hidden" in data]
        with pytest.raises(StudyError, match="pass --storage again") as caught:
            open_study(task, folder)
        assert "hidden" not in str(caught.value)


# Artifacts


def test_every_try_of_a_trial_has_a_folder_of_its_own(folder: StudyFolder) -> None:
    first = folder.artifacts(3, 1)
    assert first == folder.path / "artifacts" / "trial-0003"
    assert folder.artifacts(3, 2) == first / "attempt-2"
    # Tried again within one attempt, or left by a study whose database is gone.
    again = folder.artifacts(3, 1)
    assert again == first / "attempt-3"
    assert list(again.iterdir()) == []
    assert folder.artifacts(12, 2).parent.name == "trial-0012"


@pytest.mark.parametrize("name", ["why?a", "50%41", "{port}", "a b#c", "ünïcode'"])
def test_a_folders_database_lies_in_it_whatever_its_name(make_task: Any, tmp_path: Path, name: str) -> None:
    folder = StudyFolder(tmp_path / name)
    folder.create()
    study = open_study(make_task(), folder)
    trial = study.ask()
    assert trial is not None
    assert (tmp_path / name / "study.db").is_file()
    moved = tmp_path / "moved"
    folder.path.rename(moved)
    assert open_study(make_task(), StudyFolder(moved)).trials[0].number == trial.number


def test_a_study_that_is_gone_from_its_storage_is_not_begun_anew(make_task: Any, folder: StudyFolder) -> None:
    open_study(make_task(), folder).ask()
    (folder.path / "study.db").unlink()
    with pytest.raises(StudyError, match=r"study\.db is missing"):
        open_study(make_task(), folder)
    # Another task begins none in its place either.
    with pytest.raises(StudyError, match=r"study\.db is missing"):
        open_study(make_task(model="other"), folder)
    assert not folder.database.exists()
    folder.database.touch()
    with pytest.raises(StudyError, match=r"study\.db is empty"):
        open_study(make_task(), folder)
    assert folder.database.stat().st_size == 0


def test_a_relative_database_means_the_same_file_from_everywhere(
    make_task: Any, folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder.acquire()
    task = make_task()
    trial = Study.open(task, task.space, folder, storage="sqlite:///rel.db").ask()
    assert trial is not None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(Study.open(task, task.space, folder).trials) == 1
    assert not (elsewhere / "rel.db").exists()
    folder.release()


def test_a_copied_folder_marks_its_own_processes(folder: StudyFolder, tmp_path: Path) -> None:
    assert folder.label("x") != StudyFolder(tmp_path / "copy").label("x")
    assert folder.label("x") == StudyFolder(folder.path / ".." / folder.path.name).label("x")


# What others see of it


def test_those_who_only_look_never_take_each_other_for_an_owner(folder: StudyFolder) -> None:
    folder.acquire()
    folder.release()
    seen: list[bool] = []

    def look() -> None:
        own = StudyFolder(folder.path)
        seen.extend(own.busy for _ in range(300))

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert len(seen) == 900
    assert not any(seen)


def test_what_runs_is_told_and_forgotten_and_a_torn_note_is_none(folder: StudyFolder) -> None:
    assert folder.read_live() is None
    folder.write_live({"state": "running", "running": [], "notices": [[1.0, "ünïcode"]]})
    assert folder.read_live() == {"state": "running", "running": [], "notices": [[1.0, "ünïcode"]]}
    for torn in ('{"state": "run', "", "[]", "\x00"):
        (folder.path / "live.json").write_text(torn)
        assert folder.read_live() is None
    folder.delete_live()
    folder.delete_live()
    assert folder.read_live() is None
    assert not (folder.path / "live.json").exists()


def test_what_a_killed_process_told_is_forgotten_by_the_next_one(folder: StudyFolder) -> None:
    folder.write_live({"state": "running", "running": [{"number": 3}], "notices": []})
    folder.acquire()
    assert folder.read_live() is None
    folder.release()


def test_every_write_of_the_study_changes_its_stamp(make_task: Any, folder: StudyFolder) -> None:
    study = open_study(make_task(), folder)
    stamps = [folder.stamp]
    for number in range(5):
        # As fast as it goes: many within one step of the file system's clock.
        folder.write_results(study.results(state="running", elapsed_s=number))
        stamps.append(folder.stamp)
    folder.delete_task()
    stamps.append(folder.stamp)
    assert all(one != other for one, other in itertools.pairwise(stamps))
    assert folder.stamp == stamps[-1]


@pytest.mark.parametrize(
    "request_params",
    [
        {"trials": []},
        {"x": '"trials": []', "y": [{"trials": []}]},
        {'"trials": [\n': "\u2028\\"},
        {"messages": 'a "quoted"\ttab, \x1b[31m and "trials": [\n{"number": 0}\n]'},
    ],
)
@pytest.mark.parametrize("asked", [0, 3])
def test_the_results_are_whole_json_whatever_the_task_says(
    make_task: Any, folder: StudyFolder, request_params: dict[str, Any], asked: int
) -> None:
    workload = {"scenarios": ["D(16,8)"], "concurrency": [1], "request_params": request_params}
    task = make_task(workload=workload, description='"trials": []', budget={"baseline": False})
    study = open_study(task, folder)
    for _ in range(asked):
        study.ask()
    study.steer(ban_edit("threads", 1))
    results = study.results(state="running", elapsed_s=1.5, command=lambda _best: 'say "trials": [')
    folder.write_results(results)
    assert folder.read("results.json") == results
    text = (folder.path / "results.json").read_text(encoding="utf-8")
    # A line a trial, so that thousands of them are written quickly and can be compared.
    assert sum(line.startswith('{"number": ') for line in text.split("\n")) == asked
    assert Task.parse(results["task"]) == task


def test_a_full_disk_leaves_the_old_results(
    make_task: Any, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = open_study(make_task(), folder).results(state="running", elapsed_s=1)
    folder.write_results(results)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(StudyError, match="No space left"):
        patch.setattr(Path, "replace", full)
        folder.write_results({**results, "state": "finished"})
    assert folder.read("results.json") == results
    assert not [file for file in folder.path.iterdir() if file.name.startswith(".results")]


def test_a_task_kept_before_the_fields_of_a_cluster_came_is_the_same_task(
    tmp_path: Path, make_task: Callable[..., Any]
) -> None:
    task = make_task()
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    old = task.model_dump(mode="json")
    for section, names in (("deploy", ("kubeconfig", "resources", "templates")), ("benchmark", ("executor", "pod"))):
        for name in names:
            del old[section][name]
    folder.write("task.json", old)
    folder.require_same_task(task)


@pytest.mark.parametrize(
    ("kind", "change", "differs"),
    [
        ("ome", {"kubeconfig": "/else", "context": "c", "templates": None, "parallel": 4, "gpus": 8}, None),
        ("ome", {"namespace": "other"}, "deploy.namespace"),
        ("local", {"context": "c"}, None),
        ("local", {"parallel": 4}, "deploy.parallel"),
    ],
)
def test_where_a_study_goes_on_may_change_and_what_it_measures_may_not(
    tmp_path: Path, make_task: Callable[..., Any], kind: str, change: dict[str, Any], differs: str | None
) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    folder.write_task(make_task(deploy={"kind": kind}))
    changed = make_task(deploy={"kind": kind, **change})
    if differs is None:
        folder.require_same_task(changed)
    else:
        with pytest.raises(StudyMismatchError, match=differs):
            folder.require_same_task(changed)


# Files of others


@pytest.mark.parametrize("name", ["task.json", "results.json", "study.db", "run.json", "live.json"])
def test_a_file_of_no_study_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    before = contents_below(tmp_path)
    with pytest.raises(StudyError, match=rf"{name} would be overwritten, .* choose another folder"):
        StudyFolder(tmp_path).create()
    assert contents_below(tmp_path) == before


def test_a_study_that_lost_its_metadata_is_named(make_task: Any, folder: StudyFolder) -> None:
    study = open_study(make_task(), folder)
    folder.write_results(study.results(state="finished", elapsed_s=1))
    study.close()
    folder.create()
    (folder.path / "study.json").unlink()
    with pytest.raises(StudyError, match=r"has a study's results\.json, but not its study\.json.*restore study\.json"):
        folder.create()


def test_the_owner_file_of_a_run_that_was_killed_early_is_no_obstacle(folder: StudyFolder) -> None:
    folder.acquire()
    owner = (folder.path / "run.json").read_text()
    folder.release()
    (folder.path / "run.json").write_text(owner)
    folder.create()


def test_a_task_file_of_the_user_is_not_deleted_with_an_empty_study(make_task: Any, folder: StudyFolder) -> None:
    folder.ensure_metadata(None)
    own = folder.path / "task.json"
    own.write_text('{"model": "m", "engine": "llama_cpp", "parameters": {"threads": [1, 2]}}')
    before = own.read_bytes()
    with pytest.raises(StudyError, match=r"task\.json was not written by a study"):
        open_study(make_task(), folder)
    assert own.read_bytes() == before
