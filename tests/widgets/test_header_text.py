"""The monitor's header and its strip of what runs now."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.runner.runner import RunState
from autotune_nb.study.steering import budget_edit
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._header_text import header_html, seconds_left
from autotune_nb.widgets._run_buttons import anything_left
from autotune_nb.widgets._running_text import Latest, running_html
from tests.widgets.stub_handle import LIMIT, StubHandle, complete, measured, working

NOON = datetime(2030, 1, 1, 12).timestamp()


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(limits=[LIMIT])


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()


def header(handle: StubHandle, now: float | None = None) -> str:
    return text_of(header_html(handle, now=now))


def failed(number: int) -> Trial:
    why = Failure(FailureKind.CRASH, "deploy", message="it ended")
    return Trial(number, {"threads": 2}, TrialState.FAILED, failure=why)


def test_the_header_has_the_progress_the_time_left_the_counts_and_the_budget(task: Task, tmp_path: Path) -> None:
    stopped = complete(5, 1.0).with_(state=TrialState.STOPPED, score=None)
    trials = (complete(1, 50.0), complete(2, 90.0, violation=0.1), failed(7), stopped)
    handle = StubHandle(task, tmp_path, history=trials, running=[working(complete(8, 1.0))], elapsed_s=600.0)
    text = header(handle, NOON)
    for part in (
        "test running 3 of 20 trials 2 min left , until ",
        "10 min of work",
        "best so far: trial 1 · 50 tokens/s · ✓ ttft_p99_s &lt;= 0.5 kept threads=1",
        "2 complete (1 break a limit), 1 running, 1 failed, 1 ended early. Budget: 20 trials.",
        str(tmp_path),
    ):
        assert part in text
    assert seconds_left(handle) == pytest.approx(17 * 20 / 3)


def test_the_best_is_compared_with_the_default(task: Task, tmp_path: Path) -> None:
    default = complete(0, 40.0).with_(baseline=True, params={})
    handle = StubHandle(task, tmp_path, history=(default, complete(1, 50.0)), state=RunState.FINISHED)
    assert "best: trial 1 · 50 tokens/s · 25 % better than the default (measured once)" in header(handle)
    # Started again, both of them: with an interval.
    again = [complete(n, value, threads=1) for n, value in ((2, 51.0), (3, 49.0))]
    starts = [complete(n, value).with_(baseline=True, params={}) for n, value in ((4, 41.0), (5, 39.0))]
    handle.history = (*handle.history, *again, *starts)
    assert re.search(r"25 % better than the default \(95 %: \d+ to \d+ %, 3 starts\)", header(handle))
    handle.history = (default, complete(1, 30.0))
    assert "best: trial 0 · 40 tokens/s · the engine's default; nothing else is better" in header(handle)


def test_of_a_figure_that_is_minimized_less_is_better(make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task(objective="minimize output_tokens_per_s", limits=[LIMIT])
    default = complete(0, 40.0).with_(baseline=True, params={})
    handle = StubHandle(task, tmp_path, history=(default, complete(1, 30.0)))
    assert "trial 1 · 30 tokens/s · 25 % better than the default" in header(handle)


def test_without_a_best_configuration_the_header_says_why(task: Task, tmp_path: Path) -> None:
    handle = StubHandle(task, tmp_path)
    assert "once a trial is complete" in header(handle)
    assert "the time left is estimated after the first trial" in header(handle)
    handle.running = (working(Trial(0, {}, baseline=True)),)
    assert "the engine's default is measured first" in header(handle)
    handle.running, handle.history = (), (failed(0), failed(1))
    assert "all 2 trials failed ; trial 1: crash in deploy: it ended" in header(handle)
    handle.history = (complete(1, 50.0, violation=0.1), complete(2, 70.0, violation=0.02))
    expected = (
        "no configuration keeps every limit yet; trial 2 is the closest, and breaks ttft_p99_s &lt;= 0.5 by 20 ms"
    )
    assert expected in header(handle)


def test_more_trials_than_the_budget_are_not_a_share_of_it(task: Task, tmp_path: Path) -> None:
    handle = StubHandle(task, tmp_path, history=tuple(complete(n, 5.0) for n in range(6)))
    handle.steer(budget_edit(task, trials=5))
    assert "6 trials, the budget is 5" in header(handle)


@pytest.mark.parametrize(
    ("state", "changes", "left"),
    [
        ("interrupted", {}, True),
        (RunState.STOPPED, {}, True),
        (RunState.FINISHED, {"trials": 2}, False),
        # Raised after the end.
        (RunState.FINISHED, {"trials": 3}, True),
        (RunState.FINISHED, {"trials": None, "minutes": 5}, False),
    ],
)
def test_a_finished_study_is_started_only_if_something_is_left(
    task: Task, tmp_path: Path, state: Any, changes: dict[str, Any], left: bool
) -> None:
    handle = StubHandle(task, tmp_path, history=(complete(0, 5.0), complete(1, 6.0)), state=state, elapsed_s=600.0)
    if changes:
        handle.steer(budget_edit(task, **changes))
    assert anything_left(handle) is left


def test_the_estimated_end_has_a_date_if_it_is_another_day(task: Task, tmp_path: Path) -> None:
    handle = StubHandle(task, tmp_path, history=(complete(1, 50.0),))
    now = datetime.now()
    later = now + timedelta(days=2)
    assert f"left , until {now:%H:}" in header(handle, now.replace(minute=0).timestamp())
    assert f"left , until {later:%Y-%m-%d %H:}" in header(handle, later.replace(minute=0).timestamp())
    handle.state = RunState.PAUSED
    assert "left after the pause" in header(handle)


@pytest.mark.parametrize("change", [{"minutes": 1e308, "trials": None}, {"minutes": 1e12, "trials": None}])
def test_a_huge_budget_is_shown(task: Task, tmp_path: Path, change: dict[str, Any]) -> None:
    handle = StubHandle(task, tmp_path, history=(complete(1, 50.0),))
    handle.steer(budget_edit(task, **change))
    handle.steering.__dict__["num_trials"] = None
    assert "over a year left" in header(handle)
    handle.steering.__dict__["num_trials"] = 10**400
    assert "left" in header(handle)


def test_the_cost_so_far_counts_the_running_trials(make_task: Callable[..., Task], tmp_path: Path) -> None:
    task = make_task(price={"usd_per_gpu_hour": 2})
    ended = complete(1, 5.0).with_(gpus=2, seconds={"deploy": 600.0, "queue": 900.0, "benchmark": 1200.0})
    running = working(Trial(2, {"threads": 2}, gpus=4))
    handle = StubHandle(task, tmp_path, history=(ended, running.trial), running=(running,))
    # Half an hour of two GPUs, and a quarter of an hour of four.
    assert "2 GPU-hours, $4.00" in header(handle, running.since + 900)
    assert "GPU-hours" not in header(StubHandle(make_task(), tmp_path, history=(complete(1, 5.0),)))


@pytest.mark.parametrize(
    ("phase", "levels", "expected"),
    [
        ("deploy", 0, "deploying; 1 s last time"),
        ("probe", 0, "warming up"),
        ("benchmark", 0, "benchmarking level 1 of 2"),
        ("benchmark", 1, "benchmarking level 2 of 2"),
        ("stop", 2, "taking the engine down"),
    ],
)
def test_a_running_trial_is_shown_with_its_phase_its_last_level_and_log_line(
    task: Task, tmp_path: Path, phase: str, levels: int, expected: str
) -> None:
    trial = Trial(3, {"threads": 2}, measurements=tuple(measured(n + 1, 10.0) for n in range(levels)))
    handle = StubHandle(task, tmp_path, history=(complete(1, 5.0),), running=(working(trial, phase=phase),))
    text = text_of(running_html(handle, {3: Latest("a <b> line")}))
    assert f"trial 3 {expected} since" in text
    assert "threads=2" in text
    assert text.count("tokens/s, TTFT p99 250 ms") == bool(levels)
    assert "a &lt;b&gt; line" in text


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (RunState.PAUSED, "paused: no trial runs; Resume continues"),
        (RunState.STARTING, "the first trial is next"),
        ("new", "not started yet"),
        ("interrupted", "the process of the run was killed"),
    ],
)
def test_without_a_running_trial_the_strip_says_why(task: Task, tmp_path: Path, state: Any, expected: str) -> None:
    assert expected in running_html(StubHandle(task, tmp_path, state=state), {})
