"""When a monitor may redraw."""

from __future__ import annotations

import pytest

from autotune_nb.widgets._pace import Pace


class Clock:
    """A clock that a test sets."""

    at = 100.0

    def __call__(self) -> float:
        return self.at

    def wait(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_redraw_after_a_quiet_time_comes_at_once_and_the_next_one_soon(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.wait_s == 0
    pace.redrawn(3000)
    assert 0 < pace.wait_s <= 0.15
    clock.wait(0.77)
    # As often as three levels end in two seconds.
    for _ in range(20):
        assert pace.wait_s == 0
        pace.redrawn(3000)
        clock.wait(0.67)


def test_over_a_longer_time_there_are_two_redraws_a_second(clock: Clock) -> None:
    pace = Pace(clock)
    began, redraws = clock.at, 0
    while clock.at - began < 20:
        pace.redrawn(1000)
        redraws += 1
        clock.wait(pace.wait_s)
    assert 40 <= redraws <= 43


def test_the_redraw_after_many_bytes_waits_for_the_page(clock: Clock) -> None:
    pace = Pace(clock)
    pace.redrawn(120_000)
    assert pace.wait_s == pytest.approx(9)
    clock.wait(9)
    # All of the time that may be ahead is used.
    pace.redrawn(0)
    assert pace.wait_s == pytest.approx(0.5)


def test_what_is_polled_leaves_time_for_an_event(clock: Clock) -> None:
    pace = Pace(clock)
    for _ in range(20):
        clock.wait(pace.rest_s)
        pace.redrawn(4000)
        # An event could be drawn now.
        assert pace.wait_s <= 0.15
