"""A container with an engine while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from autotune_nb.deploy.base import Endpoint
from autotune_nb.deploy.container._container import Container, ContainerState
from autotune_nb.deploy.container._errors import client_error, is_away, message_line
from autotune_nb.deploy.container._process import ClientProcess
from autotune_nb.deploy.engine_log import diagnose, tail
from autotune_nb.engines.base import Engine
from autotune_nb.errors import AutotuneError, DeployError, Failure, FailureKind, SurroundingsError

#: The client writes why it ended in its last lines, after those of the engine.
_LAST_LINES = 3
#: How much earlier than its container a process may have started, by two clocks.
_CLOCKS_S = 5.0
_MIB = 1 << 20


@dataclass
class ContainerDeployment:
    """An engine in a container, which is ready once ``state`` is set."""

    endpoint: Endpoint
    process: ClientProcess
    container: Container
    engine: Engine
    state: ContainerState | None = None
    began: float = field(default_factory=time.time)

    async def ended(self) -> None:
        """Wait until the engine has ended, then raise: it was not healthy by then."""
        code = await self.process.wait()
        raise await self._error(code, "deploy")

    async def died(self) -> None:
        code = await self.process.wait()
        raise await self._error(code, "benchmark")

    async def require_same_engine(self) -> None:
        now = await self._state_now("benchmark")
        if now is None or self.process.exit_code is not None:
            return
        if self.state is not None and now.started_at != self.state.started_at:
            message = (
                f"the engine was restarted during the measurement: container {self.container.name} started at "
                f"{now.started_at} again"
            )
            raise DeployError(diagnose(self._log, self.engine, phase="benchmark", exit_code=1, message=message))

    async def require_answer(self, ask: Callable[[], Awaitable[None]]) -> None:
        await ask()

    @property
    def _log(self) -> Path:
        log = self.endpoint.log
        assert log is not None
        return log

    async def _state_now(self, phase: str) -> ContainerState | None:
        """Return the state. Raises SurroundingsError if the daemon is away."""
        try:
            return await self.container.state()
        except SurroundingsError as error:
            raise SurroundingsError(replace(error.failure, phase=phase)) from None

    async def _error(self, code: int, phase: str) -> AutotuneError:
        """Return why the client has ended: the daemon is away, the container was not started, or the engine ended."""
        runtime = self.container.client.runtime
        last = "\n".join(tail(self._log)[-_LAST_LINES:])
        try:
            state = await self._state_now(phase)
        except AutotuneError as error:
            return error
        if is_away(last) or (state is not None and state.running):
            # The daemon was restarted, which ends the client and perhaps the container.
            message = f"{runtime} lost its connection to the container: {message_line(last)}"
            hint = f"see the log of {runtime}'s daemon"
            return SurroundingsError(Failure(FailureKind.INFRASTRUCTURE, phase, message, hint=hint))
        if state is None or not state.started_at:
            if state is None and phase == "benchmark":
                message = f"container {self.container.name} was removed by another program"
                return DeployError(Failure(FailureKind.INFRASTRUCTURE, phase, message))
            return client_error("\n".join(filter(None, [last, state.error if state else ""])), runtime, phase=phase)
        when = "before it was healthy" if phase == "deploy" else "during the measurement"
        message = f"the engine ended with exit code {state.exit_code} {when}"
        failure = diagnose(self._log, self.engine, phase=phase, exit_code=state.exit_code or code, message=message)
        if state.oom_killed:
            limit = f" of {state.memory_limit // _MIB} MiB" if state.memory_limit else ""
            failure = replace(
                failure,
                kind=FailureKind.OUT_OF_MEMORY,
                message=f"{message}: it was killed at the container's memory limit{limit}",
                hint="raise the limit (--memory in deploy.run_args), or let the engine use less memory",
            )
        return DeployError(failure)

    def own_pid(self) -> int | None:
        """Return the engine's first process; None if it is not a process of this machine, but of a virtual machine."""
        pid = self.state.pid if self.state is not None else 0
        if not pid or not sys.platform.startswith("linux"):
            return None
        with contextlib.suppress(psutil.Error, OSError):
            if psutil.Process(pid).create_time() >= self.began - _CLOCKS_S:
                return pid
        return None


async def stop_container(running: ContainerDeployment, *, grace_s: float, at_once: Callable[[], bool]) -> bool:
    """Stop the engine and remove its container. Returns whether it is gone.

    A cancellation kills the engine; it never leaves it running. Raises CancelledError afterwards.
    """
    container = running.container

    async def gone() -> bool:
        if running.process.exit_code is None:
            if not await container.ids():
                # The client may be creating it: the guard ends the client first, and then looks for its container.
                await running.process.end(removed=False)
                return not await container.ids()
            await (container.kill() if at_once() else container.stop(grace_s))
        return await container.remove()

    stopping, cancelled = asyncio.ensure_future(gone()), False
    killing: asyncio.Future[None] | None = None
    while not stopping.done():
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            if stopping.cancelled():
                break
            if not cancelled:
                killing = asyncio.ensure_future(container.kill())
            cancelled = True
        except Exception:  # noqa: BLE001 - not removed, whatever the reason
            break
    if killing is not None:
        await asyncio.gather(killing, return_exceptions=True)
    removed = not stopping.cancelled() and stopping.exception() is None and stopping.result()
    ending = asyncio.ensure_future(running.process.end(removed=removed))
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return removed
