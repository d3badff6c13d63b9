"""The highest load that keeps every limit, with noise and cliffs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.trial.load import LoadRange, _rising, levels_to_score, limits_load
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.pooling import pooled
from autotune_nb.trial.score import Limit, Objective, score

LIMIT = Limit.parse("ttft_p90_s <= 1")
GOAL = Objective("max_concurrency", "maximize", None, (LIMIT,))


def at(load: int, ttft: float, rate: float = 100.0, **fields: Any) -> Measurement:
    figures = {"ttft_p90_s": ttft, "output_tokens_per_s": rate, "max_concurrency": float(load)}
    return Measurement(Level("D(8,8)", load), 10.0, 50, 50, 0, figures, **fields)


def test_the_boundary_is_between_two_loads() -> None:
    found = LoadRange.of([at(1, 0.1), at(8, 1.2), at(4, 0.9)], [LIMIT])
    assert (found.kept, found.broken, found.text) == (4, 8, "")
    assert LoadRange.of([at(1, 0.1), at(2, 1.0)], [LIMIT]).broken is None
    assert LoadRange.of([at(1, 1.1), at(2, 1.5)], [LIMIT]).kept is None


def test_a_lucky_heavier_load_does_not_win() -> None:
    # 4 breaks the limit clearly, 8 seems to keep it: latency does not fall with the load.
    lucky = [at(2, 0.8), at(4, 1.4), at(8, 0.95)]
    assert LoadRange.of(lucky, [LIMIT]).kept == 2
    (scored,) = levels_to_score(lucky, GOAL)
    assert score([scored], GOAL).value == 2
    # An unlucky lighter load does not lose either.
    unlucky = [at(2, 0.8), at(4, 1.02), at(8, 0.7), at(16, 2.0)]
    found = LoadRange.of(unlucky, [LIMIT])
    assert (found.kept, found.broken) == (8, 16)


def test_a_trial_that_keeps_its_limits_at_no_load_breaks_them_at_the_lightest() -> None:
    # Smoothed, no load keeps the limit, though one of them seems to.
    found = [at(1, 1.5), at(2, 0.98)]
    scored = score(levels_to_score(found, GOAL), GOAL)
    assert (scored.value, scored.feasible) == (1, False)


def test_a_load_whose_measurement_is_invalid_is_too_high() -> None:
    found = [at(4, 0.5), at(8, 0.5, problems=("9 of 50 requests failed",))]
    assert LoadRange.of(found, [LIMIT]).broken == 8
    assert score(levels_to_score(found, GOAL), GOAL).value == 4


def test_a_cliff_of_the_throughput_is_the_boundary_whatever_the_limits() -> None:
    found = LoadRange.of([at(8, 0.2, 100), at(9, 0.3, 55), at(16, 0.4, 60)], [LIMIT])
    assert (found.kept, found.broken, found.cliff) == (8, 9, (8, 9))
    assert found.text == "a cliff: the throughput falls by 45% between concurrency 8 and 9"
    # Within the errors of the two levels it is none, nor is a slow fall.
    unsure = [at(8, 0.2, 100, steady={"output_tokens_per_s_error": 20.0}), at(9, 0.3, 55)]
    assert LoadRange.of(unsure, [LIMIT]).cliff is None
    assert LoadRange.of([at(8, 0.2, 100), at(9, 0.3, 80), at(16, 0.4, 65)], [LIMIT]).cliff is None


def test_a_limit_that_lighter_loads_break_does_not_bound_the_load() -> None:
    assert [limits_load(Limit.parse(text)) for text in ("tpot <= 1", "goodput_share >= 0.9", "tpot >= 1")] == [
        True,
        True,
        False,
    ]
    least = Limit.parse("output_tokens_per_s >= 90")
    found = [at(1, 0.1, 20), at(4, 0.2, 95), at(8, 2.0, 99)]
    assert LoadRange.of(found, [LIMIT, least]).kept == 4


def test_two_runs_of_a_level_decide_together() -> None:
    beyond = {str(LIMIT): (50, 1)}
    first, second = at(4, 0.8, 90, beyond=beyond), at(4, 1.1, 110, beyond={str(LIMIT): (50, 9)})
    both = pooled(first, second)
    assert both.figures == {"ttft_p90_s": pytest.approx(0.95), "output_tokens_per_s": 100.0, "max_concurrency": 4.0}
    assert (both.runs, both.num_requests, both.beyond) == (2, 100, {str(LIMIT): (100, 10)})
    # A third run has the weight of one.
    assert pooled(both, at(4, 0.8, 130)).figures["output_tokens_per_s"] == pytest.approx(110.0)
    assert Measurement.from_dict(both.to_dict()) == both
    failed = at(4, 0.1, problems=("9 of 50 requests failed",))
    assert pooled(failed, second) == pooled(second, failed)
    assert pooled(failed, second).figures == second.figures
    assert not pooled(failed, failed).valid


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.5, 3)), min_size=1, max_size=8))
def test_smoothing_never_falls_and_keeps_the_mean(points: list[tuple[float, float]]) -> None:
    values, weights = [one for one, _ in points], [weight for _, weight in points]
    smooth = _rising(values, weights)
    assert all(a <= b for a, b in itertools.pairwise(smooth))
    total = sum(weight * value for value, weight in points)
    assert sum(weight * value for value, weight in zip(smooth, weights, strict=True)) == pytest.approx(total, abs=1e-9)
    if values == sorted(values):
        assert smooth == values


def test_counts_of_two_runs_add_up_and_the_highest_value_stays() -> None:
    each = {"preemptions": 3.0, "kv_cache_usage_mean": 0.4, "engine_output_tokens": 400.0}
    both = pooled(
        at(4, 0.8, conditions={**each, "kv_cache_usage_max": 0.6}),
        at(4, 0.8, conditions={**each, "kv_cache_usage_max": 0.9}),
    )
    assert both.conditions == {
        "preemptions": 6.0,
        "kv_cache_usage_mean": pytest.approx(0.4),
        "engine_output_tokens": 800.0,
        "kv_cache_usage_max": 0.9,
    }
    counted = replace(both, figures={"output_tokens_mean": 8.0})
    assert counted.notes == ()
