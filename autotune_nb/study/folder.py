"""A study's folder: whose it is, which task it keeps, where its artifacts go, who works on it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import socket
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from autotune_nb.errors import (
    StudyBusyError,
    StudyError,
    StudyMismatchError,
    StudyNotFoundError,
    TaskError,
    repr_without_contents,
)
from autotune_nb.secrets.scrubbing import scrub_data
from autotune_nb.study.storage_url import REDACTED, STORAGE_VARIABLE, absolute, redact
from autotune_nb.task.file import parse_task
from autotune_nb.task.task import Task

_ABOUT, _TASK, _RESULTS = "study.json", "task.json", "results.json"
_LOCK, _OWNER, _LIVE = "run.lock", "run.json", "live.json"
#: What may change between two runs of one study: none of it changes what a figure means.
_MAY_CHANGE = ("name", "description", "budget", "deadlines", "strategy")
#: The same within a section.
_MAY_CHANGE_WITHIN = {"deploy": ("kubeconfig", "context", "templates"), "benchmark": ("results", "results_size")}
#: The same of ``deploy`` where it is not this machine that several trials share.
_MAY_CHANGE_IN_A_CLUSTER = ("parallel", "gpus")
_LOCK_S = 0.3


class StudyFolder:
    """The files of one study. Every write is atomic: a torn file never takes a whole one's place."""

    def __init__(self, path: str | Path) -> None:
        """Raises StudyError for what no folder can be called."""
        if not isinstance(path, str | Path):
            raise StudyError(f"expected the path of a study's folder, not {repr_without_contents(path)}")
        try:
            self.path = Path(path).expanduser().absolute()
        except RuntimeError as error:
            raise StudyError(f"{str(path)!r} names no folder: {error}") from None
        if "\0" in str(self.path):
            raise StudyError(f"{str(path)!r} names no folder: a zero byte is in it")
        self._lock = filelock.FileLock(self.path / _LOCK, thread_local=False)

    @property
    def exists(self) -> bool:
        """Whether it holds a study. Raises StudyError where it cannot be looked at."""
        try:
            return (self.path / _ABOUT).is_file()
        except OSError as error:
            raise StudyError(f"{self.path} cannot be read: {error.strerror or error}") from None

    @property
    def import_mark(self) -> Path:
        """Is there while an import writes the study, and after one that was killed."""
        return self.path / "import-unfinished.json"

    def begin_import(self) -> None:
        """Mark the study as incomplete until ``end_import``. Raises StudyError where that cannot be written."""
        self.write(self.import_mark.name, {"since": _now()})

    def end_import(self) -> None:
        """Mark the study as complete."""
        with contextlib.suppress(FileNotFoundError):
            self.import_mark.unlink()

    def require_imported(self) -> None:
        """Raises StudyError where an import into it did not finish, StudyBusyError where one is at work."""
        try:
            begun = self.import_mark.exists()
        except OSError:
            # Whoever reads it next reports that.
            return
        if not begun:
            return
        if self.busy and not self._lock.is_locked:
            raise StudyBusyError(f"an import into {self.path} is at work ({self.owner()}); wait until it has finished")
        raise StudyError(f"the import into {self.path} did not finish: delete the folder and import again")

    @property
    def database(self) -> Path:
        """The SQLite file that keeps the trials where no storage is named."""
        return self.path / "study.db"

    def create(self) -> None:
        """Make the folder. Raises StudyError where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise StudyError(
                f"the study's folder {self.path} cannot be written: {error.strerror or error}; choose another with "
                "--study"
            ) from None

    def acquire(self) -> None:
        """Become the one process that works on it. Raises StudyBusyError, saying who does."""
        try:
            # Whoever only asks whether the folder is busy holds the lock for a moment.
            self._lock.acquire(timeout=_LOCK_S, poll_interval=0.02)
        except filelock.Timeout:
            raise StudyBusyError(
                f"{self.path} is being worked on by {self.owner()}; look at it with: autotune-nb show {self.path}, in "
                "a notebook with at.open"
            ) from None
        except OSError as error:
            raise StudyError(f"{self.path} cannot be locked: {error}") from None
        # Of one that was killed.
        self.forget_live()
        self.write(_OWNER, {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})

    def release(self) -> None:
        """Let the next process have it."""
        with contextlib.suppress(OSError):
            (self.path / _OWNER).unlink(missing_ok=True)
        self._lock.release()

    @property
    def busy(self) -> bool:
        """Whether some process works on it now."""
        if self._lock.is_locked:
            return True
        try:
            with (self.path / _LOCK).open("rb") as file:
                # Shared: those who only ask do not take each other for the owner.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            return error.errno != errno.ENOSYS or self._busy_without_flock()

    def _busy_without_flock(self) -> bool:
        """``busy`` where the file system knows no such lock, and the lock is a file that is there or not."""
        probe = filelock.FileLock(self.path / _LOCK, thread_local=False)
        try:
            probe.acquire(timeout=0)
        except (filelock.Timeout, OSError):
            return True
        probe.release()
        return False

    def owner(self) -> str:
        """Who works on it, as far as that is known."""
        owner = None
        with contextlib.suppress(StudyError):
            owner = self.read(_OWNER)
        if owner is None:
            return "another process"
        return f"pid {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"

    def identity(self, storage: str | None) -> dict[str, Any]:
        """The study's id and storage, made at first use.

        Raises StudyMismatchError where the folder's study lives in another storage than asked for.
        """
        about = self.about()
        storage = absolute(storage) if storage else None
        if about is None or "optuna_name" not in about:
            # Until a study has begun in it, a storage that did not work may be exchanged for another.
            about = {
                "id": about["id"] if about else uuid.uuid4().hex[:12],
                "storage": redact(storage) if storage else None,
                "created": _now(),
            }
            self.write(_ABOUT, about)
        elif storage is not None and redact(storage) != about["storage"]:
            kept = about["storage"] or "its own folder"
            raise StudyMismatchError(f"the study in {self.path} is kept in {kept}, not in {redact(storage)}")
        return about

    def about(self) -> dict[str, Any] | None:
        """The study's id, its storage and when it was made; None where there is none. Raises StudyError."""
        about = self.read(_ABOUT)
        if about is not None and not (isinstance(about.get("id"), str) and "storage" in about):
            raise StudyError(f"{self.path / _ABOUT} is damaged: it has no id or no storage")
        return about

    def storage(self, given: str | None) -> str | None:
        """The storage's URL; None for the folder's own database.

        Raises StudyError where it had a password, which is never written down.
        """
        about = self.about()
        if about is None:
            raise StudyNotFoundError(f"there is no study in {self.path}")
        if given is not None:
            return absolute(given)
        kept: str | None = about["storage"]
        if kept is not None and REDACTED in kept and (told := os.environ.get(STORAGE_VARIABLE)):
            # Only that very storage: the variable may be meant for another study.
            kept = told if redact(told) == kept else kept
        if kept is not None and REDACTED in kept:
            raise StudyError(
                f"the study is kept in {kept}; its password is not written down: give --storage again, or set "
                f"{STORAGE_VARIABLE}"
            )
        return kept

    def keeps_trials_in(self, url: str | None) -> bool:
        """Whether a storage, None for the folder's own database, is the one that the study began in."""
        about = self.about()
        return about is not None and about["storage"] == (redact(absolute(url)) if url else None)

    def keep_task(self, task: Task) -> None:
        """Keep the task. Raises StudyMismatchError where the folder holds a study of another one."""
        self.require_same(task)
        self.write(_TASK, task.model_dump(mode="json"))

    def require_same(self, task: Task) -> None:
        """Raises StudyMismatchError where the folder holds a study of another task."""
        kept = self.read(_TASK)
        if kept is not None:
            with contextlib.suppress(TaskError):
                # One kept by an earlier version lacks the fields that came since.
                kept = parse_task(kept).model_dump(mode="json")
        field = _difference(kept, task.model_dump(mode="json")) if kept is not None else None
        if field is not None:
            raise StudyMismatchError(
                f"{field} differs from the task of the study in {self.path}; its trials could not be compared. "
                "Choose another folder, or take the change back"
            )

    def forget_task(self) -> None:
        """Let the next ``keep_task`` keep any task."""
        with contextlib.suppress(OSError):
            (self.path / _TASK).unlink(missing_ok=True)

    def task(self) -> Task:
        """The kept task. Raises StudyNotFoundError or StudyError."""
        data = self.read(_TASK)
        if data is None:
            raise StudyNotFoundError(f"there is no study in {self.path}")
        try:
            return parse_task(data)
        except TaskError as error:
            raise StudyError(f"the task kept in {self.path / _TASK} cannot be read: {error}") from None

    def label(self, study_id: str) -> str:
        """What marks the processes of a study in this folder."""
        return f"{study_id}-{hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:8]}"

    def artifacts(self, trial: int, attempt: int) -> Path:
        """A new folder for one trial's raw files and logs: what an earlier try left is never read as this one's."""
        trial_folder = self.trial_folder(trial)
        for number in itertools.count(attempt):
            folder = trial_folder if number <= 1 else trial_folder / f"attempt-{number}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
        raise AssertionError

    def trial_folder(self, trial: int) -> Path:
        """Where a trial's raw files and logs are, whether there are any or not."""
        return self.path / "artifacts" / f"trial-{trial:04d}"

    def write_live(self, now: dict[str, Any]) -> None:
        """Say what the running trials do, for whoever looks from another process. Raises StudyError."""
        self._write(_LIVE, json.dumps(scrub_data(now), ensure_ascii=False))

    def read_live(self) -> dict[str, Any] | None:
        """What the running trials do; None where no process says so."""
        with contextlib.suppress(StudyError):
            return self.read(_LIVE)
        return None

    def forget_live(self) -> None:
        """Nothing runs any more."""
        with contextlib.suppress(OSError):
            (self.path / _LIVE).unlink(missing_ok=True)

    @property
    def stamp(self) -> tuple[int, ...]:
        """Changes whenever the study's own files do."""
        found: list[int] = []
        for file in (self.path / _RESULTS, self.database, self.path / _TASK):
            with contextlib.suppress(OSError):
                now = file.stat()
                # Two writes within one step of the clock are two files.
                found += (now.st_mtime_ns, now.st_ino, now.st_size)
        return tuple(found)

    @property
    def results_are_current(self) -> bool:
        """Whether ``results.json`` has all that the folder's own database has, which may be lost."""
        try:
            written = (self.path / _RESULTS).stat().st_mtime_ns
            if not self.database.exists():
                return True
            # File systems count time in steps of milliseconds: of one step it is not known which came last.
            return written > self.database.stat().st_mtime_ns
        except OSError:
            return False

    def write_results(self, results: dict[str, Any]) -> None:
        """Write ``results.json``, a line a trial: indented, thousands of them would take many seconds."""
        # The task is as it was asked: it was looked at when it was read, and is compared with the next one.
        results = {name: value if name == "task" else scrub_data(value) for name, value in results.items()}
        lines = ",\n".join(json.dumps(trial, ensure_ascii=False) for trial in results["trials"])
        parts = [
            f"{json.dumps(name)}: " + (f"[\n{lines}\n]" if name == "trials" else json.dumps(value, ensure_ascii=False))
            for name, value in results.items()
        ]
        self._write(_RESULTS, "{" + ",\n".join(parts) + "}\n")

    def write(self, name: str, data: dict[str, Any]) -> None:
        """Write JSON in one step. Raises StudyError where the disk does not take it."""
        self._write(name, json.dumps(data, indent=1, ensure_ascii=False))

    def _write(self, name: str, text: str) -> None:
        try:
            handle, work = tempfile.mkstemp(dir=self.path, prefix=f".{name}-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                Path(work).chmod(0o644)
                Path(work).replace(self.path / name)
            except BaseException:
                Path(work).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StudyError(f"{self.path / name} cannot be written: {error.strerror or error}") from None

    def read(self, name: str) -> dict[str, Any] | None:
        """JSON from the folder; None where there is none. Raises StudyError where it is torn."""
        try:
            data = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StudyError(f"{self.path / name} cannot be read: {error}") from None
        if not isinstance(data, dict):
            raise StudyError(f"{self.path / name} holds no object")
        return data


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _difference(kept: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first field that makes the kept task another one; what a kept task does not know yet has its default."""
    for key in now:
        if key in _MAY_CHANGE or kept.get(key) == now[key]:
            continue
        if not (isinstance(now[key], dict) and isinstance(kept.get(key), dict)):
            return key
        may_change: tuple[str, ...] = _MAY_CHANGE_WITHIN.get(key, ())
        if key == "deploy" and now[key].get("kind") == "ome":
            may_change += _MAY_CHANGE_IN_A_CLUSTER
        for inner in sorted({*now[key], *kept[key]}):
            if inner not in may_change and now[key].get(inner) != kept[key].get(inner):
                return f"{key}.{inner}"
    return None
