"""A study's folder: its files, its lock, its task and its artifacts."""

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
from autotune_nb.study._foreign_files import is_written_task, require_no_foreign_file
from autotune_nb.study._task_difference import task_difference
from autotune_nb.study.command_files import take_commands
from autotune_nb.study.format import require_known_format, written_format
from autotune_nb.study.storage_url import (
    REDACTED,
    STORAGE_VARIABLE,
    absolute,
    is_shared,
    redact,
    require_lasting,
    same_storage,
    with_password,
)
from autotune_nb.task.file import parse_task
from autotune_nb.task.task import Task

_METADATA, _TASK, _RESULTS = "study.json", "task.json", "results.json"
_LOCK, _OWNER, _LIVE = "run.lock", "run.json", "live.json"
_LOCK_S = 0.3


class StudyFolder:
    """The files of one study. Every write is atomic."""

    def __init__(self, path: str | Path) -> None:
        """Raises StudyError if the path is not valid for a folder."""
        if not isinstance(path, str | Path):
            raise StudyError(f"expected the path of a study's folder, not {repr_without_contents(path)}")
        try:
            self.path = Path(path).expanduser().absolute()
        except RuntimeError as error:
            raise StudyError(f"{str(path)!r} is not a folder's path: {error}") from None
        if "\0" in str(self.path):
            raise StudyError(f"{str(path)!r} is not a folder's path: it has a null byte")
        try:
            str(self.path).encode("utf-8")
        except UnicodeEncodeError:
            # Such a name cannot be written into a study's files, which are JSON.
            raise StudyError(f"{str(self.path)!a} is not a folder's path: it is not valid UTF-8") from None
        self._lock = filelock.FileLock(self.path / _LOCK, thread_local=False)

    @property
    def exists(self) -> bool:
        """Whether it holds a study. Raises StudyError if it cannot be read."""
        try:
            return (self.path / _METADATA).is_file()
        except OSError as error:
            raise StudyError(f"{self.path} cannot be read: {error.strerror or error}") from None

    @property
    def import_mark(self) -> Path:
        """The file that exists while an import writes the study, and after an import that was killed."""
        return self.path / "import-unfinished.json"

    def begin_import(self) -> None:
        """Mark the study as incomplete until ``end_import``. Raises StudyError if that cannot be written."""
        self.write(self.import_mark.name, {"since": _now()})

    def end_import(self) -> None:
        """Mark the study as complete."""
        with contextlib.suppress(FileNotFoundError):
            self.import_mark.unlink()

    def require_imported(self) -> None:
        """Raise StudyError if an import into it did not finish, StudyBusyError if one is running."""
        try:
            marked = self.import_mark.exists()
        except OSError:
            # The next read reports the error.
            return
        if not marked:
            return
        if self.busy and not self._lock.is_locked:
            raise StudyBusyError(f"an import into {self.path} is running ({self.owner()}); wait until it has finished")
        raise StudyError(f"the import into {self.path} did not finish: delete the folder and import again")

    @property
    def worker_name(self) -> str:
        """The name of the worker of a shared study in this folder: the host's, with a number if there are several."""
        number = f"-{self.path.name}" if self.path.parent.name == "workers" else ""
        return f"{socket.gethostname()}{number}"

    @property
    def database(self) -> Path:
        """The SQLite file that holds the trials unless another storage is used."""
        return self.path / "study.db"

    def create(self) -> None:
        """Create the folder. Raises StudyError if it cannot be written, or has a file of no study in the place of its
        own."""
        try:
            require_no_foreign_file(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise StudyError(
                f"the study's folder {self.path} cannot be written: {error.strerror or error}; choose another with "
                "--study"
            ) from None

    def acquire(self) -> None:
        """Lock the folder for this process. Raises StudyBusyError, with the owner, if another process has locked it."""
        try:
            # Retried, since a process that reads ``busy`` holds the lock for a moment.
            self._lock.acquire(timeout=_LOCK_S, poll_interval=0.02)
        except filelock.Timeout:
            raise StudyBusyError(
                f"{self.path} is in use by {self.owner()}; show it with: autotune-nb show {self.path}, in a notebook "
                "with at.open"
            ) from None
        except OSError as error:
            raise StudyError(f"{self.path} cannot be locked: {error}") from None
        # Left by a process that was killed, and for it.
        self.delete_live()
        take_commands(self.path)
        self.write(_OWNER, {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()})

    def release(self) -> None:
        """Unlock the folder."""
        with contextlib.suppress(OSError):
            (self.path / _OWNER).unlink(missing_ok=True)
        self._lock.release()

    @property
    def busy(self) -> bool:
        """Whether a process has locked it."""
        if self._lock.is_locked:
            return True
        try:
            with (self.path / _LOCK).open("rb") as file:
                # A shared lock, so that readers do not take each other for the owner.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            return error.errno != errno.ENOSYS or self._busy_without_flock()

    def _busy_without_flock(self) -> bool:
        """Return ``busy`` on a file system without flock, where the lock is the file's existence."""
        probe = filelock.FileLock(self.path / _LOCK, thread_local=False)
        try:
            probe.acquire(timeout=0)
        except (filelock.Timeout, OSError):
            return True
        probe.release()
        return False

    def owner(self) -> str:
        """Return a description of the process that has locked it."""
        owner = None
        with contextlib.suppress(StudyError):
            owner = self.read(_OWNER)
        if owner is None:
            return "another process"
        return f"pid {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"

    def ensure_metadata(self, storage: str | None, *, shared_name: str | None = None) -> dict[str, Any]:
        """Return the study's metadata, created on first use; ``shared_name`` is its name in a shared storage.

        Raises StudyMismatchError if the study is in another storage than ``storage``.
        """
        metadata = self.metadata()
        if storage:
            require_lasting(storage)
            storage = absolute(storage)
        if metadata is None or "optuna_name" not in metadata:
            # Before the study is created, a storage that did not work may be replaced by another.
            metadata = {
                **written_format(),
                "id": metadata["id"] if metadata else uuid.uuid4().hex[:12],
                "storage": redact(storage) if storage else None,
                "created": _now(),
                **({"shared_name": name} if (name := shared_name or (metadata or {}).get("shared_name")) else {}),
            }
            self.write(_METADATA, metadata)
        elif storage is not None and not same_storage(storage, metadata["storage"]):
            stored = metadata["storage"] or "its own folder"
            raise StudyMismatchError(f"the study in {self.path} is stored in {stored}, not in {redact(storage)}")
        return metadata

    def metadata(self) -> dict[str, Any] | None:
        """Return the study's id, its storage and when it was created; None if there is no study. Raises StudyError."""
        metadata = self.read(_METADATA)
        require_known_format(metadata or {}, f"the study in {self.path}")
        if metadata is not None and not (isinstance(metadata.get("id"), str) and "storage" in metadata):
            raise StudyError(f"{self.path / _METADATA} is damaged: it has no id or no storage")
        return metadata

    def storage(self, given: str | None) -> str | None:
        """Return the URL of the storage; None for the folder's own database.

        Raises StudyError if it had a password, which is not stored, and neither ``given`` nor the environment has it.
        """
        metadata = self.metadata()
        if metadata is None:
            raise StudyNotFoundError(f"there is no study in {self.path}")
        if given is not None:
            require_lasting(given)
            return with_password(absolute(given))
        stored: str | None = metadata["storage"]
        if stored is not None and REDACTED in stored and (variable := os.environ.get(STORAGE_VARIABLE)):
            # Only if it is this storage: the variable may be meant for another study.
            stored = variable if same_storage(variable, stored) else stored
        if stored is not None and REDACTED in stored:
            raise StudyError(
                f"the study is stored in {stored}; its password is not stored: pass --storage again, or set "
                f"{STORAGE_VARIABLE}"
            )
        return None if stored is None else with_password(stored)

    def is_own_storage(self, url: str | None) -> bool:
        """Return whether a storage, None for the folder's own database, is that of the study."""
        metadata = self.metadata()
        return metadata is not None and same_storage(metadata["storage"], url or None)

    def write_task(self, task: Task) -> None:
        """Write the task. Raises StudyMismatchError if the folder holds a study of another one."""
        self.require_same_task(task)
        self.write(_TASK, task.model_dump(mode="json"))

    def require_same_task(self, task: Task) -> None:
        """Raise StudyMismatchError if the folder holds a study of another task."""
        stored = self.read(_TASK)
        if stored is not None:
            require_same_task(stored, task, f"the study in {self.path}")

    def delete_task(self) -> None:
        """Delete the task, so that another one may be written. Raises StudyError if no study wrote it."""
        if (stored := self.read(_TASK)) is not None and not is_written_task(stored):
            raise StudyError(f"{self.path / _TASK} was not written by a study; choose another folder with --study")
        with contextlib.suppress(OSError):
            (self.path / _TASK).unlink(missing_ok=True)

    def task(self) -> Task:
        """Return the stored task. Raises StudyNotFoundError or StudyError."""
        data = self.read(_TASK)
        if data is None:
            raise StudyNotFoundError(f"there is no study in {self.path}")
        try:
            return parse_task(data)
        except TaskError as error:
            # A newer format is the reason, if it has one.
            self.metadata()
            raise StudyError(f"the task in {self.path / _TASK} cannot be read: {error}") from None

    def label(self, study_id: str) -> str:
        """Return the label of the processes and objects of a study in this folder.

        Workers of a shared study may have folders of the same path on several hosts.
        """
        place = str(self.path.resolve())
        if is_shared((self.metadata() or {}).get("storage")):
            place = f"{socket.gethostname()}:{place}"
        return f"{study_id}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"

    def artifacts(self, trial: int, attempt: int) -> Path:
        """Create a new folder for a trial's raw files and logs, separate from those of previous attempts."""
        trial_folder = self.trial_folder(trial)
        for number in itertools.count(attempt):
            folder = trial_folder if number <= 1 else trial_folder / f"attempt-{number}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
        raise AssertionError

    def trial_folder(self, trial: int) -> Path:
        """Return the folder of a trial's raw files and logs, which may not exist."""
        return self.path / "artifacts" / f"trial-{trial:04d}"

    def write_live(self, live: dict[str, Any]) -> None:
        """Write the state of the running trials, for other processes. Raises StudyError."""
        self._write(_LIVE, json.dumps(scrub_data(live), ensure_ascii=False))

    def read_live(self) -> dict[str, Any] | None:
        """Return the state of the running trials; None if there is none."""
        with contextlib.suppress(StudyError):
            return self.read(_LIVE)
        return None

    def delete_live(self) -> None:
        """Delete the state of the running trials."""
        with contextlib.suppress(OSError):
            (self.path / _LIVE).unlink(missing_ok=True)

    @property
    def stamp(self) -> tuple[int, ...]:
        """A value that changes whenever the study's files do."""
        facts: list[int] = []
        for file in (self.path / _RESULTS, self.database, Path(f"{self.database}-wal"), self.path / _TASK):
            with contextlib.suppress(OSError):
                status = file.stat()
                # The inode too, since two writes may have the same time.
                facts += (status.st_mtime_ns, status.st_ino, status.st_size)
        return tuple(facts)

    def write_results(self, results: dict[str, Any]) -> None:
        """Write ``results.json`` with a line for each trial, since indenting thousands would take many seconds."""
        # The task is not scrubbed: it was checked for secrets when it was read, and is compared with the next run's.
        results = {name: value if name == "task" else scrub_data(value) for name, value in results.items()}
        lines = ",\n".join(json.dumps(trial, ensure_ascii=False) for trial in results["trials"])
        parts = [
            f"{json.dumps(name)}: " + (f"[\n{lines}\n]" if name == "trials" else json.dumps(value, ensure_ascii=False))
            for name, value in results.items()
        ]
        self._write(_RESULTS, "{" + ",\n".join(parts) + "}\n")

    def write(self, name: str, data: dict[str, Any]) -> None:
        """Write JSON atomically. Raises StudyError if it cannot be written."""
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

    def delete(self, name: str) -> None:
        """Delete a file, if there is one."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink(missing_ok=True)

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the JSON of a file; None if there is no such file. Raises StudyError if it cannot be read."""
        try:
            data = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StudyError(f"{self.path / name} cannot be read: {error}") from None
        if not isinstance(data, dict):
            raise StudyError(f"{self.path / name} is not a JSON object")
        return data


def require_same_task(stored: dict[str, Any], task: Task, whose: str, *, of_worker: bool = False) -> None:
    """Raise StudyMismatchError if a task differs from the stored one of ``whose`` in what trials depend on.

    ``of_worker`` is that of ``task_difference``.
    """
    with contextlib.suppress(TaskError):
        # The task of a previous version lacks newer fields.
        stored = parse_task(stored).model_dump(mode="json")
    field = task_difference(stored, task.model_dump(mode="json"), of_worker=of_worker)
    if field is not None:
        raise StudyMismatchError(
            f"{field} differs from the task of {whose}; their trials could not be compared. Choose another folder, or "
            "undo the change"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
