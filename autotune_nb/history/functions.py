"""``studies`` and ``compare``: the functions that notebooks and the command line call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_nb.errors import StudyError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.history.comparability import incomparable
from autotune_nb.history.comparison import MARGIN
from autotune_nb.history.comparison_report import ComparisonReport
from autotune_nb.history.study_table import studies_frame, study_folders
from autotune_nb.opened import OpenedStudy
from autotune_nb.run import live_run
from autotune_nb.study import StudyFolder
from autotune_nb.study.steering import enqueue_edit
from autotune_nb.task.task import Task

if TYPE_CHECKING:
    import pandas as pd

    from autotune_nb.study import Study


def studies(*sources: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Return a table of studies: those that patterns match, such as ``runs/*`` (the default), and named folders.

    There is one row per study, the oldest first: its state, task, model, engine with version and GPUs, how many trials,
    the best value with its trial and parameters, the verdict, when it was created and changed, and what it cost. A
    study that cannot be read is a row with the reason in ``error``. Raises StudyError if there is none at all.
    """
    return studies_frame(study_folders(*sources))


def compare(
    before: str | Path | StudyHandle,
    after: str | Path | StudyHandle,
    *,
    figure: str | None = None,
    margin: float = MARGIN,
) -> ComparisonReport:
    """Compare two studies of one space, such as with another engine version, model or GPU.

    For each configuration: by how much ``figure`` (by default the objective) changed, with an interval if repeated
    starts show the noise, and whether that is better, worse, or no difference larger than ``margin``. All intervals
    hold together with 95 %. If workloads, objectives or prompts differ, nothing is compared and the reasons are given.

    Raises StudyError if a study cannot be read or has no complete trial, TaskError for an invalid argument.
    """
    if not 0 < margin < 1:
        raise TaskError(f"expected a number between 0 and 1, such as 0.03, not {margin!r}", field="margin")
    one, other = _opened(before), _opened(after)
    return ComparisonReport(one, other, (_name(before, one), _name(after, other)), figure=figure, margin=margin)


def _opened(study: str | Path | StudyHandle) -> StudyHandle:
    if isinstance(study, StudyHandle):
        return study
    return live_run(StudyFolder(study).path) or OpenedStudy(study)


def _name(given: str | Path | StudyHandle, study: StudyHandle) -> str:
    return study.path.name if isinstance(given, StudyHandle) else str(given)


def require_baseline(baseline: str | Path | StudyHandle, task: Task) -> StudyHandle:
    """Return the study of a baseline. Raises StudyError if the figures of a task could not be compared with it."""
    opened = _opened(baseline)
    if reasons := incomparable(opened, _Planned(task)):
        name = _name(baseline, opened)
        raise StudyError(f"the baseline {name} cannot be compared with this task: {'; '.join(reasons)}")
    if opened.best_configuration is None:
        raise StudyError(f"the baseline {_name(baseline, opened)} has no trial that keeps every limit")
    return opened


class _Planned:
    """A study without trials."""

    history = ()

    def __init__(self, task: Task) -> None:
        self.task = task


def enqueue_best(baseline: StudyHandle, study: Study) -> None:
    """Enqueue the baseline's best configuration, so that it is measured again, unless the study has it already.

    Raises TaskError if the study's space does not allow it.
    """
    best = baseline.best_configuration
    if best is None or best.baseline:
        return
    params = dict(best.params)
    known = [*(dict(trial.params) for trial in study.trials), *(point for _, point in study.steering.pending({}))]
    if params not in known:
        study.steer(enqueue_edit(params, origin=f"the best configuration of {baseline.path}, the baseline"))
