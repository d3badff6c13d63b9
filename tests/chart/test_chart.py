"""The charts of ``at.chart``: the same from a study, its folder, its tables and their files."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import autotune_nb as at
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.recorded.long_table import long_table
from autotune_nb.results.importing import import_results
from autotune_nb.results.table import trials_frame
from tests.benchmarks.samples import Samples, sample_task

GOAL = {"objective": "maximize output_tokens_per_s", "limits": ["ttft_p99_s <= 0.2", "tpot_mean_s <= 0.09"]}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The measurements of a study in long form, the study that imported them, and its ``run.trials``."""
    samples = Samples(sample_task(16))
    begun = [samples.begun(number) for number in range(16)]
    trials = [samples.ended(trial, samples.measurements(dict(trial.params))) for trial in begun]
    folder = tmp_path_factory.mktemp("chart")
    long = long_table(trials, lambda _one: None)
    long.to_csv(folder / "levels.csv", index=False)
    import_results(folder / "levels.csv", folder / "study", objective=GOAL["objective"], limits=GOAL["limits"])
    study = at.open(folder / "study")
    study.trials.to_csv(folder / "trials.csv")
    return {"folder": folder, "study": study, "long": long, "trials": study.trials}


def test_a_chart_is_the_same_from_a_study_its_folder_and_every_table_of_it(tables: dict[str, Any]) -> None:
    folder = tables["folder"]
    whole = at.chart.data.history(tables["study"])
    assert whole["feasible"].nunique() == 2
    of_trials = (folder / "study", str(folder / "trials.csv"), tables["trials"], tables["trials"].reset_index())
    for source in of_trials:
        assert_frame_equal(at.chart.data.history(source), whole)
    for source in (tables["long"], folder / "levels.csv"):
        assert_frame_equal(at.chart.data.history(source, **GOAL), whole)
    curves = at.chart.data.latency_throughput(folder / "levels.csv", **GOAL)
    assert_frame_equal(curves, at.chart.data.latency_throughput(tables["study"]))
    # The names of the parameters and the values of the trials, without a study's space.
    shares = at.chart.data.importance(tables["trials"])
    assert set(shares["parameter"]) == set(tables["study"].task.parameters)


def test_every_chart_has_a_plotly_figure_data_and_a_matplotlib_figure(tables: dict[str, Any]) -> None:
    import matplotlib.figure
    import plotly.graph_objects as go

    names = [name for name in at.chart.__all__ if name not in ("data", "matplotlib")]
    assert names == at.chart.data.__all__ == at.chart.matplotlib.__all__
    for name in names:
        more = {"objective": ["maximize output_tokens_per_s", "minimize ttft_p99_s"]} if name == "front" else {}
        source = tables["long"] if name == "front" else tables["study"]
        figure = getattr(at.chart, name)(source, **more)
        assert isinstance(figure, go.Figure)
        assert figure.data
        assert isinstance(getattr(at.chart.data, name)(source, **more), pd.DataFrame)
        drawn = getattr(at.chart.matplotlib, name)(source, **more)
        assert isinstance(drawn, matplotlib.figure.Figure)
        assert drawn.axes
        assert "source" in inspect.signature(getattr(at.chart, name)).parameters
        assert inspect.getdoc(getattr(at.chart, name))


def test_what_cannot_be_drawn_is_one_clear_error(tables: dict[str, Any], tmp_path: Path) -> None:
    wrong: list[tuple[type[Exception], str, Any]] = [
        (StudyError, "expected a study, a run, the path", lambda: at.chart.history(7)),  # type: ignore[arg-type]
        (StudyError, "there is no study in", lambda: at.chart.history(tmp_path / "none")),
        (StudyError, "is no table of trials: expected the columns", lambda: at.chart.history(pd.DataFrame({"a": [1]}))),
        (StudyError, "give the study itself, or the table", lambda: at.chart.latency_throughput(tables["trials"])),
        (StudyError, "has one objective, output_tokens_per_s", lambda: at.chart.front(tables["study"])),
        (TaskError, "a study has its objective and limits", lambda: at.chart.history(tables["study"], **GOAL)),
        (StudyError, "has no trial that ended", lambda: at.chart.history(trials_frame([], sample_task(2).goal))),
    ]
    for kind, message, call in wrong:
        with pytest.raises(kind, match=message):
            call()
