"""A trial's InferenceService while it is measured."""

from __future__ import annotations

from dataclasses import dataclass

from autotune_nb.cluster.kinds import Object, uid_of
from autotune_nb.cluster.watch import Watches
from autotune_nb.deploy.base import Endpoint
from autotune_nb.deploy.ome.creation import plain
from autotune_nb.deploy.ome.diagnose import Standing, lost
from autotune_nb.deploy.ome.engine_log import EngineLog
from autotune_nb.deploy.ome.pods import restarts_of
from autotune_nb.deploy.ome.readiness import Sight
from autotune_nb.errors import ClusterError, DeployError, Failure, FailureKind


@dataclass
class Running:
    """An InferenceService that is Ready, and its pod as it was by then."""

    endpoint: Endpoint
    pod: Object
    sight: Sight
    log: EngineLog
    watches: Watches

    async def died(self) -> None:
        restarts = restarts_of(self.pod)

        def check() -> Standing | None:
            return lost(self.sight.look(), uid_of(self.pod), restarts)

        try:
            standing: Standing = await self.watches.until(check, trial=self.sight.trial)
        except ClusterError as error:
            raise DeployError(blind(error, "benchmark")) from None
        message = f"{standing.text} while it was being measured"
        raise DeployError(await self.log.failure(standing, phase="benchmark", message=message, timed_out=False))


def blind(error: ClusterError, phase: str) -> Failure:
    """The watches stay refused: nothing can be said of any trial."""
    hint = "the credentials have run out; log in again" if error.status == 401 else ""
    hint = hint or "a permission is missing; autotune-nb check tells which"
    message = f"the cluster tells nothing any more: {plain(error)}"
    return Failure(FailureKind.INFRASTRUCTURE, phase, message, hint=hint)
