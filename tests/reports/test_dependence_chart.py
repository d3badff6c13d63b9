"""The chart of partial dependence: which parameters it has, its panels, and a sentence where there is none."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.reports.dependence_chart import DependenceChart, dependence_chart
from autotune_nb.reports.drawing import COLOURS
from autotune_nb.reports.study_report import Report
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState

RATE = "output_tokens_per_s"
IMPORTANCES = {"slots": 0.6, "mode": 0.3, "batch": 0.08, "flag": 0.02}
PARAMETERS: dict[str, Any] = {
    "slots": {"type": "int", "low": 1, "high": 64, "log": True},
    "mode": ["eager", "<b>graph</b>", "a_mode_with_a_long_name"],
    "batch": [8, 2, 4],
    "flag": {"type": "bool"},
}


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(parameters=PARAMETERS, rules=[], objective=f"maximize {RATE}", limits=["ttft_p99_s <= 0.5"])


def trials_of(count: int, *, baseline: bool = False) -> list[Trial]:
    """Throughput grows with slots, and mode ``eager`` is the slowest."""
    rng = random.Random(4)
    trials = []
    for number in range(count):
        slots, mode = rng.choice([1, 2, 3, 8, 20, 64]), rng.choice(PARAMETERS["mode"])
        params = {"slots": slots, "mode": mode, "batch": rng.choice([2, 4, 8]), "flag": rng.random() < 0.5}
        value = 100 + 20 * np.log2(slots) - 60 * (mode == "eager")
        level = Level("D(1,2)", 1)
        measured = Measurement(level, 9.0, 9, 9, 0, {RATE: float(value), "e2e_latency_mean_s": 1.0})
        score = Score({RATE: float(value)}, {"ttft_p99_s <= 0.5": 0.1 if number % 5 == 0 else -0.1}, level)
        trials.append(Trial(number, params, TrialState.COMPLETE, (measured,), score, seconds={"deploy": 9.0}))
    if baseline:
        trials[0] = trials[0].with_(params={}, baseline=True)
    return trials


def chart_of(task: Task, trials: list[Trial], importances: dict[str, float] = IMPORTANCES) -> DependenceChart:
    return dependence_chart(task, space_for(task, engine_for(task)), trials, importances)


def test_the_parameters_that_matter_have_a_panel_with_prediction_interval_and_trials(task: Task) -> None:
    chart = chart_of(task, trials_of(30))
    # The fourth is not drawn.
    assert [one.parameter for one in chart.dependences] == ["slots", "mode", "batch"]
    frame = chart.frame()
    assert list(frame.columns) == ["parameter", "value", RATE, f"{RATE}_low", f"{RATE}_high", "trials"]
    assert (frame[f"{RATE}_low"] < frame[RATE]).all() and (frame[RATE] < frame[f"{RATE}_high"]).all()
    slots = frame[frame["parameter"] == "slots"]
    assert slots["value"].is_monotonic_increasing and slots[RATE].is_monotonic_increasing
    assert frame[frame["parameter"] == "batch"]["value"].to_list() == [2, 4, 8]
    assert frame[frame["parameter"] == "mode"]["trials"].sum() == 30
    assert [axis.title.text.partition(", highest at ")[0] for axis in axes_of(chart)] == ["slots", "mode", "batch"]
    assert axes_of(chart)[0].title.text == "slots, highest at 64"


def axes_of(chart: DependenceChart) -> list[Any]:
    layout = chart.figure().layout
    return [layout[f"xaxis{i or ''}"] for i in (0, 2, 3)][: len(chart.dependences)]


def test_uncertainty_is_shaded_and_trials_that_break_a_limit_have_their_own_marker(task: Task) -> None:
    chart = chart_of(task, trials_of(30))
    figure = chart.figure()
    slots, mode = ([t for t in figure.data if t.xaxis == axis] for axis in ("x", "x2"))
    low, high = slots[:2]
    assert high.fill == "tonexty" and all(a < b for a, b in zip(low.y, high.y, strict=True))
    # A category has a bar of its own.
    assert mode[0].type == "bar" and len(mode[0].base) == 3
    assert {t.marker.symbol for t in slots if t.mode == "markers"} == {"circle", "x"}
    # 3 and 20 slots lie between the values that are predicted.
    places = {x for t in slots if t.mode == "markers" for x in t.x}
    assert any(x != int(x) for x in places) and all(0 <= x <= 11 for x in places)
    assert "<b>" not in "".join(mode[-1].text)
    assert figure.layout.yaxis.title.text == f"{RATE}, tokens/s"


def test_the_image_has_every_panel_and_can_be_read_in_print(task: Task) -> None:
    picture = ET.fromstring(chart_of(task, trials_of(30)).svg())
    words = [node.text or "" for node in picture.iter() if node.tag.endswith("}text")]
    assert "slots, highest at 64" in words and "<b>graph</b>" in words
    assert any(word.startswith("What the model predicts by the value of one parameter") for word in words)
    sizes = [float(word.split("px")[0].split()[-1]) for word in ET.tostring(picture).decode().split("font-size:")[1:]]
    assert min(sizes) / 576 * 16 / 2.54 * 72 >= 7.5


def test_the_band_is_wide_where_nothing_was_tried(task: Task) -> None:
    tried = [one for one in trials_of(60) if one.params["slots"] <= 8]  # type: ignore[operator]
    frame = chart_of(task, tried).frame()
    slots = frame[frame["parameter"] == "slots"]
    width = (slots[f"{RATE}_high"] / slots[f"{RATE}_low"]).to_list()
    assert width[-1] > 1.5 * width[0]


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_trials_are_one_sentence(task: Task, count: int) -> None:
    chart = chart_of(task, trials_of(count, baseline=count > 1), {})
    complete = count - (count > 1)
    note = f"A model of the parameters needs 10 complete trials besides the default; there are {complete}."
    assert (chart.dependences, chart.title) == ((), note)
    assert chart.frame().empty
    report = Report(tuple(trials_of(count)), None, task.goal, None, task=task, dependence=chart)
    assert (note in report.to_html()) is bool(count)
    assert chart not in report.charts()
    assert note in chart.svg()


def test_trials_that_are_all_alike_and_models_that_cannot_be_fitted_are_one_sentence(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = trials_of(12)
    assert chart_of(task, trials, {}).title == "No parameter distinguishes the trials: all are alike."

    def fail(*_: Any) -> Any:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(np.linalg, "cholesky", fail)
    title = "No model could be fitted to the 12 complete trials, so that there is no partial dependence."
    assert chart_of(task, trials).title == title


def test_a_parameter_with_a_single_value_has_no_panel(make_task: Callable[..., Task]) -> None:
    task = make_task(parameters={"slots": [3], "mode": ["a"]}, rules=[])
    trials = [one.with_(params={"slots": 3, "mode": "a"}) for one in trials_of(12)]
    chart = chart_of(task, trials, {"slots": 1.0})
    assert chart.title == "The parameters have a single allowed value each, so that there is no partial dependence."


def test_colours_are_those_of_the_other_charts(task: Task) -> None:
    svg = chart_of(task, trials_of(20)).svg()
    assert COLOURS["other"].lower() in svg and COLOURS["infeasible"].lower() in svg
