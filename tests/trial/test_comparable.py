"""Trials that ran in different environments cannot be compared."""

from __future__ import annotations

from typing import Any

from autotune_nb.trial.comparable import company_text, environment_text
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import study_verdict
from tests.trial.test_configuration import MOST, RATE, failed, start

HERE: dict[str, Any] = {"host": "a", "cpu": "EPYC", "engine_version": "0.6.1", "model": {"name": "m", "sha256": "12"}}


def in_environments(later: dict[str, Any]) -> list[Trial]:
    """Trials of which those from the third one on ran in a changed environment."""
    before = [start(0, 100, baseline=True), start(1, 120, x=1)]
    after = [start(2, 180, x=2), failed(3, x=3), start(4, 190, x=4)]
    now = {**HERE, **later}
    return [*(t.with_(fingerprint=HERE) for t in before), *(t.with_(fingerprint=now) for t in after)]


def test_an_engine_that_was_upgraded_in_mid_study_is_named_before_the_best() -> None:
    found = in_environments({"engine_version": "0.7.0"})
    text = environment_text(found)
    assert text == (
        "Not every trial ran in the same environment: the engine's version (0.6.1, then 0.7.0) changed. "
        "Do not compare trials 0 to 1 with trials 2, 4."
    )
    assert study_verdict(found, MOST, None).text.startswith(f"{text} Best is trial 4")


def test_other_files_of_the_model_and_other_gpus_are_named() -> None:
    text = environment_text(in_environments({"model": {"name": "m", "sha256": "34"}, "gpus": ["H200"]}))
    assert "the model (12, then 34) changed" in text


def beside(number: int, share: float, **more: float) -> Trial:
    """A trial during which other work used this share of the CPUs."""
    measured = Measurement(Level("D(16,8)"), 2.0, 9, 9, 0, {RATE: 100.0}, conditions={"other_cpu_share": share, **more})
    return start(number, 100, x=number).with_(measurements=(measured,))


def test_trials_beside_other_work_are_named() -> None:
    some = [beside(0, 0.8), beside(1, 0.55), beside(2, 0.03), beside(3, 0.1)]
    assert company_text(some) == (
        "Other processes used 55% to 80% of this machine's CPUs during trials 0 to 1: do not compare them with trials "
        "2 to 3."
    )
    assert company_text(some[:1]).startswith("Other processes used 80% of this machine's CPUs during every trial: ")
    assert company_text(some[2:]) == ""
    foreign = company_text([beside(0, 0.1, gpu_foreign_processes=2.0), beside(1, 0.1, gpu_foreign_processes=0.0)])
    assert foreign == ("Other processes computed on the engine's GPUs during trial 0: do not compare it with trial 1.")
    # An engine on GPUs needs few CPUs.
    assert company_text([beside(0, 0.5, gpu_clock_mean_mhz=1980.0), beside(1, 0.0)]) == ""
    assert study_verdict(some, MOST, None).text.startswith(company_text(some))


def test_what_changes_no_figure_and_what_is_unknown_is_not_reported() -> None:
    assert not environment_text(in_environments({"host": "b", "model": {"name": "copy", "sha256": "12"}}))
    assert not environment_text(in_environments({"gpus": ["H200"]}))  # unknown before
    assert not environment_text([start(0, 100), start(1, 120)])
    assert not environment_text([])
