"""The GPUs that trials may hold together."""

from __future__ import annotations

import asyncio

import pytest

from autotune_nb.deploy.gpu_budget import GpuBudget
from autotune_nb.errors import DeployError
from tests.stubs import in_loop


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_any_number_where_there_is_no_ceiling() -> None:
    async def scenario() -> None:
        budget = GpuBudget(None)
        for _ in range(100):
            await budget.take(8)

    in_loop(scenario())


def test_a_large_trial_is_not_passed_by_small_ones() -> None:
    async def scenario() -> None:
        budget, order = GpuBudget(4), []

        async def one(name: str, count: int) -> None:
            await budget.take(count)
            order.append(name)

        await budget.take(3)
        waiting = [asyncio.ensure_future(one(name, count)) for name, count in (("large", 4), ("small", 1))]
        await _settle()
        assert order == []
        assert not budget.free(1)
        budget.give(3)
        await _settle()
        assert order == ["large"]
        budget.give(4)
        await asyncio.gather(*waiting)
        assert order == ["large", "small"]
        assert budget.held == 1

    in_loop(scenario())


def test_one_that_waits_no_more_lets_the_next_one_in() -> None:
    async def scenario() -> None:
        budget = GpuBudget(2)
        await budget.take(1)
        large, small = asyncio.ensure_future(budget.take(2)), asyncio.ensure_future(budget.take(1))
        await _settle()
        large.cancel()
        await small
        assert budget.held == 2

    in_loop(scenario())


def test_gpus_given_in_the_moment_of_a_cancellation_come_back() -> None:
    async def scenario() -> None:
        budget = GpuBudget(1)
        await budget.take(1)
        waiting = asyncio.ensure_future(budget.take(1))
        await _settle()
        budget.give(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert budget.held == 0

    in_loop(scenario())


def test_what_somebody_else_holds_already_is_waited_for() -> None:
    async def scenario() -> None:
        budget = GpuBudget(2)
        # More than there may be together, such as after a lower ceiling.
        budget.hold(3)
        waiting = asyncio.ensure_future(budget.take(1))
        await _settle()
        assert not waiting.done()
        budget.give(3)
        await waiting
        assert budget.held == 1

    in_loop(scenario())


def test_more_than_there_will_ever_be_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(DeployError, match="needs 3 GPUs"):
            await GpuBudget(2).take(3)

    in_loop(scenario())
