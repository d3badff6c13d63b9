"""The score with a soft penalty for broken limits."""

from __future__ import annotations

import math

import pytest

from autotune_nb.trial.penalty import penalty, slo_score
from autotune_nb.trial.score import Limit

LIMITS = {Limit.parse("e2e_latency_p90_s <= 5"): 2.0, Limit.parse("ttft_mean_s <= 1"): 1.0}


def test_each_broken_limit_adds_its_weight_times_an_exponential_of_its_excess() -> None:
    assert penalty({"e2e_latency_p90_s": 5.0, "ttft_mean_s": 0.5}, LIMITS, 0.1) == 0.0
    # 20 % and 50 % over.
    found = penalty({"e2e_latency_p90_s": 6.0, "ttft_mean_s": 1.5}, LIMITS, 0.1)
    assert found == pytest.approx(2 * math.exp(2) + math.exp(5))
    # Steeper, and of the only figure that was measured.
    assert penalty({"e2e_latency_p90_s": 6.0}, LIMITS, 0.05) == pytest.approx(2 * math.exp(4))
    assert math.isfinite(penalty({"ttft_mean_s": 1e9}, LIMITS, 0.001))


def test_the_penalty_makes_the_score_worse_in_either_direction() -> None:
    figures = {"ttft_mean_s": 1.1, "output_tokens_per_s": 100.0}
    factor = 1 + math.exp(1)
    assert slo_score(figures, "ttft_mean_s", LIMITS, 0.1, "minimize") == pytest.approx(1.1 * factor)
    assert slo_score(figures, "output_tokens_per_s", LIMITS, 0.1, "maximize") == pytest.approx(100 / factor)
    assert slo_score(figures, "tpot_mean_s", LIMITS, 0.1, "minimize") is None
    assert slo_score({"output_tokens_per_s": 7.0}, "output_tokens_per_s", LIMITS, 0.1, "maximize") == 7.0
