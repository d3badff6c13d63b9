"""The monitor's charts: what is sent, which tab is drawn, and the selection that they share."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.reports.charts import LatencyChart
from autotune_nb.reports.plots import Curves, latency_throughput
from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import best_trial
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._charts import TABS, ChartInput, Charts
from autotune_nb.widgets._latency_chart import LatencyTraces
from autotune_nb.widgets._plot import Plot, PlotlyScript
from autotune_nb.widgets._selection import Selection
from tests.widgets.stub_handle import FIGURE, LIMIT, StubHandle, complete, working


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(limits=[LIMIT])


def traces(trials: Sequence[Trial], task: Task, *running: int) -> dict[str, dict[str, Any]]:
    return LatencyTraces().of(latency_throughput(trials, best_trial(trials, task.goal)), frozenset(running))


def numbers(drawn: dict[str, dict[str, Any]]) -> dict[str, list[int]]:
    """Return the trial numbers in each trace."""
    return {name: list(dict.fromkeys(trace["customdata"])) for name, trace in drawn.items() if "customdata" in trace}


# The traces of latency against throughput


def test_every_trial_is_in_the_trace_of_its_role_and_the_front_is_that_of_the_report(task: Task) -> None:
    default = complete(0, 40.0).with_(baseline=True, params={})
    trials = [default, complete(1, 60.0), complete(2, 90.0), complete(3, 99.0, violation=0.1), complete(4, 5.0)]
    trials[4] = trials[4].with_(state=TrialState.RUNNING, score=None)
    drawn = traces(trials, task, 4)
    assert numbers(drawn) == {
        "engine's default": [0],
        "other trials": [1],
        "best": [2],
        "breaks a limit": [3],
        "running": [4],
    }
    report = LatencyChart(tuple(latency_throughput(trials[:4], trials[2])))
    assert list(zip(drawn["front"]["x"], drawn["front"]["y"], strict=True)) == report.front
    assert traces([], task) == {}


def test_older_trials_are_in_groups_that_do_not_change_and_have_no_texts(task: Task) -> None:
    trials = [complete(n, 10.0 + n % 2) for n in range(300)]
    few, many = traces(trials[:200], task), traces(trials, task)
    # Trial 1 is the best.
    assert numbers(few)["older 0"] == [0, *range(2, 48)]
    assert few["older 0"] == many["older 0"]
    assert "labels" not in few["older 0"]
    assert few["other trials"]["labels"]["levels"] == ["D(16,8) at concurrency 1", "D(16,8) at concurrency 2"]
    assert {n for own in numbers(many).values() for n in own} == set(range(300))


def test_traces_made_again_and_again_are_those_made_anew_and_older_ones_are_kept(task: Task) -> None:
    curves, kept = Curves(), LatencyTraces()
    values = [*range(60), 200, *range(60, 100), 300, *range(100, 140)]
    trials = [complete(n, 10.0 + value, violation=0.1 if n % 7 == 3 else -0.25) for n, value in enumerate(values)]
    running = trials[10].with_(state=TrialState.RUNNING, score=None)
    for count in (0, 1, 30, 62, 63, 101, 103, 142):
        # The best of all changes twice.
        some = [*trials[:10], running, *trials[11:]][:count]
        best = best_trial(some, task.goal)
        found = kept.of(curves.of(some, best), frozenset({10}))
        assert found == LatencyTraces().of(latency_throughput(some, best), frozenset({10}))
    again = kept.of(curves.of([*some, complete(142, 1.0)], best), frozenset({10}))
    assert again["older 0"] is found["older 0"]
    assert again["running"] == found["running"]


def test_older_trials_are_lines_and_those_of_one_level_are_points(task: Task) -> None:
    trials = [complete(n, 10.0 + n % 2) for n in range(40)]
    trials[6] = trials[6].with_(measurements=trials[6].measurements[:1])
    drawn = traces(trials, task)
    assert (drawn["older 0"]["mode"], drawn["older points 0"]["mode"]) == ("lines", "markers")
    assert numbers(drawn)["older points 0"] == [6]
    assert 6 not in numbers(drawn)["older 0"]
    # One entry in the legend.
    assert [trace["showlegend"] for name, trace in drawn.items() if name.startswith("older")] == [True, False]


# What is sent


def plot() -> tuple[Plot, list[tuple[list[int], bool]]]:
    clicks: list[tuple[list[int], bool]] = []
    return Plot(lambda trials, add: clicks.append((trials, add))), clicks


LINE = {"type": "scatter", "x": [1.5, None, *range(8)], "y": [2, None, *range(8)], "customdata": list(range(10))}


def unpacked(changed: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return the order of the traces and the sent ones, with their numbers, as the page reads them."""
    data = zlib.decompress(changed["data"])
    (length,) = struct.unpack("<I", data[:4])
    found, floats = json.loads(data[4 : 4 + length]), data[4 + length :]
    for trace in found["traces"].values():
        for name, value in trace.items():
            if isinstance(value, dict) and "floats" in value:
                start, count = value["floats"]
                trace[name] = list(struct.unpack(f"<{count}f", floats[4 * start : 4 * (start + count)]))
    return found["order"], found["traces"]


