"""The charts of ``at.chart``: the same from a study, its folder, its tables and their files."""

from __future__ import annotations

import inspect
import json
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
from autotune_nb.study.folder import StudyFolder
from autotune_nb.task.task import Task
from tests.benchmarks.samples import DATA, Samples, sample_task

GOAL = {"objective": "maximize output_tokens_per_s", "limits": ["ttft_p99_s <= 0.2", "tpot_mean_s <= 0.09"]}
METRICS = pd.DataFrame(
    {
        "metric": ["KV cache", "KV cache", "running requests", "running requests"],
        "unit": ["share", "share", None, None],
        "seconds": [0.0, 1.0, 0.0, 1.0],
        "value": [0.1, 0.4, 3.0, 4.0],
    }
)


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
    # One limit needs no list.
    one = at.chart.data.history(tables["long"], objective=GOAL["objective"], limits="ttft_p99_s <= 0.2")
    assert one["feasible"].sum() >= whole["feasible"].sum()
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
        sources = {"front": (tables["long"],), "comparison": (tables["study"],) * 2, "engine_metrics": (METRICS,)}
        # Of few trials, since the models are fitted for each.
        sources["expected_gain"] = (tables["trials"].head(7),)
        given = sources.get(name, (tables["study"],))
        figure = getattr(at.chart, name)(*given, **more)
        assert isinstance(figure, go.Figure)
        assert figure.data
        assert isinstance(getattr(at.chart.data, name)(*given, **more), pd.DataFrame)
        drawn = getattr(at.chart.matplotlib, name)(*given, **more)
        assert isinstance(drawn, matplotlib.figure.Figure)
        assert drawn.axes
        assert {"source", "before"} & set(inspect.signature(getattr(at.chart, name)).parameters)
        assert (inspect.getdoc(getattr(at.chart, name)) or "").count("Args:") == 1


def test_what_cannot_be_drawn_is_one_clear_error(tables: dict[str, Any], tmp_path: Path) -> None:
    wrong: list[tuple[type[Exception], str, Any]] = [
        (StudyError, "expected a study, a run, the path", lambda: at.chart.history(7)),  # type: ignore[arg-type]
        (StudyError, "there is no study in", lambda: at.chart.history(tmp_path / "none")),
        (StudyError, "is no table of trials: expected the columns", lambda: at.chart.history(pd.DataFrame({"a": [1]}))),
        (StudyError, "give the study itself, or the table", lambda: at.chart.latency_throughput(tables["trials"])),
        (StudyError, "has one objective, output_tokens_per_s", lambda: at.chart.front(tables["study"])),
        (TaskError, "a study has its objective and limits", lambda: at.chart.history(tables["study"], **GOAL)),
        (StudyError, "has no trial that ended", lambda: at.chart.history(trials_frame([], sample_task(2).goal))),
        (StudyError, "not a table without columns", lambda: at.chart.history(pd.DataFrame())),
        (
            StudyError,
            "has several columns config_id",
            lambda: at.chart.history(pd.concat([tables["long"]] * 2, axis=1)),
        ),
        (StudyError, "it has a null byte", lambda: at.chart.history("a\0b")),
        (StudyError, "cannot be read: File name too long", lambda: at.chart.history("x" * 5000)),
        (TaskError, "expected a text such as 'ttft_p99", lambda: at.chart.history(tables["long"], limits=[7])),  # type: ignore[list-item]
        (TaskError, "expected a text such as 'maxi", lambda: at.chart.history(tables["long"], objective=7)),  # type: ignore[arg-type]
        (
            TaskError,
            "expected the name of a figure",
            lambda: at.chart.comparison(tables["study"], tables["study"], figure=7),
        ),  # type: ignore[arg-type]
        (
            StudyError,
            "must be numbers: could not convert",
            lambda: at.chart.engine_metrics(METRICS.assign(seconds="x")),
        ),
        (StudyError, "has no rows", lambda: at.chart.engine_metrics(METRICS.assign(seconds=float("nan")))),
    ]
    for kind, message, call in wrong:
        with pytest.raises(kind, match=message):
            call()


def test_the_metrics_of_an_engine_are_those_of_a_trial_or_of_their_own_table(
    tables: dict[str, Any], tmp_path: Path
) -> None:
    METRICS.to_csv(tmp_path / "metrics.csv", index=False)
    assert_frame_equal(at.chart.data.engine_metrics(tmp_path / "metrics.csv"), METRICS.fillna({"unit": ""}))
    share, count = at.chart.matplotlib.engine_metrics(METRICS).axes
    assert (share.get_title(), count.get_title(), share.get_xlabel()) == ("KV cache", "running requests", "s")
    assert share.yaxis.get_major_formatter()(0.4) == "40%"
    assert "the engine of trial 7 reported" in at.chart.engine_metrics(METRICS, trial=7).layout.title.text
    with pytest.raises(StudyError, match="no trial of the study has metrics of its engine"):
        at.chart.engine_metrics(tables["study"])
    with pytest.raises(TaskError, match="there is no trial 99"):
        at.chart.engine_metrics(tables["study"], trial=99)
    with pytest.raises(StudyError, match="it lacks metric, unit, value"):
        at.chart.engine_metrics(tables["trials"])
    folder = StudyFolder(tables["folder"] / "study").trial_folder(3)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"time": 100.0 + i, "running_requests": 2 + i} for i in range(3)]
    (folder / "engine_metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = at.chart.data.engine_metrics(tables["study"])
    assert found[["seconds", "value"]].to_numpy().tolist() == [[0.0, 2.0], [1.0, 3.0], [2.0, 4.0]]
    assert_frame_equal(at.chart.data.engine_metrics(found), found)


def test_two_tables_are_compared_as_two_studies_are(tables: dict[str, Any]) -> None:
    faster = tables["long"].assign(output_tokens_per_s=tables["long"]["output_tokens_per_s"] * 1.25)
    found = at.chart.data.comparison(tables["folder"] / "levels.csv", faster, objective=GOAL["objective"])
    assert len(found) > 5
    assert found["change"].to_numpy() == pytest.approx(0.25)
    figure = at.chart.comparison(tables["folder"] / "levels.csv", faster, objective=GOAL["objective"])
    assert "from levels.csv to after" in figure.layout.xaxis.title.text
    with pytest.raises(StudyError, match="cannot be compared"):
        at.chart.comparison(tables["study"], faster, objective="minimize ttft_p99_s")


def test_the_expected_gain_is_that_of_the_trials_until_then(tables: dict[str, Any]) -> None:
    found = at.chart.data.expected_gain(tables["study"])
    assert found["number"].is_monotonic_increasing
    assert found["number"].iloc[-1] == tables["study"].history[-1].number
    assert (found["expected_gain_percent"] >= 0).all() and (found["seconds"] > 0).all()
    with pytest.raises(StudyError, match="nothing is predicted of 3 trials"):
        at.chart.expected_gain(tables["trials"].head(3))
    with pytest.raises(StudyError, match="the expected gain is that of one"):
        at.chart.expected_gain(tables["long"], objective=["maximize output_tokens_per_s", "minimize ttft_p99_s"])


def test_the_objective_of_the_table_of_trials_is_read_from_its_columns() -> None:
    task = Task.parse({**DATA, "objective": "minimize ttft_p99_s", "limits": []})
    samples = Samples(task)
    trials = [samples.ended(one, samples.measurements(dict(one.params))) for one in map(samples.begun, range(6))]
    figure = at.chart.history(trials_frame(trials, task.goal))
    assert figure.layout.yaxis.title.text == "ttft_p99_s, s"
    assert "lower is better" in figure.layout.title.text
