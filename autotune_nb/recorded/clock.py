"""The clock of a run: wall time, or simulated time that advances as soon as nothing works."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Clock(Protocol):
    """The time of a run in seconds; only differences have a meaning."""

    def now(self) -> float:
        """Return the time. Thread-safe."""

    def hold(self) -> None:
        """Stop simulated time until ``release``: something works, which takes no simulated time."""

    def release(self) -> None:
        """Undo one ``hold``."""


class WallClock:
    """Wall time, which nothing stops."""

    def now(self) -> float:
        return time.monotonic()

    def hold(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""


class SimulatedClock:
    """Simulated time: as soon as nothing holds the clock, it advances to the next end of a ``sleep``.

    Whoever sleeps must hold the clock before, and holds it again after. Only one sleeper wakes at a time, in the order
    of their times, so that a run on this clock is deterministic.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._holds = 0
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def hold(self) -> None:
        self._holds += 1

    def release(self) -> None:
        self._holds -= 1
        self._advance()

    async def sleep(self, seconds: float) -> None:
        """Release the clock for so many simulated seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(seconds, 0.0), next(self._numbers), future))
        self.release()
        try:
            await future
        finally:
            if future.cancelled():
                self.hold()

    def _advance(self) -> None:
        while self._holds <= 0 and self._sleepers:
            at, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self._now = at
                # Held for the sleeper now, since it continues only in the loop's next iteration.
                self.hold()
                future.set_result(None)


@contextmanager
def released(clock: Clock) -> Iterator[None]:
    """Release a held clock while the body waits for others."""
    clock.release()
    try:
        yield
    finally:
        clock.hold()
