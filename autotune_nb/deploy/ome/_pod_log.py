"""An engine's log out of its pod, kept in the trial's folder."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import Object, name_of
from autotune_nb.deploy.base import DeployRequest
from autotune_nb.deploy.engine_log import diagnose, new_log
from autotune_nb.deploy.ome._diagnosis import Standing
from autotune_nb.deploy.ome._pods import Crash
from autotune_nb.engines.base import Engine
from autotune_nb.errors import ClusterError, Failure, FailureKind
from autotune_nb.secrets.scrubbing import scrub

_LINES, _MAX_BYTES = 2000, 2_000_000
#: A log is worth waiting for, but not for long: a node that is gone answers nothing.
_WITHIN_S = 8.0
_SIGKILL_EXIT = 128 + signal.SIGKILL
_NOTHING = Path(os.devnull)


class EngineLog:
    """Fetches the last lines of a trial's engine. That this fails is no failure of the trial."""

    def __init__(self, cluster: Cluster, request: DeployRequest, engine: Engine) -> None:
        self.path: Path | None = None
        self._cluster = cluster
        self._request = request
        self._engine = engine
        self._of_dead = False

    async def fetch(self, pod: str, container: str, *, dead: bool = False) -> None:
        """Keep a container's log: that of the one that ended, where it is ``dead`` and may have come back since."""
        if self._of_dead and not dead:
            # What tells why it died is worth more than its successor's first lines.
            return
        text = await self._read(pod, container, previous=dead)
        if text is None and dead:
            # It has not come back yet, unless it does just now.
            text = await self._read(pod, container, previous=False)
            text = await self._read(pod, container, previous=True) or text
        if text is not None:
            self._of_dead = dead
            await asyncio.to_thread(self._write, text)

    async def _read(self, pod: str, container: str, *, previous: bool) -> str | None:
        """A container's last lines; None where there is no such log."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await self._cluster.log(pod, container, tail_lines=_LINES, previous=previous)
        except (ClusterError, TimeoutError):
            return None

    async def failure(self, standing: Standing, *, phase: str, message: str, timed_out: bool) -> Failure:
        """What a standing and the engine's log say."""
        crash, pod = standing.crash, standing.pod
        if crash is not None:
            await self.fetch(crash.pod, crash.container, dead=True)
            return self._of_crash(crash, phase, message)
        if pod is not None and (container := _started(pod)) is not None:
            await self.fetch(name_of(pod), container)
        told = diagnose(self.path or _NOTHING, self._engine, phase=phase, exit_code=None, message=message)
        if timed_out:
            return told
        return Failure(standing.kind, phase, message, told.log_lines[-3:], standing.hint)

    def _of_crash(self, crash: Crash, phase: str, message: str) -> Failure:
        code = -signal.SIGKILL if crash.exit_code == _SIGKILL_EXIT else crash.exit_code
        told = diagnose(self.path or _NOTHING, self._engine, phase=phase, exit_code=code, message=message)
        if crash.reason == "OOMKilled":
            hint = "raise memory in deploy.resources, or take less: a smaller context, fewer requests at a time"
            return Failure(FailureKind.OUT_OF_MEMORY, phase, message, told.log_lines, hint)
        return told

    def _write(self, text: str) -> None:
        first = self.path is None
        if first:
            self._request.folder.mkdir(parents=True, exist_ok=True)
            self.path = new_log(self._request.folder)
        assert self.path is not None
        # Nobody here knows a Secret's value: what follows its name and what looks like one goes at once.
        text = scrub(text)
        self.path.write_bytes(text.encode("utf-8", errors="replace")[-_MAX_BYTES:])
        if first:
            self._request.on_log(self.path)


def _started(pod: Object) -> str | None:
    """The first container that has a log; None where none has started."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if (status.get("state") or {}).get("running"):
            return str(status["name"])
    return None
