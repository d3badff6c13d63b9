"""Checks of the place that holds a study's trials, mostly a SQLite file, and how to recover without it.

Writes nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from autotune_nb.errors import AutotuneError, StudyError, StudyNotFoundError
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import redact, sqlite_file

_MAGIC = b"SQLite format 3\0"
_HEADER = 100


class DamagedStorageError(StudyError):
    """The storage of a study is missing or has invalid content."""


class StorageBusyError(StudyError):
    """Another program has locked the storage of a study."""


class StorageAwayError(StudyError):
    """The disk of a study's storage is full or fails, or its database does not respond; the call can be repeated."""


def database_problem(folder: StudyFolder, url: str | None) -> str:
    """Return why a study's SQLite file cannot be read: it is missing, empty, truncated or not a database.

    Empty if it can be read, if the study has no trials yet, and if ``url`` names no file or another storage than the
    study's. None is the folder's own database.
    """
    if "optuna_name" not in (folder.metadata() or {}) or not folder.is_own_storage(url):
        return ""
    file = folder.database if url is None else sqlite_file(url)
    problem = file_problem(file) if file is not None else ""
    return f"{file} {problem}; the trials of {folder.path} were in it" if problem else ""


def require_database(folder: StudyFolder, url: str | None) -> None:
    """Raise DamagedStorageError, with how to recover, if the study's SQLite file cannot be read."""
    problem = database_problem(folder, url)
    if problem:
        raise DamagedStorageError(f"{problem}: {recovery_text(folder)}")


def require_study(folder: StudyFolder, url: str | None) -> str:
    """Return the name of a folder's study in its storage.

    Raises StudyNotFoundError if it has none yet, DamagedStorageError if the study's SQLite file cannot be read.
    """
    metadata = folder.metadata() or {}
    if "optuna_name" not in metadata:
        raise StudyNotFoundError(f"the study in {folder.path} has no trials yet")
    require_database(folder, url)
    return str(metadata["optuna_name"])


def not_found(folder: StudyFolder, url: str | None, name: str) -> StudyNotFoundError:
    """Return the error for a storage without a folder's study, which names the storage that has it."""
    stored = (folder.metadata() or {}).get("storage") or folder.database
    elsewhere = "" if folder.is_own_storage(url) else f"; it is stored in {stored}"
    return StudyNotFoundError(f"{location(folder, url)} holds no study {name!r}{elsewhere}")


def location(folder: StudyFolder, url: str | None) -> str:
    """Return the place of the trials for messages, without a password."""
    return redact(url) if url else str(folder.database)


@contextlib.contextmanager
def damage_errors(where: object) -> Iterator[None]:
    """Turn errors of reading a damaged storage into StudyError."""
    try:
        yield
    except AutotuneError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        message = " ".join(str(error).split())
        raise DamagedStorageError(f"{where} is damaged: {type(error).__name__} {message}") from None


def connect_read_only(file: Path, busy_s: float) -> sqlite3.Connection:
    """Return a connection that only reads, and creates no file; it waits for a lock for ``busy_s``."""
    uri = f"{file.absolute().as_uri()}?mode=ro"
    with file.open("rb") as opened:
        wal = opened.read(20)[18:20] == b"\2\2"
    if wal and not Path(f"{file}-wal").exists():
        # In WAL mode even reading would create files beside it.
        uri += "&immutable=1"
    return sqlite3.connect(uri, uri=True, timeout=busy_s, check_same_thread=False)


def file_problem(file: Path) -> str:
    """Return what is wrong with a SQLite file by its header, such as ``is missing``; empty if nothing is."""
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER)
            # Read after the header: a database that another process writes to only grows.
            size = opened.seek(0, 2)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError:
        # Opening the database reports the error.
        return ""
    if not header:
        return "is empty"
    if not header.startswith(_MAGIC[: len(header)]):
        return "is not a SQLite database"
    expected = _size_by_header(header)
    if len(header) < _HEADER:
        return f"is truncated, {size} bytes are left"
    # In the middle of a transaction the header may be ahead of the file.
    if size < expected and not any(file.with_name(file.name + end).exists() for end in ("-journal", "-wal")):
        return f"is truncated, {size} of {expected} bytes are left"
    return ""


def _size_by_header(header: bytes) -> int:
    """Return the size of a database in bytes by its header; 0 for an old format without it."""
    if header[24:28] != header[92:96]:
        return 0
    page = int.from_bytes(header[16:18], "big")
    return int.from_bytes(header[28:32], "big") * (65536 if page == 1 else page)


def recovery_text(folder: StudyFolder) -> str:
    """Return how to recover a study whose database cannot be read: in a new folder, from ``results.json``."""
    results = None
    with contextlib.suppress(StudyError):
        results = folder.read("results.json")
    if results is None:
        return "restore it, or choose another folder"
    return (
        "restore it, or import what results.json has into a new study, and resume that: autotune-nb "
        f"export {folder.path} --as csv -o levels.csv, then autotune-nb import levels.csv --study NEW --task TASK"
    )
