"""The charts' traces, and that only changed ones are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly import missing_anywidget

from autotune_nb.reports.charts import LatencyChart
from autotune_nb.reports.plots import history, latency_throughput, short_names
from autotune_nb.reports.study_report import Report
from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import best_trial
from autotune_nb.trial.score import Limit
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets import _chart
from autotune_nb.widgets._chart import ChartData, LiveChart
from autotune_nb.widgets._figure import figure_widget
from tests.widgets.stub_handle import LIMIT, NASTY, complete


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(limits=[LIMIT])


@pytest.fixture
def chart() -> Iterator[LiveChart]:
    chart = LiveChart()
    chart.claim("owner", lambda _number: None)
    yield chart
    chart.figure.close()


def data(trials: Sequence[Trial], task: Task, *running: int, **shares: float) -> ChartData:
    best = best_trial(trials, task.goal)
    return ChartData(
        latency_throughput(trials, best), frozenset(running), history(trials, task.goal), shares, task.goal.direction
    )


def drawn(chart: LiveChart) -> dict[str, list[Any]]:
    """Return the trial numbers in each trace."""
    found = {}
    for name, trace in chart._by_name.items():
        if trace.customdata is not None and len(trace.customdata):
            found[name] = list(dict.fromkeys(int(n) for n in trace.customdata))
    return found


def test_every_trial_is_in_the_trace_of_its_role(chart: LiveChart, task: Task) -> None:
    default = complete(0, 40.0).with_(baseline=True, params={})
    trials = [default, complete(1, 60.0), complete(2, 90.0), complete(3, 99.0, violation=0.1), complete(4, 5.0)]
    trials[4] = trials[4].with_(state=TrialState.RUNNING, score=None)
    assert chart.show(data(trials, task, 4), "owner") > 0
    assert drawn(chart) == {
        "default": [0],
        "other": [1],
        "best": [2],
        "infeasible": [3],
        "running": [4],
        "value": [0, 1, 2],
        "broken": [3],
    }
    best = chart._by_name["best"]
    # A curve ends with a gap, so that the next one is not joined to it.
    np.testing.assert_array_equal(best.x, np.array([45, 90, np.nan]))
    np.testing.assert_array_equal(best.y, np.array([0.2, 0.4, np.nan], dtype=np.float32))
    assert list(chart._by_name["sofar"].y) == [40, 60, 90, 90]
    assert chart.figure.layout.annotations[1].text == "<b>Best so far: 90 tokens/s (higher is better)</b>"


def test_a_level_that_breaks_a_limit_is_marked_and_not_on_the_front(chart: LiveChart, task: Task) -> None:
    trials = [complete(1, 60.0), complete(2, 90.0)]
    limits = [Limit.parse("e2e_latency_mean_s <= 0.3")]
    found = data(trials, task)
    chart.show(replace(found, curves=latency_throughput(trials, trials[1], limits)), "owner")
    marked = chart._by_name["infeasible"]
    # Single points: the second level of both trials.
    assert sorted(x for x in marked.x if x == x) == [60, 90]
    assert len(marked.x) == 4
    assert all("breaks e2e_latency_mean_s &lt;= 0.3" in text for text in marked.text if text)
    assert max(chart._by_name["front"].x) < 60


def test_the_monitor_and_the_report_have_the_same_front_titles_colours_and_axes(chart: LiveChart, task: Task) -> None:
    default = complete(0, 40.0).with_(baseline=True, params={})
    # The fastest breaks the limit as a whole, and the next one still runs.
    trials = [default, complete(1, 60.0), complete(2, 90.0), complete(3, 99.0, violation=0.1), complete(4, 95.0)]
    running = [*trials[:4], trials[4].with_(state=TrialState.RUNNING, score=None)]
    shares = {"threads": 0.7, "batch_size": 0.3}
    chart.show(data(running, task, 4, **shares), "owner")
    # In a report, running trials have no measurements.
    reported = [*trials[:4], running[4].with_(measurements=())]
    report = Report(tuple(reported), best_trial(reported, task.goal), task.goal, None, importances=shares)
    curves, course, importance = report.charts()
    assert isinstance(curves, LatencyChart)
    front = chart._by_name["front"]
    np.testing.assert_allclose(list(zip(front.x, front.y, strict=True)), curves.front, rtol=1e-6)
    assert max(front.x) == 90
    layout = chart.figure.layout
    assert layout.annotations[0].text == f"<b>{curves.title}</b>"
    assert layout.annotations[1].text == "<b>Best so far: 90 tokens/s (higher is better)</b>"
    assert layout.annotations[2].text == "<b>threads matters most: 70%</b>"
    assert importance.title.startswith("threads matters most: 70%")
    for axes, figure in ((("xaxis", "yaxis"), curves.figure()), (("xaxis2", "yaxis2"), course.figure())):
        ours = [layout[name].title.text.replace("<br>", " ") for name in axes]
        assert ours == [figure.layout.xaxis.title.text, figure.layout.yaxis.title.text]
    assert layout.xaxis3.title.text == importance.figure().layout.xaxis.title.text
    theirs = {t.name: (t.line.color, t.marker.symbol) for t in curves.figure().data if t.mode == "lines+markers"}
    lines = [t for t in chart.figure.data if t.type == "scattergl" and t.mode == "lines+markers"]
    drawn_as = {t.name: (t.line.color, t.marker.symbol) for t in lines}
    assert theirs.items() <= drawn_as.items()


def test_a_running_trial_of_low_number_is_drawn_once(chart: LiveChart, task: Task) -> None:
    trials = [complete(n, 10.0 + n) for n in range(80)]
    trials[3] = trials[3].with_(state=TrialState.RUNNING, score=None)
    chart.show(data(trials, task, 3), "owner")
    traces = [name for name, numbers in drawn(chart).items() if 3 in numbers]
    assert traces == ["running"]


def test_older_trials_have_no_texts(chart: LiveChart, task: Task) -> None:
    chart.show(data([complete(n, 10.0) for n in range(100)], task), "owner")
    found = drawn(chart)
    # Trial 0 is the best.
    assert found["older"] == list(range(1, 60))
    assert found["other"] == list(range(60, 100))
    assert chart._by_name["older"].text is None
    assert len(chart._by_name["other"].text) == 3 * 40


def test_only_changed_traces_are_sent(chart: LiveChart, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [complete(1, 60.0), complete(2, 90.0), complete(3, 5.0).with_(state=TrialState.RUNNING, score=None)]
    chart.show(data(trials, task, 3), "owner")
    updated: list[str] = []
    for name, trace in chart._by_name.items():
        original = trace.update

        def update(*args: Any, _name: str = name, _real: Any = original, **named: Any) -> Any:
            updated.append(_name)
            return _real(*args, **named)

        monkeypatch.setattr(trace, "update", update, raising=False)
    assert chart.show(data(trials, task, 3), "owner") == 0
    assert updated == []
    trials[2] = trials[2].with_(measurements=trials[2].measurements[:1])
    assert chart.show(data(trials, task, 3), "owner") > 0
    assert updated == ["running"]


def test_only_the_owner_of_the_charts_draws(chart: LiveChart, task: Task) -> None:
    assert chart.show(data([complete(1, 60.0)], task), "another") == 0
    assert drawn(chart) == {}
    assert chart.claim("another", lambda _number: None) == "owner"
    assert chart.show(data([complete(1, 60.0)], task), "owner") == 0
    assert chart.show(data([complete(1, 60.0)], task), "another") > 0


def test_a_reloaded_page_gets_the_latest_data(chart: LiveChart, task: Task) -> None:
    chart.show(data([complete(1, 60.0)], task), "owner")
    kept = chart.figure._trait_values["_widget_data"][_chart._TRACES.index("best")]
    assert len(kept["x"]) == 3


def test_without_a_trial_there_is_nothing_to_send(chart: LiveChart, task: Task) -> None:
    chart.show(data([], task), "owner")
    assert drawn(chart) == {}
    told = "<b>Importances are computed from ten complete trials on</b>"
    assert chart.figure.layout.annotations[2].text == told
    assert chart.show(data([], task), "owner") == 0


def test_a_tooltip_wraps_the_parameters() -> None:
    label = " ".join(f"parameter_{n}=some_value_{n}" for n in range(12))
    lines = _chart._tip(label).split("<br>")
    assert " ".join(lines) == label
    assert max(map(len, lines)) <= 60
    long = _chart._tip(" ".join(f"parameter_{n}={'v' * 100}" for n in range(300)))
    assert long.count("<br>") == 11
    assert long.endswith("…")
    nasty = _chart._tip(NASTY)
    assert "<img" not in nasty
    assert "\u202e" not in nasty
    assert nasty.encode()


def test_the_point_under_the_pointer_names_its_trial(chart: LiveChart, task: Task) -> None:
    pointed: list[int] = []
    chart.claim("owner", pointed.append)
    chart.show(data([complete(n, 10.0 + n) for n in range(100)], task), "owner")

    class Points:
        point_inds = [4]  # noqa: RUF012

    chart._hovered(chart._by_name["older"], Points(), None)
    chart._hovered(chart._by_name["value"], Points(), None)
    Points.point_inds = [10_000]
    chart._hovered(chart._by_name["value"], Points(), None)
    Points.point_inds = []
    chart._hovered(chart._by_name["value"], Points(), None)
    # Two levels and a gap a curve.
    assert pointed == [1, 4]


def test_the_number_of_bars_is_limited_and_short_names_are_unique(chart: LiveChart, task: Task) -> None:
    shares = {f"parameter_{n:03}_{'x' * 40}": n / 1000 for n in range(40)}
    chart.show(data([], task, **shares), "owner")
    bars = chart._by_name["share"]
    assert list(bars.x) == [round(n / 1000, 4) for n in range(28, 40)]
    assert len(set(bars.y)) == 12
    assert short_names(["b" * 30, "threads"]) == ["bbbbbbbbbbbb…bbbbbbbbbbb", "threads"]


def test_there_is_one_chart_per_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveChart, "_one", None)
    one = LiveChart.get()
    assert LiveChart.get() is one
    one.figure.close()


def test_anywidget_loads_a_small_module_which_loads_plotlys_own() -> None:
    # anywidget waits two seconds for a module, and then drops every update.
    state = figure_widget(go.Figure()).get_state()
    assert len(state["_esm"]) < 5_000
    assert state["_plotly"] == str(go.FigureWidget._esm)
    # Only the default export is used; the tests in a browser call its two methods.
    assert " as default}" in state["_plotly"]


def test_without_anywidget_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "FigureWidget", missing_anywidget.FigureWidget)
    with pytest.raises(ImportError, match="anywidget"):
        figure_widget(go.Figure())
