"""What so many requests beyond a bound show of a percentile."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.trial.binomial import at_most, fewest_requests, shown_above, shown_below
from autotune_nb.trial.score import Decision, Tail

SHARES = st.integers(1, 99).map(lambda percent: percent / 100)


@pytest.mark.parametrize(
    ("share", "beyond", "error", "requests"),
    [
        *[(0.01, 0, 0.05, 299), (0.01, 0, 0.01, 459), (0.1, 0, 0.05, 29), (0.1, 0, 0.01, 44)],
        *[(0.01, 1, 0.05, 473), (0.01, 1, 0.01, 662)],
    ],
)
def test_the_fewest_requests_are_those_of_the_tables(share: float, beyond: int, error: float, requests: int) -> None:
    assert fewest_requests(share, beyond, error) == requests


@given(st.integers(1, 400), st.data())
def test_the_sum_is_exact(requests: int, data: st.DataObject) -> None:
    count, share = data.draw(st.integers(-1, requests)), data.draw(SHARES)
    exact = Fraction(share)
    terms = (math.comb(requests, k) * exact**k * (1 - exact) ** (requests - k) for k in range(count + 1))
    assert at_most(count, requests, share) == pytest.approx(float(sum(terms)), rel=1e-9, abs=1e-300)


@given(st.integers(1, 1000), SHARES)
def test_a_limit_at_its_bound_is_hardly_ever_called_kept_or_broken(requests: int, share: float) -> None:
    """With exactly the share that the limit allows, each of the two errors happens in at most 5 % of levels."""
    kept = [k for k in range(requests + 1) if shown_below(k, requests, share)]
    broken = [k for k in range(requests + 1) if shown_above(k, requests, share)]
    assert at_most(max(kept, default=-1), requests, share) <= 0.05
    assert 1 - at_most(min(broken, default=requests + 1) - 1, requests, share) <= 0.05 + 1e-9
    # Few are kept, many are broken, and what lies between is undecided.
    decisions = [Tail("ttft", share).decide(requests, k) for k in range(requests + 1)]
    order = [Decision.KEPT, Decision.UNDECIDED, Decision.BROKEN]
    assert decisions == sorted(decisions, key=order.index)
    assert decisions[-1] is not Decision.KEPT


def test_many_requests_are_no_problem() -> None:
    assert Tail("ttft", 0.5).decide(100_000, 49_000) is Decision.KEPT
    assert Tail("ttft", 0.5).decide(100_000, 50_000) is Decision.UNDECIDED
    assert Tail("ttft", 0.5).decide(100_000, 51_000) is Decision.BROKEN
