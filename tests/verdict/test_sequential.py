"""Critical values: the error they promise, held on comparisons that they were not simulated with."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from autotune_nb.verdict.sequential import critical_values, simulated_critical_values


def test_a_single_comparison_whose_noise_is_known_has_the_quantile_of_a_normal_distribution() -> None:
    (found,) = critical_values((1,), 0.05, 100_000)
    assert found == pytest.approx(NormalDist().inv_cdf(0.975), rel=0.02)


def test_a_single_comparison_has_the_quantile_of_students_t() -> None:
    assert critical_values((1,), 0.05, 4)[0] == pytest.approx(2.776, rel=0.03)


def test_two_contenders_have_dunnetts_quantile() -> None:
    # Dunnett (1964), two-sided, two treatments and a control, 10 degrees of freedom.
    assert critical_values((2,), 0.05, 10)[0] == pytest.approx(2.57, rel=0.03)


def test_nothing_is_decided_before_the_noise_is_known() -> None:
    first, second, third = critical_values((1, 1, 1), 0.05)
    assert math.isinf(first)
    assert math.isinf(second), "one degree of freedom"
    assert math.isfinite(third)
    assert math.isfinite(critical_values((2, 2), 0.05)[1])


def test_the_error_over_all_looks_is_alpha() -> None:
    rng, rounds, wrong, count = np.random.default_rng(5), 4, 0, 20_000
    values = critical_values((1,) * rounds, 0.05, 3)
    starts = rng.standard_normal((count, 2, rounds))
    outside = rng.chisquare(3, count)
    rejected = np.zeros(count, dtype=bool)
    for done in range(1, rounds + 1):
        differences = starts[:, 1, :done] - starts[:, 0, :done]
        squares = ((differences - differences.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / 2
        error = np.sqrt((squares + outside) / (done - 1 + 3) * 2 / done)
        rejected |= np.abs(differences.mean(axis=1)) > values[done - 1] * error
    wrong = int(rejected.sum())
    assert 0.045 * count < wrong < 0.055 * count


@pytest.mark.parametrize(("contenders", "alpha"), [((), 0.05), ((1, 2), 0.05), ((0,), 0.05), ((1,), 0.0), ((1,), 1.0)])
def test_a_comparison_that_makes_no_sense_is_refused(contenders: tuple[int, ...], alpha: float) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        critical_values(contenders, alpha)


@pytest.mark.parametrize("contenders", [(1, 1, 1), (1, 1, 1, 1, 1), (2, 1, 1, 1, 1)])
def test_the_values_that_are_kept_are_those_of_the_simulation(contenders: tuple[int, ...]) -> None:
    assert critical_values(contenders, 0.05, 1) == pytest.approx(simulated_critical_values(contenders, 0.05, 1))
