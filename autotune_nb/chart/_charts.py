"""The charts by their public names: each reads a source and returns its chart.

``source`` is a study, a run, a folder of a study, a DataFrame or a CSV or parquet file; ``objective`` (such as
``"maximize output_tokens_per_s"``) and ``limits`` (such as ``["ttft_p99_s <= 0.5"]``) are those of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.chart._source import ChartedStudy, Source
from autotune_nb.errors import StudyError
from autotune_nb.reports import plots
from autotune_nb.reports.charts import HistoryChart, ImportanceChart, LatencyChart
from autotune_nb.reports.dependence_chart import dependence_chart
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.front_chart import FrontChart, front_points
from autotune_nb.reports.parallel_chart import parallel_chart
from autotune_nb.reports.slice_chart import slice_chart
from autotune_nb.reports.timeline_chart import timeline_chart


def latency_throughput(
    source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()
) -> Chart:
    """Draw latency against throughput: a curve per trial through its load levels, and the Pareto front."""
    study = ChartedStudy.of(source, objective, limits)
    curves = plots.latency_throughput(study.trials, study.best, study.goal.limits)
    if not curves:
        raise StudyError(
            "no trial has output_tokens_per_s and e2e_latency_mean_s: give the study itself, or the table that "
            "autotune-nb export --as csv writes"
        )
    return LatencyChart(tuple(curves))


def history(source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()) -> Chart:
    """Draw the objective's value trial by trial, and the best so far."""
    study = ChartedStudy.of(source, objective, limits)
    return HistoryChart(plots.history(study.trials, study.goal), study.goal.direction)


def importance(source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()) -> Chart:
    """Draw the share of each parameter in what distinguishes the best trials; it needs ten complete trials."""
    return ImportanceChart(ChartedStudy.of(source, objective, limits).importances)


def dependence(source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()) -> Chart:
    """Draw what a model predicts by the value of the most important parameters; it needs ten complete trials."""
    study = ChartedStudy.of(source, objective, limits)
    return dependence_chart(study.task, study.space, study.trials, study.importances)


def front(source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()) -> Chart:
    """Draw the configurations by the first two of several objectives, and their Pareto front."""
    study = ChartedStudy.of(source, objective, limits)
    if not study.goal.others:
        raise StudyError(
            f"the study has one objective, {study.goal.figure}, and so no front; history draws its course. Of a "
            'table, give several: objective=["maximize output_tokens_per_s", "minimize ttft_p99_s"]'
        )
    return FrontChart(front_points(study.trials, study.goal), study.goal.figures)


def parallel_coordinates(
    source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()
) -> Chart:
    """Draw a line per trial, from its value of each parameter to its objective; the most important ones are last."""
    study = ChartedStudy.of(source, objective, limits)
    return parallel_chart(study.trials, study.best, study.goal, study.importances)


def slice(  # noqa: A001 - as Optuna calls it
    source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()
) -> Chart:
    """Draw the importances, and a panel per parameter with the objective of each trial by its value."""
    study = ChartedStudy.of(source, objective, limits)
    return slice_chart(study.trials, study.best, study.goal, study.importances)


def timeline(source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()) -> Chart:
    """Draw where the hours went: the phases of each trial on each place for a trial."""
    study = ChartedStudy.of(source, objective, limits)
    return timeline_chart(study.trials, study.task.deploy.parallel)
