"""A trial's InferenceService while it is measured."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.cluster.api_errors import server_message
from autotune_nb.cluster.kinds import Object, name_of, uid_of
from autotune_nb.cluster.port_forward import PortForward
from autotune_nb.cluster.watch import Watches
from autotune_nb.deploy.base import Endpoint
from autotune_nb.deploy.ome._diagnosis import Standing, lost
from autotune_nb.deploy.ome._pod_log import EngineLog
from autotune_nb.deploy.ome._pods import restarts_of
from autotune_nb.deploy.ome._readiness import Sight
from autotune_nb.errors import ClusterError, DeployError, Failure, FailureKind

#: What becomes of an engine shows in its pod after so long at most, and a broken connection to it at once.
_SHOWN_S = 3.0


@dataclass
class Running:
    """An InferenceService that is Ready, its pod as it was by then, and the port-forward to it, where there is one."""

    endpoint: Endpoint
    pod: Object
    sight: Sight
    log: EngineLog
    watches: Watches
    forward: PortForward | None = None
    #: Drops while it was coming up are no matter.
    _drops: int = field(init=False)

    def __post_init__(self) -> None:
        self._drops = self.forward.drops if self.forward is not None else 0

    async def died(self) -> None:
        losing = asyncio.ensure_future(self._lost())
        waiting: list[asyncio.Future[Any]] = [losing]
        if self.forward is not None:
            waiting.append(asyncio.ensure_future(self.forward.wait_for_drop(self._drops)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not losing.done():
                await asyncio.wait((losing,), timeout=_SHOWN_S)
            if not losing.done():
                raise DeployError(self._dropped())
            standing = losing.result()
        except ClusterError as error:
            raise DeployError(blind(error, "benchmark")) from None
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        message = f"{standing.text} while it was being measured"
        raise DeployError(await self.log.failure(standing, phase="benchmark", message=message, timed_out=False))

    async def require_unbroken(self) -> None:
        """Raises DeployError where the port-forward dropped with a request under way: that says nothing of the engine,
        unless it died."""
        if self.forward is not None and self.forward.drops > self._drops:
            await self.died()

    def _dropped(self) -> Failure:
        why = self.forward.last_error if self.forward is not None else None
        message = f"the port-forward to pod {name_of(self.pod)} dropped while it was being measured: {why}"
        hint = "look at the network up to the API server, or measure inside the cluster (benchmark.executor: job)"
        return Failure(FailureKind.INFRASTRUCTURE, "benchmark", message, hint=hint)

    async def _lost(self) -> Standing:
        restarts = restarts_of(self.pod)

        def check() -> Standing | None:
            return lost(self.sight.look(), uid_of(self.pod), restarts)

        return await self.watches.until(check, trial=self.sight.trial)


def blind(error: ClusterError, phase: str) -> Failure:
    """The watches stay refused: nothing can be said of any trial."""
    hint = "the credentials have run out; log in again" if error.status == 401 else ""
    hint = hint or "a permission is missing; autotune-nb check tells which"
    message = f"the cluster tells nothing any more: {server_message(error)}"
    return Failure(FailureKind.INFRASTRUCTURE, phase, message, hint=hint)
