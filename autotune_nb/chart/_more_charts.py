"""Charts of something else than one table of trials: an engine's own metrics, and the comparison of two studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_nb.chart._source import ChartedStudy, Source, table_file
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.history.comparison_report import ComparisonReport
from autotune_nb.recorded.file import read_frame
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.metric_series import frame_series, latest_attempt, metric_series
from autotune_nb.reports.metrics_chart import MetricsChart
from autotune_nb.study.folder import StudyFolder

if TYPE_CHECKING:
    import pandas as pd


def engine_metrics(source: Source, *, trial: int | None = None) -> Chart:
    """Draw what the engine and the GPUs of one trial reported over time, a panel per metric.

    Args:
        source: A study, a run, the folder of a study, or the data of this chart: a DataFrame, or the path of a CSV or
            parquet file, with the columns metric, unit, seconds and value.
        trial: The number of the trial; by default the latest one with metrics. Of a table it is only in the title.

    Raises StudyError if there are no metrics, TaskError for a trial that does not exist.
    """
    if isinstance(source, str | Path):
        if (file := table_file(source)) is not None:
            return _of_frame(read_frame(file), trial)
        from autotune_nb.session import open as open_study

        source = open_study(source)
    if not isinstance(source, StudyHandle):
        return _of_frame(source, trial)
    numbers = [one.number for one in source.history]
    if trial is not None and trial not in numbers:
        raise TaskError(f"there is no trial {trial!r}; there are {len(numbers)}", field="trial")
    for number in [trial] if trial is not None else reversed(numbers):
        series = metric_series(latest_attempt(StudyFolder(source.path).trial_folder(number)))
        if series:
            return MetricsChart(number, tuple(series))
    which = "no trial of the study" if trial is None else f"trial {trial}"
    raise StudyError(
        f"{which} has metrics of its engine: the engine has none, or they are off (llama.cpp has --metrics, SGLang "
        "--enable-metrics)"
        if trial is None
        else f"{which} has no metrics of its engine"
    )


def _of_frame(frame: pd.DataFrame, trial: int | None) -> MetricsChart:
    needed = ("metric", "unit", "seconds", "value")
    columns = [str(name) for name in getattr(frame, "columns", ())]
    if missing := [name for name in needed if name not in columns]:
        raise StudyError(
            f"expected a study, its folder, or a table with the columns {', '.join(needed)}; "
            f"{'it lacks ' + ', '.join(missing) if columns else f'not {frame!r:.80}'}"
        )
    try:
        series = frame_series(frame)
    except (TypeError, ValueError) as error:
        raise StudyError(f"seconds and value of a table of metrics must be numbers: {error}") from None
    if not series:
        raise StudyError("the table of metrics has no rows")
    return MetricsChart(trial, tuple(series))


def comparison(
    before: Source,
    after: Source,
    *,
    figure: str | None = None,
    objective: str | Sequence[str] | None = None,
    limits: Sequence[str] = (),
) -> Chart:
    """Draw how much a figure of each configuration changed from one study to another, with its interval.

    Args:
        before: A study, a run, the folder of a study, a DataFrame (``run.trials``, or measurements in long form), or
            the path of a CSV or parquet file.
        after: The other one.
        figure: The figure to compare, such as ``ttft_p99_s``; by default the objective.
        objective: Of tables, such as ``"maximize output_tokens_per_s"``; a study and ``run.trials`` have their own.
        limits: Of tables, such as ``["ttft_p99_s <= 0.5"]``.

    Raises StudyError if there is no study or table, or nothing to compare, TaskError for an invalid argument.
    """
    if figure is not None and not isinstance(figure, str):
        raise TaskError(f"expected the name of a figure, such as 'ttft_p99_s', not {figure!r:.80}", field="figure")
    names = tuple(_name(source, other) for source, other in ((before, "before"), (after, "after")))
    one, other = (
        ChartedStudy.of(source, *((None, ()) if _is_study(source) else (objective, limits)))
        for source in (before, after)
    )
    found = ComparisonReport(one, other, (names[0], names[1]), figure=figure)
    if found.not_comparable:
        raise StudyError(f"{names[0]} and {names[1]} cannot be compared: {'; '.join(found.not_comparable)}")
    return found.chart()


def _is_study(source: Source) -> bool:
    return isinstance(source, StudyHandle) or (isinstance(source, str | Path) and table_file(source) is None)


def _name(source: Source, other: str) -> str:
    if isinstance(source, StudyHandle):
        return source.path.name
    return Path(source).name if isinstance(source, str | Path) else other
