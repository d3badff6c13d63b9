"""Stores the log of an engine's pod in the trial's folder."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import Object, name_of
from autotune_nb.deploy.base import DeployRequest
from autotune_nb.deploy.engine_log import diagnose, new_log
from autotune_nb.deploy.ome._diagnosis import ServiceState
from autotune_nb.deploy.ome._pods import Crash
from autotune_nb.engines.base import Engine
from autotune_nb.errors import ClusterError, Failure, FailureKind
from autotune_nb.secrets.scrubbing import scrub

_LINES, _MAX_BYTES = 2000, 2_000_000
#: The time limit for a log, since a lost node never responds.
_WITHIN_S = 8.0
_SIGKILL_EXIT = 128 + signal.SIGKILL
_NO_LOG = Path(os.devnull)


class EngineLog:
    """Fetches the last lines of an engine's log. An error while fetching does not fail the trial."""

    def __init__(self, cluster: Cluster, request: DeployRequest, engine: Engine) -> None:
        self.path: Path | None = None
        self._cluster = cluster
        self._request = request
        self._engine = engine
        self._of_dead = False

    async def fetch(self, pod: str, container: str, *, dead: bool = False) -> None:
        """Store a container's log; with ``dead`` that of the instance that ended, which may have restarted."""
        if self._of_dead and not dead:
            # The log of the dead instance explains the failure, not that of its successor.
            return
        text = await self._read(pod, container, previous=dead)
        if text is None and dead:
            # Not restarted yet; read the previous log again in case it restarts meanwhile.
            text = await self._read(pod, container, previous=False)
            text = await self._read(pod, container, previous=True) or text
        if text is not None:
            self._of_dead = dead
            await asyncio.to_thread(self._write, text)

    async def _read(self, pod: str, container: str, *, previous: bool) -> str | None:
        """Return a container's last lines; None if there is no such log."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await self._cluster.log(pod, container, tail_lines=_LINES, previous=previous)
        except (ClusterError, TimeoutError):
            return None

    async def failure(self, state: ServiceState, *, phase: str, message: str, timed_out: bool) -> Failure:
        """Return the failure that follows from the service's state and the engine's log."""
        crash, pod = state.crash, state.pod
        if crash is not None:
            await self.fetch(crash.pod, crash.container, dead=True)
            return self._of_crash(crash, phase, message)
        if pod is not None and (container := _started(pod)) is not None:
            await self.fetch(name_of(pod), container)
        diagnosis = diagnose(self.path or _NO_LOG, self._engine, phase=phase, exit_code=None, message=message)
        if timed_out:
            return diagnosis
        return Failure(state.kind, phase, message, diagnosis.log_lines[:3], state.hint)

    def _of_crash(self, crash: Crash, phase: str, message: str) -> Failure:
        code = -signal.SIGKILL if crash.exit_code == _SIGKILL_EXIT else crash.exit_code
        diagnosis = diagnose(self.path or _NO_LOG, self._engine, phase=phase, exit_code=code, message=message)
        if crash.reason == "OOMKilled":
            hint = "raise memory in deploy.resources, or reduce the context length or the concurrent requests"
            return Failure(FailureKind.OUT_OF_MEMORY, phase, message, diagnosis.log_lines, hint)
        return diagnosis

    def _write(self, text: str) -> None:
        first = self.path is None
        if first:
            self._request.folder.mkdir(parents=True, exist_ok=True)
            self.path = new_log(self._request.folder)
        assert self.path is not None
        # The values of Kubernetes Secrets are not known here, so they are removed by name and pattern.
        text = scrub(text)
        self.path.write_bytes(text.encode("utf-8", errors="replace")[-_MAX_BYTES:])
        if first:
            self._request.on_log(self.path)


def _started(pod: Object) -> str | None:
    """Return the first running container; None if there is none."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if (status.get("state") or {}).get("running"):
            return str(status["name"])
    return None
