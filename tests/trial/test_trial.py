"""Trials: immutable, converted to the form of results.json, and which one is best."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.trial.configuration import best_trial
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Direction, Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

RATE = "output_tokens_per_s"
LIMIT = "ttft_mean_s <= 0.5"
LIMITS = (Limit("ttft_mean_s", "<=", 0.5),)


def test_a_trial_is_changed_by_copy_only() -> None:
    trial = Trial(3, {"threads": 2})
    ended = trial.with_(state=TrialState.COMPLETE)
    assert (trial.state, ended.state, ended.number) == (TrialState.RUNNING, TrialState.COMPLETE, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        trial.number = 4  # type: ignore[misc]


@pytest.mark.parametrize("state", TrialState)
def test_a_trial_is_finished_once_it_completed_failed_or_was_cut(state: TrialState) -> None:
    assert state.finished is (state in (TrialState.COMPLETE, TrialState.CUT, TrialState.FAILED))


def test_waiting_is_no_work() -> None:
    trial = Trial(0, {}, seconds={"queue": 300, "deploy": 5, "wait": 3600, "probe": 1, "benchmark": 60, "stop": 2})
    assert trial.work_s == 68


def test_a_complete_trial_is_written_whole_as_json() -> None:
    level = Level("D(1,2)", 4)
    trial = Trial(
        2,
        {"threads": 2, "config": {"a": [1]}},
        TrialState.COMPLETE,
        measurements=(Measurement(level, 1.0, 9, 9, 0, {RATE: 30.0}),),
        score=Score({RATE: 30.0}, {LIMIT: -0.25}, level),
        seconds={"deploy": 0.123456, "benchmark": 6.0},
        command=("serve", "--name", "two words"),
    )
    written = json.loads(json.dumps(trial.to_dict()))
    assert written["state"] == "complete"
    assert written["params"] == {"threads": 2, "config": {"a": [1]}}
    assert (written["values"], written["limits"]) == ({RATE: 30.0}, {LIMIT: -0.25})
    assert written["measurements"][0][RATE] == 30.0
    assert written["seconds"] == {"deploy": 0.123, "benchmark": 6.0}
    assert written["command"] == "serve --name 'two words'"
    assert written["level"] == "D(1,2) at concurrency 4"
    assert written["failure"] is None


def test_a_failed_trial_is_written_with_its_failure_and_no_values() -> None:
    failure = Failure(FailureKind.CRASH, "deploy", "died", ("segfault",), "try less")
    written = json.loads(json.dumps(Trial(0, {}, TrialState.FAILED, failure=failure).to_dict()))
    assert (written["values"], written["limits"], written["command"]) == ({}, {}, None)
    assert Failure.from_dict(written["failure"]) == failure


def _trial(number: int, state: TrialState, value: float | None, violation: float) -> Trial:
    return Trial(
        number, {"n": number}, state, score=None if value is None else Score({RATE: value}, {LIMIT: violation})
    )


_TRIALS = st.lists(
    st.tuples(
        st.sampled_from(TrialState),
        st.one_of(st.none(), st.integers(0, 3).map(float)),
        st.sampled_from([-0.1, 0.0, 0.1]),
    ),
    max_size=8,
).map(lambda rows: [_trial(number, *row) for number, row in enumerate(rows)])


@given(_TRIALS, st.sampled_from(["minimize", "maximize"]), st.randoms())
def test_the_best_trial_is_feasible_never_beaten_and_the_earliest_of_equals(
    trials: list[Trial], direction: Direction, rng: object
) -> None:
    objective = Objective(RATE, direction, None, LIMITS)
    rng.shuffle(trials)  # type: ignore[attr-defined]
    best = best_trial(trials, objective)
    feasible = [t for t in trials if t.state is TrialState.COMPLETE and t.score and t.score.limits[LIMIT] <= 0]
    if best is None:
        assert not feasible
        return
    assert best in feasible
    assert best.score is not None
    for other in feasible:
        assert other.score is not None
        assert not objective.better(other.score.value, best.score.value)
        assert other.score.value != best.score.value or other.number >= best.number


def test_nothing_is_best_of_nothing() -> None:
    assert best_trial([], Objective(RATE, "maximize")) is None
