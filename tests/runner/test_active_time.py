"""The time that ``budget.minutes`` counts."""

from __future__ import annotations

import pytest

from autotune_nb.runner.active_time import ActiveTime


class Steps:
    """An active time whose clock the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.active = ActiveTime(lambda: self.now, 1000.0)

    def after(self, seconds: float) -> ActiveTime:
        self.now += seconds
        return self.active

    @property
    def counted(self) -> float:
        return self.active.seconds - 1000.0


def test_time_between_trials_and_in_trials_counts() -> None:
    steps = Steps()
    steps.after(1).works(0)
    steps.after(2).ended(0)
    steps.after(4).works(1)
    assert steps.counted == 7
    steps.after(8).end()
    steps.after(16)
    assert steps.counted == 15


def test_a_pause_counts_only_while_a_trial_runs() -> None:
    steps = Steps()
    steps.after(1).works(0)
    steps.after(1).pause(True)
    steps.after(5).ended(0)
    steps.after(100).pause(False)
    steps.after(1).works(1)
    assert steps.counted == 8
    # Paused and resumed while a trial runs: nothing is left out.
    steps.active.pause(True)
    steps.after(2).pause(False)
    assert steps.counted == 10


def test_a_wait_for_the_surroundings_and_the_attempt_before_it_do_not_count() -> None:
    steps = Steps()
    steps.after(3).works(0)
    for _ in range(3):
        began = steps.now
        steps.after(10).waits(0, began)
        assert steps.counted == 3
        steps.after(60).works(0)
    steps.after(7).ended(0)
    assert steps.counted == 10


def test_a_wait_counts_while_another_works() -> None:
    steps = Steps()
    steps.active.works(0)
    steps.active.works(1)
    steps.after(5).waits(0, steps.now - 5)
    steps.after(5).ended(1)
    assert steps.counted == 10
    steps.after(50)
    assert steps.counted == 10
    # Another trial starts and also waits; its work was in vain.
    steps.active.works(2)
    steps.after(20).waits(2, steps.now - 20)
    steps.after(50).works(0)
    steps.after(1).ended(0)
    assert steps.counted == 11


@pytest.mark.parametrize("in_vain_s", [1, 8])
def test_what_one_trial_did_in_vain_counts_as_far_as_another_worked(in_vain_s: int) -> None:
    steps = Steps()
    steps.active.works(0)
    steps.active.works(1)
    steps.after(6).ended(1)
    steps.after(4).waits(0, steps.now - in_vain_s)
    assert steps.counted == max(10 - in_vain_s, 6)
