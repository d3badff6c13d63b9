"""A trial's InferenceService while its engine runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.cluster.api_errors import of_surroundings, server_message
from autotune_nb.cluster.kinds import Object, name_of, uid_of
from autotune_nb.cluster.port_forward import PortForward
from autotune_nb.cluster.watch import Watches
from autotune_nb.deploy.base import Endpoint
from autotune_nb.deploy.ome._diagnosis import ServiceState, lost_state
from autotune_nb.deploy.ome._pod_log import EngineLog
from autotune_nb.deploy.ome._pods import restarts_of
from autotune_nb.deploy.ome._readiness import TrialObjects
from autotune_nb.errors import (
    ClusterError,
    DeployError,
    Failure,
    FailureKind,
    MeasurementError,
    SurroundingsError,
    TrialError,
)

#: A port-forward breaks at once when the engine dies, but the pod's status may follow this much later.
_STATUS_DELAY_S = 3.0


@dataclass
class OmeDeployment:
    """An InferenceService that is Ready, with its pod at that time and the port-forward to it, if any."""

    endpoint: Endpoint
    pod: Object
    objects: TrialObjects
    log: EngineLog
    watches: Watches
    forward: PortForward | None = None
    #: The number of drops before the deployment was ready.
    _drops: int = field(init=False)
    #: Whether all levels are measured, so that only the loss of the engine matters.
    _measured: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._drops = self.forward.drops if self.forward is not None else 0

    async def died(self) -> None:
        losing = asyncio.ensure_future(self._lost())
        waiting: list[asyncio.Future[Any]] = [losing]
        if self.forward is not None:
            waiting.append(asyncio.ensure_future(self._broken(self.forward)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not losing.done():
                await asyncio.wait((losing,), timeout=_STATUS_DELAY_S)
            if not losing.done():
                raise DeployError(self._dropped())
            state = losing.result()
        except ClusterError as error:
            if self._measured:
                await asyncio.Event().wait()
            raise watch_error(error, "benchmark") from None
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        message = f"{state.text} during the measurement"
        raise DeployError(await self.log.failure(state, phase="benchmark", message=message, timed_out=False))

    async def require_same_engine(self) -> None:
        if lost_state(self.objects.snapshot(), uid_of(self.pod), restarts_of(self.pod)) is not None:
            await self.died()

    async def require_answer(self, ask: Callable[[], Awaitable[None]]) -> None:
        forward = self.forward
        if forward is None:
            return await ask()
        before = forward.drops
        self._measured = True
        try:
            await ask()
        except MeasurementError:
            # A port-forward that breaks now takes nothing from what was measured.
            if forward.drops == before:
                raise
        finally:
            self._drops += forward.drops - before

    async def require_unbroken(self) -> None:
        """Raise DeployError if the port-forward dropped during a request or the engine died.

        A drop says nothing about the engine.
        """
        if self.forward is not None and self.forward.drops > self._drops:
            await self.died()

    def _dropped(self) -> Failure:
        error = self.forward.last_error if self.forward is not None else None
        message = f"the port-forward to pod {name_of(self.pod)} broke during the measurement: {error}"
        hint = "check the network to the API server, or measure inside the cluster (benchmark.executor: job)"
        return Failure(FailureKind.INFRASTRUCTURE, "benchmark", message, hint=hint)

    async def _broken(self, forward: PortForward) -> None:
        """Wait until the port-forward drops before all levels are measured."""
        await forward.wait_for_drop(self._drops)
        if self._measured:
            await asyncio.Event().wait()

    async def _lost(self) -> ServiceState:
        restarts = restarts_of(self.pod)

        def check() -> ServiceState | None:
            return lost_state(self.objects.snapshot(), uid_of(self.pod), restarts)

        return await self.watches.until(check, trial=self.objects.trial)


def watch_error(error: ClusterError, phase: str) -> TrialError:
    """Return the error of a trial whose watches stay rejected."""
    hint = "the credentials have expired; log in again" if error.status == 401 else ""
    hint = hint or "a permission is missing; autotune-nb check lists it"
    message = f"the state of the trial is unknown, since watches are rejected: {server_message(error)}"
    failure = Failure(FailureKind.INFRASTRUCTURE, phase, message, hint=hint)
    return (SurroundingsError if of_surroundings(error) else DeployError)(failure)
