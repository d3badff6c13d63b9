"""Helpers to await work: until it ends or an engine dies, and to its end despite a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class SupportsDied(Protocol):
    """Something that work depends on and that may die, such as a running engine."""

    async def died(self) -> None:
        """Wait until it has died, then raise."""


async def until_died(work: Coroutine[Any, Any, None], deployment: SupportsDied) -> None:
    """Await the work; if the engine dies first, cancel the work and raise the engine's error."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(deployment.died())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done() and not watching.done() and working.exception() is not None:
            # The connection breaks before the engine's exit is noticed; wait for the more precise error.
            await asyncio.wait((watching,), timeout=1.0)
        if watching.done():
            watching.result()
        working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def uncancelled(work: Awaitable[T]) -> T:
    """Await the work to its end even if this task is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
        except BaseException:  # noqa: BLE001 - raised below, by result()
            break
    result = task.result()
    if cancelled:
        raise asyncio.CancelledError
    return result