def test_only_changed_traces_are_sent_and_nothing_if_nothing_changed() -> None:
    one, _ = plot()
    assert one.show({"a": LINE, "b": LINE}, {}, "title", "") > 0
    _, sent = unpacked(one.changed)
    assert set(sent) == {"a", "b"}
    assert (sent["a"]["x"][0], sent["b"]["y"][0], sent["b"]["customdata"]) == (1.5, 2.0, LINE["customdata"])
    assert one.show({"a": LINE, "b": LINE}, {}, "title", "") == 0
    assert one.show({"a": LINE, "b": {**LINE, "name": "b"}}, {}, "title", "") > 0
    order, sent = unpacked(one.changed)
    assert (order, set(sent), sent["b"]["name"]) == (["a", "b"], {"b"}, "b")
    one.show({"b": {**LINE, "name": "b"}}, {}, "title", "")
    assert unpacked(one.changed) == (["b"], {})


def test_a_new_page_and_a_page_that_lost_a_message_get_every_trace() -> None:
    one, _ = plot()
    one.show({"a": LINE, "b": LINE}, {}, "title", "")
    one.show({"a": LINE, "b": {**LINE, "name": "b"}}, {}, "title", "")
    state = one.get_state()["changed"]
    assert (state["all"], state["seq"], set(unpacked(state)[1])) == (True, 2, {"a", "b"})
    one._received(one, {"kind": "all"}, [])
    assert (one.changed["all"], one.changed["seq"], set(unpacked(one.changed)[1])) == (True, 3, {"a", "b"})


def test_the_script_is_sent_once_per_kernel_and_again_to_a_page_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    PlotlyScript.ensure()
    script = PlotlyScript._one
    PlotlyScript.ensure()
    assert script is not None and PlotlyScript._one is script
    assert 1e6 < len(script.script) < 2e6
    one, _ = plot()
    sent: list[Any] = []
    monkeypatch.setattr(one, "send", lambda content, buffers: sent.append((content, buffers)))
    one._received(one, {"kind": "script"}, [])
    assert sent == [({"kind": "script"}, [script.script])]
    # anywidget waits two seconds for a module, and then drops every update.
    assert len(one.get_state()["_esm"]) < 14_000


# Tabs and the selection


def given(handle: StubHandle, selection: Selection, **shares: float) -> ChartInput:
    return ChartInput(handle, handle.history, selection.trials, lambda: shares)


def test_only_the_chart_of_the_selected_tab_is_sent(task: Task, tmp_path: Path) -> None:
    handle = StubHandle(task, tmp_path, history=tuple(complete(n, 10.0 + n, threads=n) for n in range(4)))
    selection, woken = Selection(), []
    charts = Charts(selection, lambda: woken.append(1))
    assert charts.update(given(handle, selection)) > 0
    assert [title for title in TABS if charts.plots[title]._traces] == ["Latency and throughput"]
    assert charts.update(given(handle, selection)) == 0
    for title in ("Progress", "Parameters", "Slices", "Timeline"):
        charts.show(title)
        assert charts.update(given(handle, selection, threads=1.0)) > 0
        assert charts.plots[title]._traces, title
        assert charts.plots[title].caption, title
    assert len(woken) == 4


def test_a_chart_without_data_announces_what_comes_and_when(task: Task, tmp_path: Path) -> None:
    handle, selection = StubHandle(task, tmp_path), Selection()
    charts = Charts(selection, lambda: None)
    for title in TABS:
        charts.show(title)
        charts.update(given(handle, selection))
        assert charts.plots[title]._traces == {}
        assert " appears when " in charts.plots[title].announced or " appears with " in charts.plots[title].announced
        assert charts.plots[title].axes == ({} if title != "Latency and throughput" else charts.plots[title].axes)
    handle.history = (Trial(0, {}, TrialState.FAILED), Trial(1, {}, TrialState.FAILED))
    charts.show("Progress")
    charts.update(given(handle, selection))
    assert charts.plots["Progress"].announced.startswith("All 2 trials failed")


def test_a_chart_without_the_figures_that_it_draws_names_them(task: Task, tmp_path: Path) -> None:
    trial = complete(0, 10.0)
    levels = tuple(replace(one, figures={FIGURE: one.figures[FIGURE]}) for one in trial.measurements)
    handle, selection = StubHandle(task, tmp_path, history=(trial.with_(measurements=levels),)), Selection()
    charts = Charts(selection, lambda: None)
    charts.update(given(handle, selection))
    assert "e2e_latency_mean_s" in charts.plots["Latency and throughput"].announced


def test_a_click_selects_a_trial_in_every_chart_and_with_a_key_adds_it(task: Task, tmp_path: Path) -> None:
    selection = Selection()
    charts = Charts(selection, lambda: None)
    progress = charts.plots["Progress"]
    progress._received(progress, {"kind": "select", "trials": [3.0], "add": False}, [])
    assert selection.trials == (3,)
    assert all(one.selected == [3] for one in charts.plots.values())
    progress._received(progress, {"kind": "select", "trials": [5], "add": True}, [])
    assert selection.trials == (3, 5)
    progress._received(progress, {"kind": "select", "trials": [3], "add": True}, [])
    assert selection.trials == (5,)
    selection.trials = (8, 9)
    assert all(one.selected == [8, 9] for one in charts.plots.values())


def test_two_monitors_have_charts_of_their_own(task: Task, tmp_path: Path) -> None:
    one, two = Charts(Selection(), lambda: None), Charts(Selection(), lambda: None)
    handle = StubHandle(task, tmp_path, history=(complete(1, 50.0),), running=(working(complete(2, 5.0)),))
    one.update(given(handle, Selection()))
    assert one.plots["Latency and throughput"]._traces
    assert two.plots["Latency and throughput"]._traces == {}
