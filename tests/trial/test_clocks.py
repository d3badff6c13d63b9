"""Clocks that drop between starts of one configuration."""

from __future__ import annotations

from autotune_nb.runner.cautions import Cautions
from autotune_nb.trial.clocks import slowed_text
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import study_verdict
from tests.trial.test_configuration import MOST, RATE, start


def at(number: int, *, x: int = 1, baseline: bool = False, **conditions: float) -> Trial:
    measured = Measurement(Level("D(16,8)"), 2.0, 9, 9, 0, {RATE: 100.0}, conditions=conditions)
    params = {} if baseline else {"x": x}
    return start(number, 100, baseline=baseline, **params).with_(measurements=(measured,))


def test_a_drop_between_starts_of_a_configuration_is_named_before_the_best() -> None:
    trials = [at(0, baseline=True, cpu_frequency_mean_mhz=3000), at(1, x=2, cpu_frequency_mean_mhz=2900)]
    trials += [at(2, baseline=True, cpu_frequency_mean_mhz=2000)]
    text = slowed_text(trials)
    assert text.startswith(
        "The CPUs ran at 2,000 MHz during trial 2, and at 3,000 MHz during trial 0 with the same configuration: "
    )
    assert study_verdict(trials, MOST, None).text.startswith(text)
    cautions = Cautions()
    assert list(cautions.after(trials[1], trials)) == [text]
    assert list(cautions.after(trials[1], trials)) == []


def test_clocks_of_gpus_are_compared_alike() -> None:
    trials = [at(0, gpu_clock_mean_mhz=1980), at(1, gpu_clock_mean_mhz=1200), at(2, gpu_clock_mean_mhz=1100)]
    assert slowed_text(trials).startswith("The GPUs ran at 1,100 MHz during trial 2, and at 1,980 MHz during trial 0 ")


def test_another_configuration_may_have_another_clock() -> None:
    assert slowed_text([at(0, x=1, cpu_frequency_mean_mhz=3000), at(1, x=2, cpu_frequency_mean_mhz=1500)]) == ""
    assert slowed_text([at(0, cpu_frequency_mean_mhz=3000), at(1, cpu_frequency_mean_mhz=2800), at(2)]) == ""


def test_why_the_metrics_of_an_engine_were_not_read_is_reported_once() -> None:
    cautions = Cautions()
    trials = [
        at(number).with_(fingerprint={"engine_metrics": "not read: /metrics returned HTTP 404"}) for number in (0, 1)
    ]
    assert list(cautions.after(trials[0], trials)) == [
        "trial 0: the engine's metrics were not read: /metrics returned HTTP 404"
    ]
    assert list(cautions.after(trials[1], trials)) == []
