"""Simulated time advances only while nothing works, in the order of the sleepers."""

from __future__ import annotations

import asyncio

from autotune_nb.recorded.clock import SimulatedClock, released
from tests.stubs import in_loop


def test_time_advances_to_the_next_end_and_not_while_someone_works() -> None:
    clock = SimulatedClock()
    seen: list[tuple[str, float]] = []

    async def worker(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            # Work that takes real time takes no simulated time, even while others sleep.
            await asyncio.to_thread(lambda: None)
            seen.append((name, clock.now()))
        clock.release()

    async def scenario() -> None:
        clock.hold()
        workers = []
        for name, naps in (("slow", (1000.0, 500.0)), ("fast", (400.0, 400.0, 700.0))):
            clock.hold()
            workers.append(asyncio.ensure_future(worker(name, *naps)))
        await asyncio.sleep(0.01)
        assert clock.now() == 0
        with released(clock):
            await asyncio.gather(*workers)

    in_loop(scenario())
    assert seen == [("fast", 400), ("fast", 800), ("slow", 1000), ("fast", 1500), ("slow", 1500)]


def test_a_cancelled_sleeper_holds_the_clock_again_and_is_passed_over() -> None:
    clock = SimulatedClock()

    async def scenario() -> None:
        clock.hold()
        clock.hold()
        sleeper = asyncio.ensure_future(clock.sleep(10))
        await asyncio.sleep(0)
        sleeper.cancel()
        await asyncio.gather(sleeper, return_exceptions=True)
        clock.release()
        await clock.sleep(30)
        assert clock.now() == 30

    in_loop(scenario())
