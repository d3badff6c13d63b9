"""A confirmation: what its rounds show, when it ends, and how often it is wrong."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.verdict.confirmation import Conclusion, Confirmation, Noise, Outcome

PLAN = Confirmation.planned(5, 12, alpha=0.05, margin=0.03, noise=Noise(0.03**2, 1))


def confirmed(
    plan: Confirmation, truth: list[float], deviation: float, seed: int, drift: float = 0.05
) -> tuple[Conclusion, int]:
    """Run a simulated confirmation; returns its conclusion and the number of its starts."""
    rng = np.random.default_rng(seed)
    rounds: list[dict[int, float]] = []
    compared, num_starts = tuple(range(1, plan.contenders[0] + 1)), 0
    while True:
        weather = rng.normal(0, drift)
        order = plan.order(len(rounds), compared)
        rounds.append({one: truth[one] + weather + rng.normal(0, deviation) for one in order})
        num_starts += len(order)
        found = plan.conclude(rounds)
        if found.decided:
            return found, num_starts
        compared = found.compared


def test_the_first_rounds_have_more_finalists_within_the_budget() -> None:
    assert PLAN.contenders == (2, 2, 1, 1, 1)
    assert Confirmation.planned(3, 6, alpha=0.05, margin=0.03, noise=Noise()).contenders == (1, 1, 1)
    assert sum(Confirmation.planned(5, 99, alpha=0.05, margin=0.03, noise=Noise()).contenders) <= 4 * 3 + 2
    with pytest.raises(ValueError, match="5 rounds need at least 10 starts, not 9"):
        Confirmation.planned(5, 9, alpha=0.05, margin=0.03, noise=Noise())


def test_the_order_is_balanced() -> None:
    assert [PLAN.order(turn, (1,)) for turn in range(4)] == [[0, 1], [1, 0], [1, 0], [0, 1]]
    places = Counter((place, one) for turn in range(6) for place, one in enumerate(PLAN.order(turn, (1, 2))))
    assert set(places.values()) == {2}


def test_a_clear_gain_is_found_with_its_interval_whatever_the_machine_does_between_rounds() -> None:
    found, num_starts = confirmed(PLAN, [0.0, math.log(1.2), math.log(1.02)], 0.02, seed=1, drift=0.3)
    assert found.outcome is Outcome.BETTER
    assert found.leader == 1
    assert found.ties == (1,)
    assert num_starts <= 12
    gain = found.gains[1]
    assert gain.low < math.log(1.2) < gain.high
    assert found.deviation == pytest.approx(0.02, rel=0.6)


def test_a_default_that_is_best_is_named() -> None:
    found, _ = confirmed(PLAN, [0.0, -0.3, -0.4], 0.02, seed=1)
    assert (found.outcome, found.ties) == (Outcome.DEFAULT_BEST, (0,))


def test_finalists_that_fail_leave_the_default() -> None:
    found = PLAN.conclude([{0: 1.0, 1: 1.1}], excluded=(1, 2))
    assert (found.outcome, found.decided, found.ties) == (Outcome.DEFAULT_BEST, True, (0,))


def test_without_the_default_there_is_nothing_to_compare_with() -> None:
    found = PLAN.conclude([{1: 1.1, 2: 1.2}], excluded=(0, 1))
    assert (found.outcome, found.decided, found.ties, found.default_failed) == (Outcome.UNDECIDED, True, (2,), True)
    assert PLAN.conclude([{}], excluded=(0, 1, 2)).ties == (0,)


def test_a_missing_start_is_no_value() -> None:
    rounds = [{0: 0.0, 1: 0.2, 2: 0.0}, {0: 0.31, 1: 0.5}, {0: -0.2, 1: 0.01}]
    found = PLAN.conclude(rounds)
    assert found.gains[1].estimate == pytest.approx(0.2, abs=0.02)
    assert found.outcome is Outcome.BETTER


def test_equal_configurations_end_early_without_a_difference() -> None:
    plan = Confirmation.planned(5, 12, alpha=0.05, margin=0.03, noise=Noise(0.002**2, 1))
    found, num_starts = confirmed(plan, [0.0, 0.0, 0.0], 0.002, seed=2)
    assert (found.outcome, found.decided) == (Outcome.NO_DIFFERENCE, True)
    assert 0 in found.ties
    assert num_starts < 12


def test_an_estimate_that_needs_more_rounds_says_how_many() -> None:
    rounds = [{0: 0.0, 1: 0.02}, {0: 0.0, 1: 0.16}, {0: 0.0, 1: 0.05}]
    found = Confirmation((1, 1, 1), noise=Noise(0.05**2, 1)).conclude(rounds)
    assert (found.outcome, found.decided) == (Outcome.UNDECIDED, True)
    assert found.rounds_missing is not None
    assert found.rounds_missing >= 1
    assert found.ties == (0, 1)


def test_noise_is_pooled_over_repeats() -> None:
    noise = Noise.of_repeats([[100.0, 110.0], [50.0, 50.0, 52.0], [7.0], [-1.0, 2.0]])
    assert noise.degrees == 3
    assert noise.deviation == pytest.approx(0.041, abs=0.01)
    assert Noise().deviation is None
    assert Confirmation((1, 1)).detectable() is None


def test_what_can_be_told_apart_shrinks_with_the_rounds() -> None:
    found = [Confirmation((1,) * n, noise=Noise(0.03**2, 1)).detectable() or math.inf for n in (3, 5, 9)]
    assert found == sorted(found, reverse=True)
    assert 0.05 < found[-1] < found[0]


def test_few_comparisons_of_equal_configurations_name_a_winner_and_a_gain_of_ten_percent_is_found() -> None:
    def shares(truth: list[float]) -> Counter[Outcome]:
        return Counter(confirmed(PLAN, truth, 0.03, seed)[0].outcome for seed in range(300))

    assert shares([0.0, 0.0, 0.0])[Outcome.BETTER] <= 0.05 * 300
    assert shares([0.0, math.log(1.1), 0.0])[Outcome.BETTER] >= 0.9 * 300


@given(st.lists(st.dictionaries(st.integers(0, 2), st.floats(-3, 3), max_size=3), max_size=6))
def test_any_rounds_have_a_conclusion(rounds: list[dict[int, float]]) -> None:
    found = PLAN.conclude(rounds)
    assert found.rounds == len(rounds)
    assert found.decided or len(rounds) < len(PLAN.contenders)
    assert 0 in found.ties or found.outcome is Outcome.BETTER
    if found.outcome is Outcome.BETTER:
        assert found.leader is not None
        assert found.gains[found.leader].low > 0
