"""What trials cost, and the figures per GPU and in dollars."""

from __future__ import annotations

import pytest

from autotune_nb.task.budget import Price
from autotune_nb.trial.cost import Cost, cost_figures, cost_of
from autotune_nb.trial.formatting import value_text
from autotune_nb.trial.trial import Trial, TrialState

RATES = {"output_tokens_per_s": 1000.0, "total_tokens_per_s": 3000.0, "ttft_mean_s": 0.1}


def trial(number: int, gpus: int | None, hours: float, **seconds: float) -> Trial:
    return Trial(number, {}, TrialState.FAILED, seconds={"benchmark": hours * 3600, **seconds}, gpus=gpus)


def test_figures_per_gpu_and_in_dollars_follow_from_the_rates_of_a_level() -> None:
    found = cost_figures(RATES, 2, Price(usd_per_gpu_hour=1.8).per_hour(2))
    # 3.6 million tokens an hour for 3.6 dollars an hour.
    assert found == {
        "output_tokens_per_s_per_gpu": 500.0,
        "total_tokens_per_s_per_gpu": 1500.0,
        "usd_per_million_output_tokens": pytest.approx(1.0),
    }
    assert value_text(1.0, "usd_per_million_output_tokens") == "$1 per million tokens"
    assert value_text(500.0, "output_tokens_per_s_per_gpu") == "500 tokens/s per GPU"


def test_a_machine_without_gpus_has_a_price_by_the_hour() -> None:
    price = Price(usd_per_gpu_hour=2.5, usd_per_hour=0.36)
    assert cost_figures(RATES, 0, price.per_hour(0)) == {"usd_per_million_output_tokens": pytest.approx(0.1)}
    assert cost_figures(RATES, 0, Price().per_hour(0)) == {}
    assert cost_figures({"output_tokens_per_s": 0.0}, 1, 2.5) == {"output_tokens_per_s_per_gpu": 0.0}


def test_every_trial_costs_the_time_in_which_it_held_its_gpus() -> None:
    # It waited for its GPUs for an hour, which costs nothing.
    trials = [trial(0, 2, 1.0), trial(1, 4, 0.5, queue=3600), trial(2, None, 0.25)]
    assert str(cost_of(trials, Price())) == "4 GPU-hours"
    cost = cost_of(trials, Price(usd_per_gpu_hour=2.5, usd_per_hour=0.4))
    assert cost == Cost(4.0, pytest.approx(4 * 2.5 + 1.75 * 0.4))
    assert str(cost) == "4 GPU-hours, $10.70"
    assert Cost.from_dict(cost.to_dict()) == Cost(4.0, 10.7)
    assert (str(cost_of([trial(0, 0, 1.0)], Price())), cost_of([], Price()).to_dict()) == ("", {})
