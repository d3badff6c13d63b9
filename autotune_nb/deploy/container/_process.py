"""The client process of a container under its guard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune_nb.deploy._process import require_started
from autotune_nb.waiting import uncancelled

_GUARD = Path(__file__).with_name("_container_guard.py")
#: How long the guard may take to end; its removal of a container goes on afterwards.
_ENDING_S = 15.0


class ClientProcess:
    """A client that runs a container in the foreground; if this process ends, its guard removes the container."""

    def __init__(self, guard: asyncio.subprocess.Process, pid: int) -> None:
        self._guard = guard
        self.pid = pid
        self._exit = asyncio.ensure_future(self._read_exit())

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, env: Mapping[str, str], log: Path, find: Sequence[str], remove: Sequence[str]
    ) -> ClientProcess:
        """Start a client with its output in ``log``; ``find`` and ``remove`` are the guard's commands.

        If this is cancelled, the container is removed first. Raises OSError if the log cannot be written, or the
        machine lacks processes or memory.
        """
        guard = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(_GUARD), json.dumps(list(find)), json.dumps(list(remove)), str(log), "--", *argv,
            env=dict(env),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        assert guard.stdout is not None and guard.stdin is not None
        try:
            line = await guard.stdout.readline()
        except BaseException:
            guard.stdin.close()
            with contextlib.suppress(asyncio.CancelledError):
                await uncancelled(guard.wait())
            raise
        reply: dict[str, Any] = (
            json.loads(line) if line else {"error": f"its guard ended with code {await guard.wait()}"}
        )
        await require_started(guard, reply, argv[0], log, field="deploy.runtime")
        return cls(guard, reply["pid"])

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    async def _read_exit(self) -> int:
        assert self._guard.stdout is not None
        line = await self._guard.stdout.readline()
        if line:
            return int(json.loads(line)["exit"])
        # The guard was killed.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return -signal.SIGKILL

    @property
    def exit_code(self) -> int | None:
        """The client's exit code, which is the engine's once it has run; None while the client runs."""
        return self._exit.result() if self._exit.done() and not self._exit.cancelled() else None

    async def wait(self) -> int:
        """Wait until the client has ended. Returns its exit code."""
        return await asyncio.shield(self._exit)

    async def end(self, *, removed: bool) -> None:
        """End the client and the guard; if the container was not removed, the guard removes it."""
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            if removed:
                self._guard.stdin.write(b"done\n")
            self._guard.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ENDING_S):
                await self._guard.wait()
        if removed and self._guard.returncode is None:
            self._guard.kill()
            await self._guard.wait()
