"""The state of running trials, collected from events."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb import events
from autotune_nb.runner.live import LiveTrials, RunningTrial
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.trial import Trial, TrialState

LEVELS = [Level("D(16,8)", n) for n in (1, 2, 4)]


def measured(level: Level) -> Measurement:
    return Measurement(level, 2.0, 9, 9, 0, {"output_tokens_per_s": 10.0 * level.concurrency})


def picture(*told: events.Event) -> LiveTrials:
    live = LiveTrials(len(LEVELS))
    for event in told:
        before = live.version
        live(event)
        assert live.version > before
    return live


def test_a_start_of_a_round_has_one_level_and_one_before_the_search_has_all() -> None:
    live = LiveTrials(3, 1)
    for number, confirmation in enumerate([(0, 0), (1, 0)]):
        live(events.TrialStarted(Trial(number, {}, confirmation=confirmation)))
        live(events.PhaseStarted(number, "benchmark"))
    assert [one.doing for one in live.running] == ["benchmarking level 1 of 3", "benchmarking level 1 of 1"]


def test_a_trial_is_followed_from_its_start_to_its_end() -> None:
    trial = Trial(7, {"threads": 2})
    live = picture(events.TrialStarted(trial, at=100.0))
    seen = []
    steps = [
        events.PhaseStarted(7, "deploy", at=101.0),
        events.LogOpened(7, Path("/x/engine.log"), at=101.5),
        events.PhaseStarted(7, "probe", at=102.0),
        events.PhaseStarted(7, "benchmark", at=103.0),
        *(events.LevelMeasured(7, measured(level), n + 1, 3, at=104.0 + n) for n, level in enumerate(LEVELS)),
        events.PhaseStarted(7, "stop", at=110.0),
    ]
    seen.append(live.running[0].doing)
    for event in steps:
        live(event)
        [one] = live.running
        seen.append(one.doing)
    assert seen == [
        *("starting", "deploying", "deploying", "warming up"),
        *(f"benchmarking level {n} of 3" for n in (1, 2, 3, 3)),
        "taking the engine down",
    ]
    assert (one.since, one.phase_since, one.log) == (100.0, 110.0, Path("/x/engine.log"))
    assert [m.level for m in one.trial.measurements] == LEVELS
    live(events.TrialEnded(trial.with_(state=TrialState.COMPLETE), is_best=True))
    assert live.running == ()


def test_a_second_try_begins_without_the_levels_of_the_first() -> None:
    live = picture(
        events.TrialStarted(Trial(1, {})),
        events.PhaseStarted(1, "deploy"),
        events.PhaseStarted(1, "benchmark"),
        events.LevelMeasured(1, measured(LEVELS[0]), 1, 3),
        events.PhaseStarted(1, "stop"),
        events.PhaseStarted(1, "deploy"),
    )
    assert live.running[0].trial.measurements == ()
    live(events.PhaseStarted(1, "benchmark"))
    live(events.LevelMeasured(1, measured(LEVELS[0]), 1, 3))
    assert live.running[0].doing == "benchmarking level 2 of 3"


def test_trials_beside_each_other_are_told_by_number() -> None:
    live = picture(*(events.TrialStarted(Trial(n, {"n": n})) for n in (3, 1, 2)))
    live(events.LevelMeasured(2, measured(LEVELS[0]), 1, 3))
    assert [(r.trial.number, len(r.trial.measurements)) for r in live.running] == [(1, 0), (2, 1), (3, 0)]
    live.clear()
    assert live.running == ()


def test_only_the_latest_notices_are_kept() -> None:
    live = picture(*(events.Notice(f"line {n}", at=float(n)) for n in range(100)))
    assert len(live.notices) == 30
    assert live.notices[-1] == (99.0, "line 99")


@given(
    st.dictionaries(st.text(min_size=1), st.none() | st.booleans() | st.integers() | st.text(), max_size=3),
    st.sampled_from(["starting", "deploy", "probe", "benchmark", "stop"]),
    st.integers(0, 3),
    st.none() | st.just(Path("/x y/é.log")),
    st.booleans(),
)
def test_another_process_reads_the_same(
    params: dict[str, Any], phase: str, done: int, log: Path | None, baseline: bool
) -> None:
    trial = Trial(4, params, baseline=baseline, measurements=tuple(map(measured, LEVELS[:done])), reason="far")
    one = RunningTrial(trial, 12.5, phase, 13.25, 3, log)
    again = RunningTrial.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.doing == one.doing


def test_the_whole_picture_is_told_in_json() -> None:
    live = picture(events.TrialStarted(Trial(1, {"a": None})), events.Notice("hello", at=1.5))
    told = json.loads(json.dumps(live.to_dict("paused")))
    assert told["state"] == "paused"
    assert [RunningTrial.from_dict(one) for one in told["running"]] == list(live.running)
    assert told["notices"] == [[1.5, "hello"]]


@pytest.mark.parametrize(
    "late",
    [
        events.PhaseStarted(5, "stop"),
        events.LogOpened(5, Path("x")),
        events.LevelMeasured(5, measured(LEVELS[0]), 1, 3),
    ],
)
def test_what_comes_after_a_trials_end_changes_nothing(late: events.Event) -> None:
    live = picture(events.TrialStarted(Trial(1, {})))
    live(late)
    assert [r.trial.number for r in live.running] == [1]


def test_it_is_read_while_it_is_told() -> None:
    live, failures, over = LiveTrials(3), [], threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                numbers = [r.trial.number for r in live.running]
                assert numbers == sorted(numbers)
                json.dumps(live.to_dict("running"))
                tuple(live.notices)
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1500):
        live(events.TrialStarted(Trial(number, {})))
        live(events.PhaseStarted(number, "deploy"))
        live(events.Notice(str(number)))
        if number >= 4:
            live(events.TrialEnded(Trial(number - 4, {}), is_best=False))
    over.set()
    reader.join()
    assert failures == []
