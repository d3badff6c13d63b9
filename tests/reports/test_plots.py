"""The data of charts."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.reports.plots import front_of, history, latency_throughput, pareto_front
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

RATE, LATENCY = "output_tokens_per_s", "e2e_latency_mean_s"


def trial(number: int, *points: tuple[float, float], violation: float = 0.0, **params: Any) -> Trial:
    levels = tuple(
        Measurement(Level("D(1,2)", i + 1), 1.0, 9, 9, 0, {RATE: x, LATENCY: y}) for i, (x, y) in enumerate(points)
    )
    score = Score({RATE: points[0][0]}, {"ttft_mean_s <= 1": violation}) if points else None
    return Trial(number, params, TrialState.COMPLETE, levels, score, baseline=not params)


DEFAULT = trial(0, (10, 0.5), (20, 0.9))
BEST = trial(1, (30, 0.4), (50, 0.8), name="<b>&x</b>")
OTHER = trial(2, (5, 0.7), threads=1)
BROKEN = trial(3, (90, 3.0), violation=2.0, threads=8)


def test_the_data_is_one_curve_a_trial_with_the_best_on_top() -> None:
    curves = latency_throughput([BEST, DEFAULT, OTHER, BROKEN], BEST)
    assert [(c.number, c.role) for c in curves] == [(3, "infeasible"), (2, "other"), (0, "default"), (1, "best")]
    assert curves[-1].output_tokens_per_s == (30, 50)
    assert curves[-1].e2e_latency_mean_s == (0.4, 0.8)
    assert curves[-1].levels == ("D(1,2) at concurrency 1", "D(1,2) at concurrency 2")


def test_a_level_that_breaks_a_limit_says_so() -> None:
    (curve,) = latency_throughput([BEST], BEST, [Limit.parse("e2e_latency_mean_s <= 0.5")])
    assert curve.levels[0] == "D(1,2) at concurrency 1"
    assert curve.levels[1] == "D(1,2) at concurrency 2, breaks e2e_latency_mean_s <= 0.5"
    assert curve.broken == (1,)


def test_invalid_levels_and_levels_without_the_figures_are_left_out() -> None:
    level = Level("D(1,2)", 1)
    mixed = Trial(
        5,
        {"a": 1},
        measurements=(
            Measurement(level, 1.0, 9, 1, 8, {RATE: 1.0, LATENCY: 1.0}, ("8 failed",)),
            Measurement(level, 1.0, 9, 9, 0, {RATE: 1.0}),
        ),
    )
    assert latency_throughput([mixed, trial(6, a=2)], None) == []


def test_a_level_that_breaks_a_limit_and_a_trial_that_keeps_none_are_not_on_the_front() -> None:
    curves = latency_throughput([BEST, OTHER, BROKEN], BEST, [Limit.parse("e2e_latency_mean_s <= 0.5")])
    assert front_of(curves) == [(30, 0.4)]


# The front and the course

_NUMBERS = st.one_of(st.integers(0, 5).map(float), st.floats(0, 1e6, allow_nan=False))
_POINTS = st.lists(st.tuples(_NUMBERS, _NUMBERS), max_size=30)


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """More throughput or less latency, and nothing worse."""
    return one != other and one[0] >= other[0] and one[1] <= other[1]


@given(_POINTS)
def test_the_front_is_exactly_what_no_point_beats(points: list[tuple[float, float]]) -> None:
    front = pareto_front(points)
    assert set(front) == {point for point in points if not any(beats(other, point) for other in points)}
    assert len(set(front)) == len(front)
    # By falling throughput, and so by falling latency.
    assert front == sorted(front, key=lambda point: (-point[0], -point[1]))
    for point in points:
        assert point in front or any(beats(other, point) for other in front)


@given(_POINTS, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order_and_is_its_own(points: list[Any], rng: Any) -> None:
    front = pareto_front(points)
    assert pareto_front(front) == front
    rng.shuffle(points)
    assert pareto_front(iter(points)) == front


_TRIALS = st.lists(
    st.tuples(
        st.sampled_from([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAILED, TrialState.RUNNING]),
        st.one_of(st.integers(0, 4).map(float), st.floats(-1e6, 1e6)),
        st.booleans(),
    ),
    max_size=25,
)


@given(_TRIALS, st.sampled_from(["maximize", "minimize"]), st.randoms(use_true_random=False))
def test_the_course_is_the_complete_trials_and_the_best_so_far(rows: list[Any], direction: Any, rng: Any) -> None:
    objective = Objective("ttft_mean_s", direction)
    trials = [
        Trial(
            2 * number,
            {"n": number},
            state,
            score=Score({"ttft_mean_s": value}, {"x <= 1": -1.0 if feasible else 1.0})
            if state is TrialState.COMPLETE
            else None,
        )
        for number, (state, value, feasible) in enumerate(rows)
    ]
    shuffled = list(trials)
    rng.shuffle(shuffled)
    course = history(shuffled, objective)
    done = [t for t in trials if t.score is not None]
    assert course.figure == "ttft_mean_s"
    assert course.numbers == tuple(t.number for t in done)
    assert course.values == tuple(t.score.value for t in done if t.score)
    assert course.feasible == tuple(t.feasible for t in done)
    pick = max if direction == "maximize" else min
    feasible = [t for t in done if t.feasible]
    if not feasible:
        assert course.best_numbers == course.best_values == ()
        return
    # At every complete trial the line stands at the best that was feasible by then.
    for trial in done:
        so_far = [t.score.value for t in feasible if t.number <= trial.number and t.score]
        drawn = [v for n, v in zip(course.best_numbers, course.best_values, strict=True) if n <= trial.number]
        assert drawn[-1:] == ([pick(so_far)] if so_far else [])
    assert course.best_numbers[0] == feasible[0].number
    assert course.best_numbers[-1] == done[-1].number
    assert list(course.best_numbers) == sorted(set(course.best_numbers))
    # It turns only where it improves; its end is the last trial's.
    turns = course.best_values[:-1]
    assert all(objective.better(b, a) for a, b in itertools.pairwise(turns))


def test_a_study_without_a_complete_trial_has_no_course() -> None:
    course = history([Trial(0, {}, TrialState.FAILED)], Objective(RATE, "maximize"))
    assert (course.numbers, course.best_numbers) == ((), ())
