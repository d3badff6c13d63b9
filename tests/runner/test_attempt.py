"""The results of an attempt at a trial, and the durations of its phases."""

from __future__ import annotations

from autotune_nb.runner.attempt import PhaseClock


def test_a_phase_entered_twice_adds_up() -> None:
    entered: list[str] = []
    now = iter([0.0, 1.0, 1.0, 3.0, 3.0, 7.0])
    clock = PhaseClock(entered.append, lambda: next(now))
    for phase in ("deploy", "stop", "deploy"):
        clock.start(phase)
    clock.stop()
    clock.stop()
    assert entered == ["deploy", "stop", "deploy"]
    assert clock.seconds == {"deploy": 5.0, "stop": 2.0}
