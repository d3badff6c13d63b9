"""Checks of the SQLite file that holds a study's trials, and how to recover without it. Writes nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

from autotune_nb.errors import StudyError
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import sqlite_file

_MAGIC = b"SQLite format 3\0"
_HEADER = 100


class DamagedStorageError(StudyError):
    """The storage of a study has invalid content."""


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
    """Raise StudyError, with how to recover, if the study's SQLite file cannot be read."""
    problem = database_problem(folder, url)
    if problem:
        raise StudyError(f"{problem}: {recovery_text(folder)}")


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
