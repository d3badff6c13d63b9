"""Reads the studies and exported files of ``warm_start``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune_nb.engines.registry import engine_of_study, space_for
from autotune_nb.errors import StudyError, StudyNotFoundError, TaskError
from autotune_nb.recorded.file import read_frame
from autotune_nb.recorded.long_table import read_long_table
from autotune_nb.study import DamagedStorageError, StorageBusyError, StudyFolder, StudyReader, trial_from_results
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.file import parse_task
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial


@dataclass(frozen=True)
class PreviousTrials:
    """The finished trials of a source. ``task`` is None for a file, and for results that were imported without one."""

    name: str
    trials: tuple[Trial, ...]
    task: Task | None = None


def read_previous(source: str | Path) -> PreviousTrials:
    """Return the trials of a study's folder, of its ``results.json``, or of a CSV or parquet file in long form.

    Raises StudyError if the source cannot be read or has no finished trial.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = _of_folder(path, str(source))
    elif not path.exists():
        raise StudyError(f"there is no study or file {str(source)!r}")
    elif path.suffix == ".json":
        found = _of_results(path, str(source))
    else:
        found = PreviousTrials(str(source), tuple(read_long_table(read_frame(path), source=path.name)))
    finished = tuple(trial for trial in found.trials if trial.state.finished)
    if not finished:
        raise StudyError(f"{source} has no finished trial")
    task = None if found.task is None or is_imported(found.task) else found.task
    return PreviousTrials(found.name, finished, task)


def _of_folder(path: Path, name: str) -> PreviousTrials:
    folder = StudyFolder(path)
    folder.require_imported()
    if not folder.exists:
        raise StudyNotFoundError(f"there is no study in {path}")
    task = folder.task()
    reader = StudyReader(task, space_for(task, engine_of_study(task)), folder)
    try:
        stored = reader.read()
    except (DamagedStorageError, StorageBusyError, StudyNotFoundError) as error:
        results = reader.read_results(error)
        if results is None:
            raise
        stored = results[0]
    return PreviousTrials(name, stored.trials, task)


def _of_results(path: Path, name: str) -> PreviousTrials:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(trial_from_results(one, data["fingerprints"]) for one in data["trials"])
        task = parse_task(data["task"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, TaskError) as error:
        raise StudyError(
            f"{name} is not the JSON of a study, such as its results.json: {type(error).__name__}: {error}"
        ) from None
    return PreviousTrials(name, trials, task)
