"""A study whose SQLite file is gone: how that is found, and what to say. Nothing here makes one."""

from __future__ import annotations

import contextlib

from autotune_nb.errors import StudyError
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.storage_url import sqlite_file


def lost_database(folder: StudyFolder, url: str | None) -> str:
    """What became of the SQLite file that holds a study's trials, in words; empty where it is there, where the study
    has not begun, and where it is kept in no file.

    ``url`` is the storage's; None for the folder's own database.
    """
    if "optuna_name" not in (folder.about() or {}):
        return ""
    file = folder.database if url is None else sqlite_file(url)
    try:
        if file is None or file.stat().st_size:
            return ""
    except (FileNotFoundError, NotADirectoryError):
        return f"{file} is missing; the trials of {folder.path} were in it"
    except OSError:
        # Whoever opens it is told why.
        return ""
    return f"{file} is empty; the trials of {folder.path} were in it"


def require_database(folder: StudyFolder, url: str | None) -> None:
    """Raises StudyError where the SQLite file that holds a study is not there or empty: to open it makes one."""
    lost = lost_database(folder, url)
    if lost:
        raise StudyError(f"{lost}: put it back, or {_another(folder)}")


def _another(folder: StudyFolder) -> str:
    """How another folder's study goes on from what ``results.json`` still has."""
    kept = None
    with contextlib.suppress(StudyError):
        kept = folder.read("results.json")
    if kept is None:
        return "choose another folder"
    return (
        "make another study of what results.json still has, which goes on from there: autotune-nb export "
        f"{folder.path} --as csv -o levels.csv, then autotune-nb import levels.csv --study NEW --task TASK"
    )
