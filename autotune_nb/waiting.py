"""Waiting for work: until it is over or what it works with has died, and in spite of a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Mortal(Protocol):
    """What work may depend on, such as a running engine."""

    async def died(self) -> None:
        """Never returns while it lives; raises once it has died."""


async def until_died(work: Coroutine[Any, Any, None], deployment: Mortal) -> None:
    """Do the work, unless the engine dies first: then its death is what is raised."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(deployment.died())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done() and not watching.done() and working.exception() is not None:
            # A server that died shows first as a broken connection; give its end a moment to be seen.
            await asyncio.wait((watching,), timeout=1.0)
        if watching.done():
            watching.result()
        working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def uncancelled(work: Awaitable[T]) -> T:
    """Wait for the work to its end, also where this task is cancelled meanwhile; the cancellation follows after."""
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
