"""Configurations: the value of several starts, which one is best, and how that is worded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.trial.configuration import (
    best_configuration,
    best_trial,
    configurations,
    default_configuration,
    leaders,
)
from autotune_nb.trial.score import Direction, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

RATE = "output_tokens_per_s"
MOST = Objective(RATE, "maximize")
LIMIT = "ttft_mean_s <= 0.5"


def start(number: int, value: float, violation: float = -0.1, *, baseline: bool = False, **params: object) -> Trial:
    score = Score({RATE: value}, {LIMIT: violation})
    return Trial(number, params, TrialState.COMPLETE, score=score, baseline=baseline)  # type: ignore[arg-type]


def failed(number: int, **params: object) -> Trial:
    failure = Failure(FailureKind.CRASH, "deploy", "exit code 1")
    return Trial(number, params, TrialState.FAILED, failure=failure)  # type: ignore[arg-type]


def test_a_lucky_start_does_not_make_its_configuration_the_best() -> None:
    values = {0: 1099.0, 1: 2179.0, 2: 1366.0, 3: 871.0}
    repeats = [start(number, value, x=3) for number, value in values.items()]
    steady = [start(4, 1400, x=4), start(5, 1390, x=4)]
    best = best_configuration([*repeats, *steady], MOST)
    assert best is not None
    assert best.params == {"x": 4}
    of_three = configurations(repeats)[next(iter(configurations(repeats)))]
    assert of_three.value == pytest.approx(math.prod(values.values()) ** 0.25)
    # The trial that is shown is the one closest to the mean, not the best one.
    assert of_three.trial.number == 2


def test_a_trial_that_ends_makes_only_its_own_configuration_anew() -> None:
    one, other, repeat = start(0, 9, x=1), start(1, 8, x=2), start(2, 7, x=2)
    before = configurations([one, other])
    after = configurations([one, other, repeat])
    first, second = after.values()
    assert first is before[one.configuration_key]
    assert (second.value, second.complete) == (pytest.approx(math.sqrt(56)), (other, repeat))
    again = configurations([one, other, repeat, failed(3, x=1)])
    assert [found.failed for found in again.values()] == [1, 0]
    # The same number and parameters in another study.
    (third,) = configurations([start(0, 5, x=1)]).values()
    assert third.value == 5


def test_failed_starts_are_counted_and_worded() -> None:
    trials = [start(0, 100, x=1), failed(1, x=1), start(2, 400, x=1), failed(3, x=2)]
    (only,) = configurations(trials).values()
    assert (only.values, only.failed, only.value) == ((100, 400), 1, pytest.approx(200))
    assert only.starts_text == "the mean of 2 starts, 100 tokens/s to 400 tokens/s; 1 other start of it failed"
    (single,) = configurations([start(0, 100, x=1)]).values()
    assert single.starts_text == ""


def test_a_limit_that_only_some_starts_were_checked_for_counts_in_those() -> None:
    """The starts of a confirmation are not asked for answers."""
    asked = Trial(0, {"x": 1}, TrialState.COMPLETE, score=Score({RATE: 9.0}, {LIMIT: -0.1, "quality_kl <= 0.1": 0.5}))
    (one,) = configurations([start(1, 9.0, -0.3, x=1), asked]).values()
    assert one.limits == {LIMIT: pytest.approx(-0.2), "quality_kl <= 0.1": 0.5}
    assert not one.feasible
    (kept,) = configurations([start(0, 9.0, x=1), start(1, 9.0, x=1)]).values()
    assert kept.feasible


def test_a_limit_counts_in_the_mean_of_the_starts() -> None:
    broken_once = [start(0, 200, 0.1, x=1), start(1, 200, -0.3, x=1)]
    broken_mostly = [start(2, 300, 0.3, x=2), start(3, 300, -0.1, x=2)]
    best = best_configuration([*broken_once, *broken_mostly], MOST)
    assert best is not None
    assert best.params == {"x": 1}
    # The trial that stands for it keeps the limit.
    assert best.trial.number == 1


def test_the_default_is_a_configuration_of_its_own() -> None:
    trials = [start(0, 100, baseline=True), start(1, 110)]
    assert len(configurations(trials)) == 2
    default = default_configuration(trials)
    assert default is not None
    assert default.values == (100,)
    assert default_configuration(trials[1:]) is None


def test_values_that_cannot_be_hashed_and_the_order_of_parameters_are_no_difference() -> None:
    one, two = start(0, 100, a=[1, {"b": 2}], c=1), start(1, 200, c=1, a=[1, {"b": 2}])
    (only,) = configurations([one, two]).values()
    assert only.values == (100, 200)
    assert len(configurations([start(0, 1, x=1), start(1, 2, x=True), start(2, 3, x=1.0)])) == 3


TRIALS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0.01, 1e6), st.sampled_from([-1.0, 0.0, 1.0])), max_size=12
).map(lambda rows: [start(number, value, violation, x=x) for number, (x, value, violation) in enumerate(rows)])


@given(TRIALS, st.sampled_from(["minimize", "maximize"]), st.randoms())
def test_the_best_does_not_depend_on_the_order_and_is_the_last_leader(
    trials: list[Trial], direction: Direction, rng: object
) -> None:
    objective = Objective(RATE, direction)
    best = best_configuration(trials, objective)
    shuffled = list(trials)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert best_configuration(shuffled, objective) == best
    following = leaders(trials, objective)
    for end in range(1, len(trials) + 1):
        leader, expected = following[end - 1], best_configuration(trials[:end], objective)
        assert (leader and leader.value) == (expected and expected.value)
    if best is None:
        assert not any(one.feasible for one in configurations(trials).values())
        assert best_trial(trials, objective) is None
        return
    assert best.trial.feasible
    assert min(best.values) * (1 - 1e-9) <= best.value <= max(best.values) * (1 + 1e-9)
    assert not any(one.feasible and objective.better(one.value, best.value) for one in configurations(trials).values())


def test_the_same_ended_trials_are_grouped_once() -> None:
    trials = [start(0, 5.0, a=1), start(1, 6.0, a=2)]
    found = configurations(trials)
    running = Trial(2, {"a": 3})
    # Neither a running trial nor another list makes a difference, but a further start does.
    assert configurations([*trials, running]) is found
    assert len(next(iter(configurations([*trials, start(2, 7.0, a=1)]).values())).complete) == 2
    assert len(configurations(trials[:1])) == 1
    assert configurations(trials) is found
