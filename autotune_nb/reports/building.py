"""Builds the report and the charts of a study; every ``StudyHandle`` fulfils ``ReportableStudy``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from autotune_nb.errors import StudyError
from autotune_nb.reports.charts import ChartKind, HistoryChart, ImportanceChart
from autotune_nb.reports.dependence_chart import DependenceChart, dependence_chart
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.front_chart import FrontChart, front_points
from autotune_nb.reports.plots import history
from autotune_nb.reports.study_report import Report
from autotune_nb.results.exporting import Best
from autotune_nb.study import StudyFolder
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial


class ReportableStudy(Protocol):
    """What a report reads of a study."""

    @property
    def path(self) -> Path: ...

    @property
    def task(self) -> Task: ...

    @property
    def state(self) -> str: ...

    @property
    def history(self) -> tuple[Trial, ...]: ...

    @property
    def edits(self) -> tuple[Edit, ...]: ...

    @property
    def elapsed_s(self) -> float: ...

    @property
    def end_reason(self) -> str: ...

    @property
    def best(self) -> Best | None: ...

    @property
    def best_trial(self) -> Trial | None: ...

    @property
    def steering(self) -> Steering: ...

    @property
    def importances(self) -> Mapping[str, float]: ...


def full_report(study: ReportableStudy) -> Report:
    """Return the report with everything it can show."""
    best, importances, noted = study.best, study.importances, study.steering.notes
    return Report(
        trials=study.history,
        best=study.best_trial,
        objective=study.task.goal,
        command=best.command if best else None,
        edits=study.edits,
        task=study.task,
        importances=importances,
        name=study.path.name,
        state=str(study.state),
        elapsed_s=study.elapsed_s,
        end_reason=study.end_reason,
        manifest=best.manifest if best else None,
        storage=_storage_url(study.path),
        dependence=_dependence(study, importances),
        confirm=study.task.confirmation,
        notes={number: one.note for number, one in noted.items()},
        tags={number: one.tags for number, one in noted.items()},
    )


def brief_report(study: ReportableStudy) -> Report:
    """Return the report without the parts that take long: importances, the task and the environment."""
    best = study.best
    return Report(
        study.history,
        study.best_trial,
        study.task.goal,
        best.command if best else None,
        study.edits,
        state=str(study.state),
        elapsed_s=study.elapsed_s,
        end_reason=study.end_reason,
        confirm=study.task.confirmation,
    )


def chart_of(study: ReportableStudy, kind: ChartKind) -> Chart:
    """Return one chart of a study. Raises ValueError for an unknown kind."""
    if kind == "latency":
        return brief_report(study).chart()
    if kind == "history":
        return HistoryChart(history(study.history, study.task.goal), study.task.goal.direction)
    if kind == "importance":
        return ImportanceChart(study.importances)
    if kind == "dependence":
        return _dependence(study, study.importances)
    goal = study.task.goal
    if kind == "front" and goal.others:
        return FrontChart(front_points(study.history, goal), goal.figures)
    front = ", and front for several objectives" if kind == "front" else ""
    raise ValueError(f"there is no chart {kind!r}; there are latency, history, importance and dependence{front}")


def _dependence(study: ReportableStudy, importances: Mapping[str, float]) -> DependenceChart:
    return dependence_chart(study.task, study.steering.full_space, study.history, importances)


def _storage_url(folder: Path) -> str | None:
    """Return the URL of the study's storage, without a password; None for the folder's own database."""
    with contextlib.suppress(StudyError):
        about = StudyFolder(folder).metadata()
        return about["storage"] if about is not None else None
    return None
