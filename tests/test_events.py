"""Events: every listener receives them, and a failing listener does not stop a run."""

from __future__ import annotations

import dataclasses
import logging
import time

import pytest

from autotune_nb.events import Event, EventBus, Notice, StateChanged


def test_every_listener_hears_every_event_in_order_until_it_leaves() -> None:
    bus = EventBus()
    first: list[Event] = []
    second: list[Event] = []
    leave = bus.subscribe(first.append)
    bus.subscribe(second.append)
    events = [Notice("a"), StateChanged("running"), Notice("b")]
    bus.publish(events[0])
    bus.publish(events[1])
    leave()
    leave()
    bus.publish(events[2])
    assert first == events[:2]
    assert second == events


def test_a_listener_that_fails_is_logged_and_the_others_still_hear(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("a closed tab")

    bus.subscribe(broken)
    bus.subscribe(heard.append)
    with caplog.at_level(logging.ERROR):
        bus.publish(Notice("a"))
    assert len(heard) == 1
    assert "a listener failed on Notice" in caplog.text
    assert "a closed tab" in caplog.text


def test_a_listener_may_leave_or_bring_another_while_it_is_told() -> None:
    bus = EventBus()
    heard: list[str] = []

    def once(event: Event) -> None:
        leave()
        bus.subscribe(lambda event: heard.append("late"))
        heard.append("once")

    leave = bus.subscribe(once)
    bus.publish(Notice("a"))
    assert heard == ["once"]
    bus.publish(Notice("b"))
    assert heard == ["once", "late"]


def test_an_event_knows_when_it_happened_and_stays_as_it_was() -> None:
    before = time.time()
    event = Notice("a")
    assert before <= event.at <= time.time()
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.text = "b"  # type: ignore[misc]
