"""Artifacts that a run copies to a folder or a bucket; fsspec's storage in memory replaces the bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import autotune_nb as at
from autotune_nb import events
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.study import StudyFolder
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.watching import artifact_copies
from autotune_nb.watching.artifact_copies import ArtifactCopies
from tests.stubs import World, contents_below, in_loop

SECRET = "bucket-4711-canary-value"


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    storage = fsspec.filesystem("memory")
    yield storage
    storage.store.clear()


def test_each_trial_is_copied_and_what_failed_is_copied_at_the_end(
    world: World, bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKET_TOKEN", SECRET)
    put, refusals = MemoryFileSystem.put_file, [f"403 for {SECRET}"]

    def refused_once(self: MemoryFileSystem, *arguments: Any, **options: Any) -> None:
        if refusals:
            raise PermissionError(refusals.pop())
        put(self, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", refused_once)
    task = Task.parse({**world.task(trials=2).model_dump(), "artifacts": "memory://team-${BUCKET_TOKEN}/tuning"})
    run = at.tune(task, study=world.folder)
    assert run.wait(60).state == "finished"
    folder = StudyFolder(run.folder)
    metadata = folder.metadata()
    assert metadata is not None
    place = f"/team-{SECRET}/tuning/{metadata['optuna_name']}/{folder.worker_name}/"
    copied = {name.removeprefix(place): bucket.cat_file(name) for name in bucket.find(f"/team-{SECRET}")}
    assert copied == {
        file.relative_to(run.folder / "artifacts").as_posix(): file.read_bytes()
        for file in (run.folder / "artifacts").rglob("*")
        if file.is_file()
    }
    assert {name.partition("/")[0] for name in copied} == {"trial-0000", "trial-0001"}
    (notice,) = (text for _, text in run.notices if "artifacts" in text)
    assert notice.startswith("the artifacts of trial 0 were not copied to memory://team-${BUCKET_TOKEN}/tuning: Perm")
    assert notice.endswith("; this is repeated at the end")
    assert SECRET not in notice
    assert not [file for file, text in contents_below(run.folder).items() if SECRET.encode() in text]


def copied(study: Any, *numbers: int) -> list[str]:
    """Copy the artifacts of trials as their ends are reported, and return the notices."""
    notices: list[str] = []
    copies = ArtifactCopies(study, notices.append)
    copies(events.StateChanged("running"))
    for number in numbers:
        copies(events.TrialEnded(Trial(number, {}, TrialState.COMPLETE), is_best=False))
    in_loop(copies.close(None))
    return notices


class Study:
    """What is read of a study: its folder, with an artifact of trial 3, and its task."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.path, self.task = folder, task
        self.history: tuple[Trial, ...] = ()
        file = folder / "artifacts" / "trial-0003" / "attempt-2" / "engine.log"
        file.parent.mkdir(parents=True)
        file.write_text("ready\n")
        file.with_name("link").symlink_to(file)


def test_a_folder_has_the_copies_by_study_and_worker(make_task: Any, tmp_path: Path) -> None:
    target = tmp_path / "copies"
    study = Study(tmp_path / "chat" / "workers" / "2", make_task(artifacts=str(target)))
    assert copied(study, 3) == []
    worker = StudyFolder(study.path).worker_name
    assert contents_below(target) == {target / "2" / worker / "trial-0003" / "attempt-2" / "engine.log": b"ready\n"}


def test_what_a_previous_run_did_not_copy_is_copied_by_the_next_one(make_task: Any, tmp_path: Path) -> None:
    target = tmp_path / "copies"
    study = Study(tmp_path / "chat", make_task(artifacts=str(target)))
    copy = target / "chat" / StudyFolder(study.path).worker_name / "trial-0003" / "attempt-2" / "engine.log"
    file = study.path / "artifacts" / "trial-0003" / "attempt-2" / "engine.log"
    study.history = (Trial(3, {}, TrialState.COMPLETE), Trial(4, {}, TrialState.INTERRUPTED))
    file.parents[1].with_name("trial-0004").mkdir()
    assert copied(study) == []
    assert contents_below(target) == {copy: b"ready\n"}
    copy.write_text("read")
    assert copied(study) == []
    assert copy.read_text() == "ready\n"
    # One that is whole is not copied again.
    copy.write_text("READY\n")
    assert copied(study) == []
    assert copy.read_text() == "READY\n"


def test_a_place_that_never_works_is_reported_at_the_end_too(make_task: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    study = Study(tmp_path / "chat", make_task(artifacts=str(tmp_path / "file" / "below")))
    first, last = copied(study, 3, 3)
    assert "were not copied to" in first
    assert last.endswith(f"what is missing there is in {study.path / 'artifacts'}")


def test_a_storage_that_hangs_does_not_keep_the_run_from_ending(
    make_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(artifact_copies, "END_S", 0.05)
    monkeypatch.setattr(artifact_copies, "_connect", lambda _: go_on.wait(60))
    (notice,) = copied(Study(tmp_path / "chat", make_task(artifacts="memory://x")), 3)
    go_on.set()
    assert notice.startswith("copying artifacts to memory://x takes longer than 0.05 s; what is missing there is in ")


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("ftp://team:Zk3vQ9xT7mWb2LcR8sYd4HjN@host/x", TaskError, "secret"),
        ("nowhere://bucket", SetupError, "Protocol not known: nowhere; expected is a folder or a URL of fsspec"),
    ],
)
def test_what_is_no_place_is_refused_before_anything_starts(
    make_task: Any, tmp_path: Path, url: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        at.tune(make_task(artifacts=url), study=tmp_path / "study")
    assert not (tmp_path / "study").exists()
