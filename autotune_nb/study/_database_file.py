"""The SQLite file that holds a study's trials: whether it can be read, and how to go on without it. Writes nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

from autotune_nb.errors import StudyError
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import sqlite_file

_MAGIC = b"SQLite format 3\0"
_HEADER = 100


def database_problem(folder: StudyFolder, url: str | None) -> str:
    """Why the SQLite file that holds a study's trials cannot be read: it is missing, empty, truncated or no database.

    Empty where it can be, where the study has not begun, and where ``url``, the storage's, names no file or is not the
    study's own. None is the folder's own database.
    """
    if "optuna_name" not in (folder.about() or {}) or not folder.keeps_trials_in(url):
        return ""
    file = folder.database if url is None else sqlite_file(url)
    problem = file_problem(file) if file is not None else ""
    return f"{file} {problem}; the trials of {folder.path} were in it" if problem else ""


def require_database(folder: StudyFolder, url: str | None) -> None:
    """Raises StudyError, with how to go on, where the SQLite file that holds a study cannot be read."""
    problem = database_problem(folder, url)
    if problem:
        raise StudyError(f"{problem}: {recovery_text(folder)}")


def file_problem(file: Path) -> str:
    """What is wrong with a SQLite file as far as its header shows, such as ``is missing``; empty where nothing is."""
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER)
            # After the header: a database that another process writes to only grows.
            size = opened.seek(0, 2)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError:
        # Whoever opens it reports why.
        return ""
    if not header:
        return "is empty"
    if not header.startswith(_MAGIC[: len(header)]):
        return "is no SQLite database"
    whole = _whole_size(header)
    if len(header) < _HEADER:
        return f"is truncated, {size} bytes are left"
    # In the middle of a transaction the header may be ahead of the file.
    if size < whole and not any(file.with_name(file.name + end).exists() for end in ("-journal", "-wal")):
        return f"is truncated, {size} of {whole} bytes are left"
    return ""


def _whole_size(header: bytes) -> int:
    """How many bytes a database has by its header; 0 where the header is of an old kind that does not say."""
    if header[24:28] != header[92:96]:
        return 0
    page = int.from_bytes(header[16:18], "big")
    return int.from_bytes(header[28:32], "big") * (65536 if page == 1 else page)


def recovery_text(folder: StudyFolder) -> str:
    """How a study goes on whose database cannot be read: in another folder, from what ``results.json`` still has."""
    kept = None
    with contextlib.suppress(StudyError):
        kept = folder.read("results.json")
    if kept is None:
        return "restore it, or choose another folder"
    return (
        "restore it, or make another study of what results.json still has, which goes on from there: autotune-nb "
        f"export {folder.path} --as csv -o levels.csv, then autotune-nb import levels.csv --study NEW --task TASK"
    )
