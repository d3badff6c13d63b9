"""Waiting until an engine on this machine is healthy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp

from autotune_nb.deploy.base import Endpoint
from autotune_nb.deploy.engine_log import diagnose
from autotune_nb.engines.base import Engine
from autotune_nb.errors import DeployError
from autotune_nb.secrets.references import bearer
from autotune_nb.task.task import Task

#: Responses of a server that does not have a path.
_NO_SUCH_PATH = frozenset({400, 401, 403, 404, 405, 501})
_FIRST_POLL_S, _LONGEST_POLL_S = 0.02, 0.5


class Starting(Protocol):
    """An engine that was started."""

    @property
    def endpoint(self) -> Endpoint: ...

    async def ended(self) -> None:
        """Wait until the engine has ended, then raise DeployError. Never returns."""


async def wait_until_healthy(
    running: Starting, task: Task, engine: Engine, ready: Callable[[aiohttp.ClientSession], Awaitable[None]]
) -> None:
    """Poll the health path until it returns 200, then call ``ready``.

    Raises DeployError if the engine ends or time is up.
    """
    deadline_s = task.deadlines.ready_s
    base = running.endpoint.url
    url, fallback = base + engine.health_path, engine.health_fallback
    log = running.endpoint.log
    assert log is not None
    pause = _FIRST_POLL_S
    ended = asyncio.ensure_future(running.ended())
    try:
        headers = bearer(task.benchmark.api_key)
        async with asyncio.timeout(deadline_s), aiohttp.ClientSession(headers=headers) as session:
            while True:
                if ended.done():
                    ended.result()
                status = await _status(session, url)
                if fallback is not None and status in _NO_SUCH_PATH:
                    url, fallback = base + fallback, None
                    continue
                if status == 200:
                    await ready(session)
                    return
                await asyncio.wait((ended,), timeout=pause)
                pause = min(pause * 1.5, _LONGEST_POLL_S)
    except TimeoutError:
        message = f"the engine was not healthy at {url} after {deadline_s:g} s"
        raise DeployError(diagnose(log, engine, phase="deploy", exit_code=None, message=message)) from None
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    """Return the status of a response; 0 if there is none."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as reply:
            return reply.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0
