"""A regression is a loss of the threshold or more that is more than noise; what is undecided does not fail."""

from __future__ import annotations

import random

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.history.regression import RegressionOutcome, parse_threshold
from tests.history.samples import FINGERPRINT, Sample, compared, failed, repeated, sample_task, start

TASK = sample_task()
BEFORE = repeated(TASK, {None: 100.0, 1: 200.0})


@pytest.mark.parametrize(
    ("rates", "noise", "outcome"),
    [
        ({None: 100.0, 1: 200.0}, 0.01, RegressionOutcome.NONE),
        ({None: 100.0, 1: 170.0}, 0.01, RegressionOutcome.REGRESSION),
        ({None: 85.0, 1: 200.0}, 0.01, RegressionOutcome.REGRESSION),
        # A loss below the threshold, known well.
        ({None: 100.0, 1: 196.5}, 0.002, RegressionOutcome.NONE),
        # A large loss, but as large is the noise.
        ({None: 100.0, 1: 180.0}, 0.2, RegressionOutcome.UNDECIDED),
        ({None: 100.0}, 0.01, RegressionOutcome.UNDECIDED),
        ({None: 120.0, 1: 240.0}, 0.01, RegressionOutcome.NONE),
    ],
)
def test_the_outcome_follows_the_loss_and_the_noise(
    rates: dict[int | None, float], noise: float, outcome: RegressionOutcome
) -> None:
    found = compared(BEFORE, repeated(TASK, rates, noise=noise)).regression("5%")
    assert found.outcome is outcome, str(found)


def test_a_latency_regresses_upwards() -> None:
    task = sample_task(objective={"direction": "minimize", "figure": "ttft_p99_s", "at": 2})
    dice = random.Random(3)

    def study(time: float) -> Sample:
        times = [time * (1 + dice.gauss(0, 0.01)) for _ in range(8)]
        return Sample(task, [start(task, i, 100.0, time=t, seqs=1) for i, t in enumerate(times)])

    found = compared(study(0.2), study(0.3)).regression(0.05)
    assert found.outcome is RegressionOutcome.REGRESSION
    assert "50 % worse" in str(found).replace("49 %", "50 %").replace("51 %", "50 %")
    assert compared(study(0.3), study(0.2)).regression(0.05).outcome is RegressionOutcome.NONE


def test_a_best_that_no_confirmation_started_again_may_be_luck() -> None:
    """Of many configurations that are equally fast, the best of the first study is not as good the next night."""
    dice, wrong = random.Random(2), 0
    task = sample_task(parameters={"max_num_seqs": list(range(1, 31))})
    for _ in range(25):
        studies = []
        for _ in range(2):
            trials = [start(task, i, 100 * (1 + dice.gauss(0, 0.04)), seqs=1 + i) for i in range(30)]
            default = [start(task, 30 + i, 100 * (1 + dice.gauss(0, 0.04))) for i in range(5)]
            studies.append(Sample(task, [*trials, *default]))
        wrong += compared(*studies).regression("5%").outcome is RegressionOutcome.REGRESSION
    assert wrong <= 4


def test_a_configuration_that_no_longer_starts_or_breaks_a_limit_is_one() -> None:
    gone = Sample(TASK, [*repeated(TASK, {None: 100.0}).history, failed(30, 1)])
    found = compared(BEFORE, gone).regression("5%")
    assert found.outcome is RegressionOutcome.REGRESSION
    assert "fails now" in str(found)
    late = [start(TASK, 30 + i, 300.0, time=2.0, seqs=1) for i in range(2)]
    found = compared(BEFORE, Sample(TASK, [*repeated(TASK, {None: 100.0}).history, *late])).regression("5%")
    assert "breaks a limit now: ttft_p99_s <= 1" in str(found)


def test_another_machine_or_model_is_no_regression() -> None:
    slower = {**FINGERPRINT, "gpus": ["NVIDIA L4, 23034 MiB, 570.86"]}
    found = compared(BEFORE, repeated(TASK, {None: 10.0, 1: 20.0}, fingerprint=slower)).regression("5%")
    assert found.outcome is RegressionOutcome.NOT_COMPARABLE
    assert "the GPUs (NVIDIA H200, 143771 MiB, then NVIDIA L4, 23034 MiB)" in str(found)
    # A newer driver is part of what is to be checked.
    driver = {**FINGERPRINT, "gpus": ["NVIDIA H200, 143771 MiB, 580.10"]}
    found = compared(BEFORE, repeated(TASK, {None: 10.0, 1: 20.0}, fingerprint=driver)).regression("5%")
    assert found.outcome is RegressionOutcome.REGRESSION


def test_thresholds_are_shares_or_percent() -> None:
    assert [parse_threshold(text) for text in ("5%", "5 %", "0.05", 0.05)] == [0.05] * 4
    for text in ("5", "0", "-5%", "five", "100%"):
        with pytest.raises(TaskError, match=r"^fail_on_regression: expected a loss .* such as 5% or 0.05"):
            parse_threshold(text)
