"""Drift: the default's values over time, and the trials that cannot be compared because of it."""

from __future__ import annotations

from autotune_nb.trial.drift import drift_text, numbers_text, periods
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import study_verdict
from tests.trial.test_configuration import MOST, RATE, failed, start


def test_trials_beside_another_job_are_not_compared_with_those_without_it() -> None:
    beside = [start(0, 30, baseline=True), *(start(n, 31, x=n) for n in range(1, 6))]
    alone = [*(start(n, 77, x=n) for n in range(6, 10)), failed(10, x=10), start(11, 78, baseline=True)]
    trials = [*beside, *alone]
    assert [one.trials for one in periods(trials)] == [(0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11)]
    text = drift_text(trials)
    assert "30 tokens/s in trial 0, then 78 tokens/s in trial 11." in text
    assert "Do not compare trials 0 to 5 with trials 6 to 11:" in text
    assert study_verdict(trials, MOST, None).text.startswith(f"{text} Best is ")


def test_a_default_that_differs_by_noise_is_one_period() -> None:
    trials = [start(0, 100, baseline=True), start(1, 150, x=1), start(2, 110, baseline=True)]
    assert len(periods(trials)) == 1
    assert drift_text(trials) == ""
    assert drift_text([start(0, 100, baseline=True), start(1, 300, x=1)]) == ""
    assert periods([start(0, 100, x=1)]) == []
    assert drift_text([]) == ""


def test_levels_that_are_too_short_to_tell_are_no_drift() -> None:
    def measured(number: int, value: float, error: float) -> Trial:
        level = Level("D(16,8)", 2)
        steady = {"output_tokens_per_s_error": error}
        one = Measurement(level, 2.0, 9, 9, 0, {RATE: value}, steady=steady)
        return start(number, value, baseline=True).with_(measurements=(one,), score=Score({RATE: value}, {}, level))

    assert drift_text([measured(0, 100, 1), measured(9, 140, 1)])
    assert drift_text([measured(0, 100, 20), measured(9, 140, 1)]) == ""


def test_repeats_of_the_other_configurations_show_the_noise() -> None:
    defaults = [start(0, 100, baseline=True), start(20, 140, baseline=True)]
    assert drift_text(defaults)
    noisy = [start(n, value, x=1) for n, value in enumerate((80, 100, 125, 150), start=1)]
    assert drift_text([*defaults, *noisy]) == ""
    steady = [start(n, value, x=1) for n, value in enumerate((100, 101, 100, 99), start=1)]
    assert drift_text([defaults[0], *steady, start(20, 112, baseline=True)])


def test_a_third_value_is_a_third_period() -> None:
    values = [(0, 100), (4, 102), (8, 50), (12, 100)]
    trials = [start(number, value, baseline=True) for number, value in values]
    assert [one.defaults for one in periods(trials)] == [(0, 4), (8,), (12,)]


def test_numbers_are_worded_as_ranges() -> None:
    assert numbers_text([3, 1, 2, 7, 9, 10]) == "1 to 3, 7, 9 to 10"
