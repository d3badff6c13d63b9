"""Imports results as a study: an exported file, or result folders of genai-bench."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import Failure, StudyError, TaskError
from autotune_nb.recorded.file import read_frame
from autotune_nb.recorded.long_table import MAX_COUNT_DIGITS, quoted, read_long_table, unknown_columns
from autotune_nb.results._fitting import (
    first_notes,
    value_in,
    with_levels_of,
    with_plain_types,
    with_valid_levels,
)
from autotune_nb.results._result_folders import Source, read_folders
from autotune_nb.results.derived_task import default_objective, derived_task, scored_trial
from autotune_nb.results.exporting import NUM_GPUS
from autotune_nb.runner.runner import RunState
from autotune_nb.secrets.detectors import redact
from autotune_nb.secrets.literals import has_secret
from autotune_nb.secrets.scrubbing import know, scrub, scrub_failure
from autotune_nb.study import StudyFolder
from autotune_nb.task.parameters import parameter_name
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState

#: The number of trials in one transaction, and between two calls of ``progress``.
_BATCH = 500


@dataclass(frozen=True)
class ImportResult:
    """The result of an import; ``notes`` are lines of text for the user."""

    folder: Path
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()

    @property
    def num_complete(self) -> int:
        return sum(1 for trial in self.trials if trial.state is TrialState.COMPLETE)


def import_results(
    source: str | Path,
    study: str | Path,
    *,
    task: Task | str | Path | None = None,
    objective: str | None = None,
    limits: Sequence[str] = (),
    scenario: str = "dataset",
    progress: Callable[[int, int], None] = lambda _stored, _total: None,
) -> ImportResult:
    """Create a study of results: a CSV or parquet file in long form, or a folder with result folders of genai-bench.

    ``task`` is the task that produced the results; ``tune`` can then resume the study. Without one a task is derived
    from the results, with ``objective`` (default: maximize output_tokens_per_s) and ``limits``. A trial without the
    objective's figure is stored as failed.

    Levels that are invalid, or that ``task`` does not have, are left out; ``notes`` name them.

    Everything is read before anything is written. ``progress`` is called with the number of stored trials and the
    total. An interrupted import leaves nothing; a killed one leaves a folder that ``open`` and ``tune`` reject.

    Raises StudyError if the source cannot be read, if a parameter is a secret value, or if the folder holds a study
    already; TaskError if the results do not fit the task.
    """
    source, folder = Path(source).expanduser(), StudyFolder(study)
    folder.require_imported()
    if folder.exists:
        raise StudyError(f"{folder.path} holds a study already; choose another --study for the import")
    know()
    if task is not None:
        task = task if isinstance(task, Task) else Task.load(task)
        if objective or limits:
            raise TaskError("the task has an objective and limits: omit --objective and --limit, or --task")
    max_failed = 0 if task is None else task.workload.max_failed_requests
    try:
        found = _read(source, scenario, max_failed)
    except StudyError as error:
        # The message shows the invalid cell.
        raise StudyError(redact(scrub(str(error)))) from None
    if not found.trials:
        raise StudyError(f"{source} contains no results")
    _require_no_secret(found, source)
    found.trials = [trial.with_(failure=_without_secrets(trial.failure)) for trial in found.trials]
    found.trials, notes = with_valid_levels(found.trials, max_failed)
    found.notes += notes
    if task is None:
        found.trials = with_plain_types(found.trials)
        if objective is None:
            objective = default_objective(found)
        task = derived_task(str(source.resolve()), found, objective, limits)
    else:
        found.trials, notes = with_levels_of(task, found.trials, source.name)
        found.notes += notes
    space = space_for(task, engine_for(task))
    placed = _in_space(found, space, source)
    trials = [scored_trial(trial, task) for trial in placed]
    _write(folder, task, space, trials, progress)
    lacking = [t for t, before in zip(trials, placed, strict=True) if t.state is not before.state]
    notes = first_notes([f"trial {t.number} is stored as failed: {t.failure.message}" for t in lacking if t.failure])
    return ImportResult(folder.path, tuple(trials), (*found.notes, *notes))


def _require_no_secret(found: Source, source: Path) -> None:
    """Raise StudyError, without quoting it, if a name or value to store is or contains a secret."""
    places = {found.model: "the model"}
    for trial in found.trials:
        for name, value in trial.params.items():
            places.setdefault(name, f"the name of a parameter of configuration {trial.number}")
            places.setdefault(json.dumps(value, ensure_ascii=False), f"configuration {trial.number}'s {name}")
        for measured in trial.measurements:
            places.setdefault(str(measured.level), f"a level of configuration {trial.number}")
    # Names before values, since an error about a value quotes its name.
    for text, place in places.items():
        if has_secret(text):
            raise StudyError(
                f"{source.name}: {place} is a secret value (a variable of this environment, or it looks like a key), "
                "which would be stored; remove it from the source, or unset the variable if it is not a secret"
            )


def _without_secrets(failure: Failure | None) -> Failure | None:
    """Return a reason, which may be any text, without known secrets and without those that a detector finds."""
    if failure is None:
        return None
    clean = scrub_failure(failure)
    return replace(clean, message=redact(clean.message))


def _read(source: Path, scenario: str, max_failed_requests: int) -> Source:
    if source.is_dir():
        return read_folders(source, max_failed_requests)
    if not source.exists():
        raise StudyError(f"there is no file or folder {str(source)!r}")
    frame = read_frame(source)
    unknown = unknown_columns(list(map(str, frame.columns)))
    notes = [f"unknown columns are ignored: {', '.join(unknown)}"] if unknown else []
    found = Source(read_long_table(frame, source=source.name, scenario=scenario), notes)
    if "gpus" in frame.columns:
        _take_gpus(found, list(zip(map(str, frame["config_id"]), frame["gpus"], strict=True)), source.name)
    return found


def _take_gpus(found: Source, rows: Sequence[tuple[str, Any]], source: str) -> None:
    """Store the numbers of GPUs of a file: in the task if all are equal, otherwise with each trial."""
    by_configuration: dict[str, int | None] = {}
    for name, cell in rows:
        text = "" if cell is None or cell != cell else str(cell).removesuffix(".0")
        if text.isdecimal() and len(text) > MAX_COUNT_DIGITS:
            raise StudyError(f"{source}: gpus is {quoted(text)}; expected a number of GPUs")
        by_configuration.setdefault(name, int(text) if text.isdecimal() else None)
    known = set(by_configuration.values()) - {None}
    if len(known) == 1:
        found.gpus = known.pop()
    elif known:
        numbers = zip(found.trials, by_configuration.values(), strict=True)
        found.trials = [one if n is None else one.with_(fingerprint={NUM_GPUS: n}) for one, n in numbers]


def _in_space(found: Source, space: SearchSpace, source: Path) -> list[Trial]:
    """Return the trials that are points of the space, with canonical parameters and consecutive numbers.

    A note names those that are left out, such as one with a value that the task no longer has. Raises TaskError if
    none is left.
    """
    placed: list[Trial] = []
    first: TaskError | None = None
    left_out: list[str] = []
    for trial in found.trials:
        try:
            params = trial.params if trial.baseline else _point(trial, space)
        except TaskError as error:
            first = first or TaskError(
                f"configuration {trial.number} of {source.name} is not in the task's space: {error}"
            )
            left_out.append(f"configuration {trial.number} is left out, it is not in the task's space: {error}")
            continue
        placed.append(trial.with_(params=params, number=len(placed)))
    if first is not None and not any(not trial.baseline for trial in placed):
        raise first
    found.notes += first_notes(left_out, "more are left out")
    return placed


def _point(trial: Trial, space: SearchSpace) -> Point:
    params = {parameter_name(name): value for name, value in trial.params.items()}
    params = {name: value_in(space, name, value) for name, value in params.items()}
    # An empty cell beside others that are set leaves the flag out.
    params = {name: params.get(name) for name in space.parameters} | params
    return space.check(params)


def _write(
    folder: StudyFolder,
    task: Task,
    space: SearchSpace,
    trials: Sequence[Trial],
    progress: Callable[[int, int], None],
) -> None:
    from autotune_nb.study import Study

    before = set(folder.path.glob("*")) if folder.path.exists() else None
    folder.create()
    folder.acquire()
    whole = False
    try:
        folder.begin_import()
        study = Study.open(task, space, folder)
        for start in range(0, len(trials), _BATCH):
            progress(start, len(trials))
            study.add(trials[start : start + _BATCH])
        progress(len(trials), len(trials))
        elapsed_s = round(sum(sum(trial.seconds.values()) for trial in trials), 3)
        results = study.results(state=str(RunState.FINISHED), elapsed_s=elapsed_s)
        study.save_run(results)
        study.close()
        folder.write_results(results)
        folder.end_import()
        whole = True
    finally:
        folder.release()
        if not whole:
            # An incomplete import would look like a study.
            _remove(folder, before)


def _remove(folder: StudyFolder, before: set[Path] | None) -> None:
    """Delete what the import wrote, its mark last, and the folder if it did not exist before."""
    for file in set(folder.path.glob("*")) - (before or set()) - {folder.import_mark}:
        file.unlink(missing_ok=True)
    folder.end_import()
    if before is None:
        shutil.rmtree(folder.path, ignore_errors=True)
