"""A local engine while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from autotune_nb.deploy._process import GuardedProcess, Listener, still_listen
from autotune_nb.deploy.base import Endpoint
from autotune_nb.deploy.engine_log import diagnose
from autotune_nb.engines.base import Engine
from autotune_nb.errors import DeployError


@dataclass
class LocalDeployment:
    """A local engine that is ready."""

    endpoint: Endpoint
    process: GuardedProcess
    engine: Engine
    port: int
    #: The processes that listened on the port when it was ready; None if the system denies access.
    listeners: frozenset[Listener] | None = None

    async def ended(self) -> None:
        """Wait until the engine has ended, then raise DeployError: it was not healthy by then."""
        code = await self.process.wait()
        log = self.endpoint.log
        assert log is not None
        message = f"the engine ended with {exit_text(code)} before it was healthy"
        raise DeployError(diagnose(log, self.engine, phase="deploy", exit_code=code, message=message))

    async def died(self) -> None:
        code = await self.process.wait()
        log = self.endpoint.log
        assert log is not None
        message = f"the engine ended with {exit_text(code)} during the measurement"
        raise DeployError(diagnose(log, self.engine, phase="benchmark", exit_code=code, message=message))

    async def require_same_engine(self) -> None:
        known = self.listeners or frozenset()
        if await asyncio.to_thread(still_listen, known, self.port):
            return
        now = await asyncio.to_thread(self.process.listeners, self.port)
        replaced = sorted(one.pid for one in known if now is not None and one not in now)
        if replaced and self.process.exit_code is None:
            log = self.endpoint.log
            assert log is not None and now is not None
            others = ", ".join(str(one.pid) for one in now) or "none"
            message = (
                f"the engine was restarted during the measurement: process {replaced[0]} served port {self.port}, now "
                f"{others} does"
            )
            raise DeployError(diagnose(log, self.engine, phase="benchmark", exit_code=1, message=message))

    async def require_answer(self, ask: Callable[[], Awaitable[None]]) -> None:
        await ask()


def exit_text(code: int) -> str:
    """Return an exit code as text."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
