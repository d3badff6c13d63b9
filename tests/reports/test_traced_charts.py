"""The charts that the monitor and a notebook draw from the same traces: parallel coordinates, slices, timeline, …"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autotune_nb.reports.metric_series import MetricSeries
from autotune_nb.reports.metrics_chart import MetricsChart
from autotune_nb.reports.parallel_chart import parallel_chart
from autotune_nb.reports.plots import history
from autotune_nb.reports.progress_chart import ProgressChart
from autotune_nb.reports.slice_chart import slice_chart
from autotune_nb.reports.timeline_chart import timeline_chart
from autotune_nb.reports.traced_chart import TracedChart
from autotune_nb.reports.value_axis import UNSET, ValueAxis
from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import best_trial
from autotune_nb.trial.trial import Trial, TrialState
from tests.widgets.stub_handle import LIMIT, complete, measured


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(limits=[LIMIT])


def trials() -> list[Trial]:
    default = complete(0, 40.0).with_(baseline=True, params={})
    values: list[dict[str, Any]] = [{"threads": n, "kind": "ab"[n % 2], "same": 1} for n in range(1, 10)]
    usual = [complete(n, 40.0 + n, violation=0.1 if n == 9 else -0.1, **one) for n, one in enumerate(values, 1)]
    return [default, *usual, Trial(10, {"threads": 8, "kind": "a", "same": 1}, TrialState.FAILED)]


def test_values_are_at_their_distances_and_texts_evenly() -> None:
    numbers = ValueAxis.of("n", [3, 1, 2, 3, None])
    assert [numbers.place(one) for one in (1, 2, 3, None, "x")] == [0, 0.5, 1, UNSET, UNSET]
    wide = ValueAxis.of("n", [1, 4, 16])
    assert [wide.place(one) for one in (1, 4, 16)] == [0, 0.5, 1]
    # True is not 1.
    texts = ValueAxis.of("t", ["b", "a", True, 1])
    assert [texts.place(one) for one in ("b", "a", True, 1)] == [0.125, 0.375, 0.625, 0.875]
    assert [text for _, text in ValueAxis.of("n", range(100)).ticks][-1] == "99"
    assert len(ValueAxis.of("n", range(100)).ticks) < 10
    assert ValueAxis.of("n", [7]).ticks == [(0.5, "7")]


def every_chart(task: Task) -> list[TracedChart]:
    found, goal = trials(), task.goal
    best, shares = best_trial(found, goal), {"threads": 0.7, "kind": 0.3}
    return [
        parallel_chart(found, best, goal, shares),
        slice_chart(found, best, goal, shares),
        timeline_chart(found, 2),
        ProgressChart(history(found, goal), goal.direction, 0.05, 20),
        MetricsChart(3, (MetricSeries("KV cache", "share", (0.0, 1.0), (0.1, 0.5)),)),
    ]


def test_every_chart_is_a_plotly_figure_an_image_and_a_table(task: Task) -> None:
    for chart in every_chart(task):
        figure = chart.figure()
        assert len(figure.data) == len(chart.traces()), type(chart).__name__
        assert chart.svg().startswith("<?xml"), type(chart).__name__
        assert len(chart.frame()) > 1, type(chart).__name__
        assert chart.title


def test_parallel_coordinates_leave_out_what_does_not_vary_and_end_at_the_objective(task: Task) -> None:
    found = trials()
    chart = parallel_chart(found, best_trial(found, task.goal), task.goal, {"threads": 0.7, "kind": 0.3})
    # The most important parameter is next to the objective.
    assert chart.parameters == ("kind", "threads")
    assert "1 with a single value" in chart.title
    drawn = chart.traces()
    assert [drawn[name]["customdata"][0] for name in ("best", "engine's default", "breaks a limit", "failed")] == [
        8,
        0,
        9,
        10,
    ]
    assert drawn["engine's default"]["y"][:2] == [UNSET, UNSET]
    assert drawn["failed"]["y"][2] == UNSET
    assert drawn["breaks a limit"]["y"][2] == 1
    assert parallel_chart([], None, task.goal, {}).traces() == {}


def test_less_is_higher_if_the_objective_is_minimized(make_task: Callable[..., Task]) -> None:
    goal = make_task(objective="minimize output_tokens_per_s").goal
    found = [complete(1, 10.0, threads=1), complete(2, 30.0, threads=2)]
    drawn = parallel_chart(found, best_trial(found, goal), goal, {}).traces()
    assert (drawn["best"]["customdata"][0], drawn["best"]["y"][1]) == (1, 1)


def test_slices_have_a_panel_for_the_importances_and_one_per_parameter(task: Task) -> None:
    found = trials()
    chart = slice_chart(found, best_trial(found, task.goal), task.goal, {"threads": 0.7, "kind": 0.3})
    assert chart.title.startswith("threads matters most: 70 %")
    assert chart.traces()["importance"]["y"] == ["kind", "threads"]
    axes = chart.axes()
    assert [axes[name]["title"]["text"] for name in ("xaxis2", "xaxis3")] == ["threads · 70%", "kind · 30%"]
    without = slice_chart(found, best_trial(found, task.goal), task.goal, {})
    assert "importance" not in without.traces() and "ten complete trials" in without.title


def test_a_timeline_of_trials_without_times_says_so() -> None:
    one = Trial(0, {}, TrialState.COMPLETE)
    assert timeline_chart([one], 2).title == "The trials have no times"
    assert timeline_chart([one], 2).traces() == {}
    assert timeline_chart([Trial(1, {})], 2).title == "No trial has ended"
    timed = Trial(1, {}, TrialState.COMPLETE, seconds={"deploy": 2.0})
    assert timeline_chart([one, timed], 2).title.endswith("(1 without times left out)")


def test_a_timeline_of_levels_without_durations_has_their_trial_as_a_whole() -> None:
    level = replace(measured(1, 40.0), duration_s=0.0)
    imported = Trial(0, {}, TrialState.FAILED, (level,), seconds={"deploy": 620.0, "benchmark": 0.0})
    assert [(span.phase, span.seconds) for span in timeline_chart([imported], 1).spans] == [("failed", 620.0)]


def test_the_timeline_has_each_slot_without_gaps_or_overlaps(task: Task) -> None:
    times = {"queue": 5.0, "deploy": 40.0, "benchmark": 10.0, "stop": 5.0}
    found = [complete(n, 5.0).with_(seconds=times) for n in range(4)]
    found.append(Trial(4, {}, TrialState.FAILED, seconds={"deploy": 30.0}))
    chart = timeline_chart(found, 2)
    frame = chart.frame()
    assert sorted(frame["slot"].unique()) == [1, 2]
    for _, own in frame.groupby("slot"):
        assert list(own["began_s"].round(6))[1:] == list((own["began_s"] + own["seconds"]).round(6))[:-1]
    # Two levels of two seconds each share the time of the benchmark.
    assert list(frame[frame["trial"] == 0]["phase"]) == ["queue", "deploy", "benchmark", "level", "stop"]
    assert list(frame[frame["trial"] == 4]["phase"]) == ["failed"]
    assert frame["seconds"].sum() == pytest.approx(4 * 60 + 30)
    assert chart.title.startswith("4 min of trials: start of the engine 59%, load levels 15%")


def test_the_progress_shows_what_another_trial_is_expected_to_gain(task: Task) -> None:
    found = history([complete(1, 50.0), complete(2, 40.0)], task.goal)
    chart = ProgressChart(found, "maximize", 0.1, 20)
    assert chart.traces()["expected"]["y"] == pytest.approx([50, 55])
    assert chart.title.startswith("Best so far") and chart.title.endswith("is expected to gain 10.0 %")
    over = ProgressChart(found, "maximize", over=True)
    assert over.title.startswith("Best: 50 tokens/s") and "expected" not in over.traces()
    assert ProgressChart(history([], task.goal)).traces() == {}
