"""Awaiting work until it ends or an engine dies, and despite a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from autotune_nb.errors import DeployError, Failure, FailureKind
from autotune_nb.waiting import uncancelled, until_died
from tests.stubs import in_loop


class _Engine:
    """A deployment that dies when it is told to."""

    endpoint: Any = None

    def __init__(self) -> None:
        self.dead = asyncio.Event()

    async def died(self) -> None:
        await self.dead.wait()
        raise DeployError(Failure(FailureKind.CRASH, "benchmark", "it died"))


def test_an_engines_death_is_raised_in_place_of_the_broken_connection_it_causes() -> None:
    async def scenario() -> None:
        engine = _Engine()

        async def work() -> None:
            asyncio.get_running_loop().call_later(0.05, engine.dead.set)
            raise ConnectionResetError("peer")

        with pytest.raises(DeployError, match="it died"):
            await until_died(work(), engine)
        calm = _Engine()
        with pytest.raises(ConnectionResetError):
            await until_died(work(), calm)

    in_loop(scenario())


def test_an_engines_death_ends_the_work() -> None:
    async def scenario() -> None:
        engine = _Engine()
        ended = asyncio.Event()

        async def work() -> None:
            try:
                engine.dead.set()
                await asyncio.sleep(600)
            finally:
                ended.set()

        with pytest.raises(DeployError):
            await until_died(work(), engine)
        assert ended.is_set()

    in_loop(scenario())


def test_what_must_not_be_cancelled_comes_to_its_end_first() -> None:
    async def scenario() -> None:
        done: list[int] = []

        async def slow() -> int:
            await asyncio.sleep(0.05)
            done.append(1)
            return 7

        assert await uncancelled(slow()) == 7
        task = asyncio.ensure_future(uncancelled(slow()))
        for _ in range(2):
            await asyncio.sleep(0.01)
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert len(done) == 2

        async def breaks() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await uncancelled(breaks())

    in_loop(scenario())
