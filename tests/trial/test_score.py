"""Scores: the level that is read, limits, and which trial is best."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import MeasurementError, TaskError
from autotune_nb.trial.configuration import Configuration
from autotune_nb.trial.measurement import Level, Measurement, Validity
from autotune_nb.trial.score import Decision, Direction, Limit, Objective, Score, Tail, score
from autotune_nb.trial.trial import Trial, TrialState

FAST = Limit("ttft_mean_s", "<=", 0.5)
RATE, TTFT = "output_tokens_per_s", "ttft_mean_s"


def measured(concurrency: int, rate: float, ttft: float = 0.1, *, problems: tuple[str, ...] = ()) -> Measurement:
    return Measurement(Level("D(1,2)", concurrency), 1.0, 9, 9, 0, {RATE: rate, TTFT: ttft}, problems)


@pytest.mark.parametrize(
    ("text", "figure", "operator", "bound"),
    [
        ("ttft_p99_s <= 0.5", "ttft_p99_s", "<=", 0.5),
        ("ttft<1e-1", "ttft_mean_s", "<=", 0.1),
        ("  requests_per_s > 2 ", "requests_per_s", ">=", 2.0),
        ("tpot_p99 >= +3.", "tpot_p99_s", ">=", 3.0),
    ],
)
def test_a_limit_is_a_figure_a_side_and_a_number(text: str, figure: str, operator: str, bound: float) -> None:
    limit = Limit.parse(text)
    assert (limit.figure, limit.operator, limit.bound) == (figure, operator, bound)
    assert Limit.parse(str(limit)) == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ttft",
        "ttft <=",
        "ttft == 1",
        "ttft <= x",
        "1 >= ttft",
        "ttft <= 1e999",
        "ttft <= --1",
        "ttft <= 500ms",
        "x <= 1",
        "ttft <= 1 of",
        "ttft <= 1 D(1,2)",
    ],
)
def test_what_is_no_limit_is_refused_and_the_field_named(text: str) -> None:
    with pytest.raises(TaskError, match=r"^limits\[2\]: "):
        Limit.parse(text, field="limits[2]")


def test_a_limit_of_a_scenario_bounds_its_levels_only() -> None:
    limit = Limit.parse("ttft <= 0.5  of  N(3,1)/(4,1) ")
    assert limit.scenario == "N(3,1)/(4,1)"
    assert Limit.parse(str(limit)) == limit
    slow = measured(4, 90.0, ttft=2.0)
    of_n = replace(slow, level=Level("N(3,1)/(4,1)", 4))
    assert limit.violation(of_n) == 1.5
    assert limit.violation(slow) < 0
    objective = Objective(RATE, "maximize", None, (limit,))
    # Where it does not apply, it is not among the limits that were checked.
    assert score([replace(of_n, figures={RATE: 95.0, TTFT: 2.0}), slow], objective) == Score(
        {RATE: 90.0}, {}, slow.level
    )
    assert score([of_n], objective).limits == {"ttft_mean_s <= 0.5 of N(3,1)/(4,1)": 1.5}


def test_limits_that_differ_late_do_not_look_alike() -> None:
    assert str(Limit.parse("requests_per_s >= 1234567")) == "requests_per_s >= 1234567"
    assert str(Limit.parse("ttft <= 0.1234567")) != str(Limit.parse("ttft <= 0.1234568"))


def test_a_violation_is_in_the_figures_unit_and_at_most_0_where_the_limit_is_kept() -> None:
    assert FAST.violation(measured(1, 10, 0.7)) == pytest.approx(0.2)
    assert FAST.violation(measured(1, 10, 0.5)) == 0
    assert Limit(RATE, ">=", 20.0).violation(measured(1, 15)) == 5
    assert Limit(RATE, ">=", 20.0).violation(measured(1, 25)) == -5


def test_a_named_level_is_read_even_where_another_is_better() -> None:
    objective = Objective(RATE, "maximize", Level("D(1,2)", 1), (FAST,))
    result = score([measured(1, 10), measured(4, 40)], objective)
    assert (result.value, result.level, result.feasible) == (10, Level("D(1,2)", 1), True)


def test_a_limit_is_read_at_the_named_level_too() -> None:
    objective = Objective(RATE, "maximize", Level("D(1,2)", 1), (FAST,))
    assert score([measured(1, 10), measured(4, 40, 9.9)], objective).feasible
    assert not score([measured(1, 10, 9.9), measured(4, 40)], objective).feasible


@pytest.mark.parametrize(("direction", "best"), [("maximize", 30.0), ("minimize", 10.0)])
def test_without_a_level_the_best_one_that_keeps_every_limit_counts(direction: Direction, best: float) -> None:
    levels = [measured(1, 10), measured(2, 30), measured(4, 40, 9.9), measured(8, 1, 9.9)]
    result = score(levels, Objective(RATE, direction, None, (FAST,)))
    assert (result.value, result.feasible) == (best, True)


def test_where_no_level_keeps_them_the_one_that_breaks_them_least_counts() -> None:
    levels = [measured(1, 50, 1.5), measured(2, 10, 0.6), measured(4, 99, 2.0)]
    result = score(levels, Objective(RATE, "maximize", None, (FAST,)))
    assert (result.value, result.level, result.feasible) == (10, Level("D(1,2)", 2), False)
    assert result.limits == {"ttft_mean_s <= 0.5": pytest.approx(0.1)}


def test_violations_of_different_units_are_weighed_by_their_bounds() -> None:
    limits = (FAST, Limit(RATE, ">=", 1000.0))
    levels = [measured(1, 900, 0.1), measured(2, 1000, 0.6)]
    assert score(levels, Objective(RATE, "maximize", None, limits)).level == Level("D(1,2)", 1)


def test_an_invalid_measurement_is_never_scored() -> None:
    levels = [measured(1, 10), measured(4, 99, problems=("2 requests failed",))]
    with pytest.raises(MeasurementError, match=r"D\(1,2\) at concurrency 4 is invalid: 2 requests failed"):
        score(levels, Objective(RATE, "maximize"))


def test_what_to_try_is_said_where_too_few_requests_completed_and_none_failed() -> None:
    few = Validity().problems(completed=2, failed=0, figures={})
    with pytest.raises(MeasurementError) as caught:
        score([replace(measured(4, 99), problems=few)], Objective(RATE, "maximize"))
    for way in ("workload.seconds_per_level", "lower the concurrency", "whether other processes use the machine"):
        assert way in caught.value.failure.hint
    failed = Validity().problems(completed=2, failed=9, figures={})
    with pytest.raises(MeasurementError) as caught:
        score([replace(measured(4, 99), problems=failed, num_failed_requests=9)], Objective(RATE, "maximize"))
    assert caught.value.failure.hint == ""


def test_a_missing_level_or_figure_is_said() -> None:
    with pytest.raises(MeasurementError, match="no measurement to score"):
        score([], Objective(RATE, "maximize"))
    with pytest.raises(MeasurementError, match=r"no measurement of D\(1,2\) at concurrency 9 to score"):
        score([measured(1, 10)], Objective(RATE, "maximize", Level("D(1,2)", 9)))
    with pytest.raises(MeasurementError, match="has no requests_per_s"):
        score([measured(1, 10)], Objective("requests_per_s", "maximize"))
    with pytest.raises(MeasurementError, match="has no tpot_mean_s"):
        score([measured(1, 10)], Objective(RATE, "maximize", None, (Limit("tpot_mean_s", "<=", 1.0),)))


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=6),
    st.sampled_from(["minimize", "maximize"]),
)
def test_no_feasible_level_beats_the_one_that_is_read(levels: list[tuple[float, float]], direction: Direction) -> None:
    objective = Objective(RATE, direction, None, (FAST,))
    measurements = [measured(i + 1, rate, ttft) for i, (rate, ttft) in enumerate(levels)]
    result = score(measurements, objective)
    feasible = [m for m in measurements if FAST.violation(m) <= 0]
    assert result.feasible is bool(feasible)
    assert not any(objective.better(m.figures[RATE], result.value) for m in feasible)


@pytest.mark.parametrize("figure", ["quality_agreement", "goodput_share"])
def test_a_share_above_one_is_refused_with_the_same_limit_as_a_share(figure: str) -> None:
    with pytest.raises(TaskError, match=rf"is a share from 0 to 1: write '{figure} >= 0.8' instead of"):
        Limit.parse(f"{figure} >= 80")
    assert Limit.parse(f"{figure} >= 1").bound == 1


def test_a_limit_in_milliseconds_is_refused_with_the_same_limit_in_seconds() -> None:
    with pytest.raises(TaskError, match=r"times are in seconds: write 'ttft_p99_s <= 0.2' instead of") as caught:
        Limit.parse("ttft_p99_ms <= 200", field="limits[0]")
    assert str(caught.value).startswith("limits[0]: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ttft_p90_s < 1,5", r"'1,5' in 'ttft_p90_s < 1,5' has a comma; .* write 'ttft_p90_s <= 1\.5'$"),
        ("ttft_p90_s<=0,500 of D(64,32)", r"write 'ttft_p90_s <= 0\.500 of D\(64,32\)'$"),
        ("output_tokens_per_s > 1,500", r"write 'output_tokens_per_s >= 1\.500' or 'output_tokens_per_s >= 1500'$"),
    ],
)
def test_a_comma_in_the_number_of_a_limit_is_named_with_the_limit_to_write(text: str, expected: str) -> None:
    with pytest.raises(TaskError, match=expected):
        Limit.parse(text)


P99, ONE = "ttft_p99_s", Limit.parse("ttft_p99_s <= 1.5")


def with_tail(requests: int, beyond: int, p99: float, rate: float = 10.0) -> Measurement:
    counts = {str(ONE): (requests, beyond)}
    return Measurement(Level("D(1,2)", 4), 1.0, requests, requests, 0, {RATE: rate, P99: p99}, beyond=counts)


@pytest.mark.parametrize(
    ("requests", "beyond", "p99", "decision", "broken_by"),
    [
        # The slowest of 28 requests decides nothing, whatever its time is.
        (28, 1, 9.0, Decision.UNDECIDED, 0.0),
        (28, 0, 1.0, Decision.UNDECIDED, -0.5),
        (28, 3, 1.6, Decision.BROKEN, 0.1),
        (299, 0, 1.4, Decision.KEPT, -0.1),
        (299, 1, 1.4, Decision.UNDECIDED, -0.1),
        (473, 1, 1.4, Decision.KEPT, -0.1),
    ],
)
def test_the_requests_decide_on_a_percentile(
    requests: int, beyond: int, p99: float, decision: Decision, broken_by: float
) -> None:
    one = with_tail(requests, beyond, p99)
    assert ONE.decision(one) is decision
    assert ONE.violation(one) == pytest.approx(broken_by)
    assert bool(ONE.undecided_text(one)) is (decision is Decision.UNDECIDED)
    assert score([one], Objective(RATE, "maximize", None, (ONE,))).feasible is (decision is not Decision.BROKEN)


def test_a_broken_limit_is_broken_even_if_the_interpolated_percentile_is_below_the_bound() -> None:
    assert ONE.violation(with_tail(2, 1, 1.49)) > 0


def test_the_requests_of_all_starts_decide_together() -> None:
    starts = [with_tail(150, 0, 1.2), with_tail(149, 0, 1.3)]
    assert [ONE.decision(one) for one in starts] == [Decision.UNDECIDED] * 2
    assert ONE.decision(*starts) is Decision.KEPT
    trials = [
        Trial(i, {"x": 1}, TrialState.COMPLETE, (one,), Score({RATE: 1.0}, {str(ONE): -0.2}, one.level))
        for i, one in enumerate(starts)
    ]
    assert trials[0].undecided == {
        str(ONE): "0 of 150 requests beyond it; at least 299 are needed to tell, 2 s at this rate"
    }
    assert trials[0].to_dict()["undecided"] == trials[0].undecided
    assert Configuration(tuple(trials)).undecided == {}
    assert Configuration(tuple(trials[:1])).undecided == trials[0].undecided


def test_starts_that_decide_nothing_alone_may_break_a_limit_together() -> None:
    starts = [with_tail(100, 3, 1.8), with_tail(100, 3, 1.8)]
    trials = [
        Trial(i, {"x": 1}, TrialState.COMPLETE, (one,), Score({RATE: 1.0}, {str(ONE): 0.0}, one.level))
        for i, one in enumerate(starts)
    ]
    assert all(trial.undecided and trial.feasible for trial in trials)
    together = Configuration(tuple(trials))
    assert together.limits[str(ONE)] == pytest.approx(0.3)
    assert not together.feasible


def test_a_limit_on_anything_else_is_read_off_its_figure() -> None:
    assert Limit.parse("ttft_mean_s <= 1").tail is None
    assert Limit.parse("ttft_max_s <= 1").tail is None
    assert Limit.parse("tpot_p90_s <= 1").tail == Tail("tpot", 0.1)
    assert Limit.parse("request_output_tokens_per_s_p25 >= 9").tail == Tail("request_output_tokens_per_s", 0.25)
    # Recorded tables and studies of a previous version have no counts.
    assert ONE.decision(replace(with_tail(28, 1, 1.6), beyond={})) is None
    assert ONE.violation(replace(with_tail(28, 1, 1.6), beyond={})) == pytest.approx(0.1)


def test_the_counts_are_kept_as_json() -> None:
    one = with_tail(28, 1, 1.6)
    assert Measurement.from_dict(json.loads(json.dumps(one.to_dict()))) == one
