"""A study's trials as a recorded table."""

from __future__ import annotations

from autotune_nb.recorded import RecordedTable
from autotune_nb.results.exporting import ExportableStudy, gpus_of_trial


def table_of_study(study: ExportableStudy, *, name: str) -> RecordedTable:
    """Return the recorded table of a study's finished trials. Raises StudyError if there is none."""
    gpus = gpus_of_trial(study.task)
    return RecordedTable.of_trials(name, study.history, {one.number: gpus(one) for one in study.history})
