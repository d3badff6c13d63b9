"""Files in the place of a study's files that no study wrote: never overwritten and never deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune_nb.errors import StudyError, TaskError
from autotune_nb.task.file import parse_task

_RESULTS, _DATABASE = "results.json", "study.db"
_OWN = ("task.json", _RESULTS, _DATABASE, "live.json", "run.json")
#: What ``run.json`` has, which a run that was killed leaves behind, even before there is a study.
_OWNER = {"pid", "host", "since"}

#: Sections that every version wrote, and that a task file need not have.
_ALWAYS = {"name", "description", "budget", "deploy", "benchmark", "strategy", "deadlines"}


def require_no_foreign_file(folder: Path) -> None:
    """Raise StudyError if a folder without a study has a file that a study would overwrite."""
    names = [name for name in _OWN if (folder / name).exists() and not _is_left_by_a_run(folder / name)]
    if not names or (folder / "study.json").exists():
        return
    if _RESULTS in names and isinstance((_json(folder / _RESULTS) or {}).get("trials"), list):
        raise StudyError(
            f"{folder} has a study's {_RESULTS}, but not its study.json, without which it cannot be continued; restore "
            "study.json, or choose another folder with --study"
        )
    raise StudyError(
        f"{folder / names[0]} would be overwritten, and it belongs to no study (the folder has no study.json); choose "
        "another folder with --study"
    )


def is_written_task(stored: dict[str, Any]) -> bool:
    """Return whether the content of a ``task.json`` was written by a study, which writes every field."""
    try:
        parse_task(stored)
    except TaskError:
        return False
    return stored.keys() >= _ALWAYS


def _is_left_by_a_run(file: Path) -> bool:
    return file.name == "run.json" and (_json(file) or {}).keys() == _OWNER


def _json(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
