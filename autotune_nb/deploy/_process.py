"""An engine's process group under a guard process: start, wait, and stop with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from autotune_nb.deploy._listening import listening_on
from autotune_nb.errors import SetupError, lacks_resources

_GUARD = Path(__file__).with_name("_guard.py")
#: Environment variables of engine processes, by which a later run finds those that were left.
STUDY_LABEL = "AUTOTUNE_NB_STUDY"
TRIAL_LABEL = "AUTOTUNE_NB_TRIAL"


class Listener(NamedTuple):
    """A process that listens on a port; a process id alone may be used again."""

    pid: int
    started: float


async def require_started(
    guard: asyncio.subprocess.Process, reply: Mapping[str, Any], program: str, log: Path, *, field: str
) -> None:
    """Raise why a guard did not start its command; nothing if it did.

    Raises OSError if the log cannot be written, or the machine lacks processes or memory, else SetupError.
    """
    if "error" not in reply:
        return
    await guard.wait()
    error = OSError(reply.get("errno"), reply["error"], *([str(log)] if reply.get("log") else []))
    if reply.get("log") or lacks_resources(error):
        raise error
    raise SetupError(f"{program!r} cannot be started: {reply['error']}", field=field)


class GuardedProcess:
    """A command in a process group of its own, which ends when this process ends, even if that is killed."""

    def __init__(
        self, guard: asyncio.subprocess.Process, pid: int, grace_s: float, labels: Mapping[str, str] | None = None
    ) -> None:
        self._guard = guard
        self._grace_s = grace_s
        self._labels = labels or {}
        self._exit = asyncio.ensure_future(self._read_exit())
        self.pid = pid

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        grace_s: float,
    ) -> GuardedProcess:
        """Start a command with its output in ``log``. Raises SetupError if the program cannot be executed.

        Raises OSError if the log cannot be written, or the machine lacks processes or memory.
        """
        guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(_GUARD),
            str(grace_s),
            str(log),
            "--",
            *argv,
            env=dict(env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        assert guard.stdout is not None
        try:
            line = await guard.stdout.readline()
            reply: dict[str, Any] = (
                json.loads(line) if line else {"error": f"its guard ended with code {await guard.wait()}"}
            )
        except BaseException:
            # Not killed: the guard may have started the command, and must end it.
            assert guard.stdin is not None
            guard.stdin.write(b"kill\n")
            guard.stdin.close()
            ending = asyncio.ensure_future(guard.wait())
            while not ending.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(ending)
            raise
        await require_started(guard, reply, argv[0], log, field="engine.executable")
        labels = {name: env[name] for name in (STUDY_LABEL, TRIAL_LABEL) if name in env}
        return cls(guard, reply["pid"], grace_s, labels)

    @property
    def guard_pid(self) -> int:
        """The guard's process, the parent of all others of the command (on Linux, also of those that detach)."""
        return self._guard.pid

    async def _read_exit(self) -> int:
        assert self._guard.stdout is not None
        line = await self._guard.stdout.readline()
        await self._guard.wait()
        if line:
            return int(json.loads(line)["exit"])
        # The guard was killed, so this process ends the group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._labels:
            await asyncio.to_thread(_kill, self._labels)
        return -signal.SIGKILL

    @property
    def exit_code(self) -> int | None:
        """The command's exit code after it and its group have ended, negative for a signal; None before."""
        return self._exit.result() if self._exit.done() and not self._exit.cancelled() else None

    async def wait(self) -> int:
        """Wait until the command and its group have ended. Returns the exit code."""
        return await asyncio.shield(self._exit)

    def _send(self, word: bytes) -> None:
        stdin = self._guard.stdin
        if stdin is not None and not stdin.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                stdin.write(word)

    def listeners(self, port: int) -> frozenset[Listener] | None:
        """Return which of the command and the processes it started listen; None if the system denies access."""
        return _listeners(self._guard.pid, port)

    def kill(self) -> None:
        """Send SIGKILL to the whole group, without waiting for its end."""
        self._send(b"kill\n")

    async def stop(self, *, at_once: bool = False) -> bool:
        """Send SIGTERM, after the grace period SIGKILL. Returns whether the group ended before the deadline."""
        self._send(b"kill\n" if at_once else b"stop\n")
        try:
            async with asyncio.timeout(self._grace_s + 10):
                await asyncio.shield(self._exit)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            return self._exit.done()
        return True


def _listeners(guard: int, port: int) -> frozenset[Listener] | None:
    found, listens_there = set(), listening_on(port)
    # On Linux the guard is a subreaper, so processes that left the group are still its descendants.
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(guard).children(recursive=True):
            try:
                if listens_there(process):
                    found.add(Listener(process.pid, process.create_time()))
            except psutil.NoSuchProcess:
                continue
            except psutil.AccessDenied:
                return None
    return frozenset(found)


def still_listen(listeners: Iterable[Listener], port: int) -> bool:
    """Return whether all of these processes still listen on the port.

    Unlike ``GuardedProcess.listeners`` it reads only these processes, not all of the machine.
    """
    listens_there = listening_on(port)
    try:
        processes = [(one, psutil.Process(one.pid)) for one in listeners]
        return all(process.create_time() == one.started and listens_there(process) for one, process in processes)
    except psutil.Error:
        return False


def listens(pid: int, port: int) -> bool | None:
    """Return whether a process or one that it started listens on a port; None if the system denies access."""
    listens_there = listening_on(port)
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        try:
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if listens_there(one):
                        return True
        except psutil.AccessDenied:
            return None
    return False


def port_owner(port: int) -> str | None:
    """Return the name and pid of the process that listens on a local port; None if there is none."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    return "another user's process"
                with contextlib.suppress(psutil.Error):
                    return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
                return f"pid {connection.pid}"
    except psutil.AccessDenied:
        return None
    return None


def serves_a_trial(port: int) -> bool:
    """Whether the process that listens on a local port is an engine of any study's trial."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid is not None and TRIAL_LABEL in psutil.Process(connection.pid).environ():
                return True
    return False


def labelled(labels: Mapping[str, str]) -> list[psutil.Process]:
    """Return the processes with these environment variables, among those that this user may read."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and labels.items() <= process.environ().items():
                found.append(process)
    return found


def _kill(labels: Mapping[str, str]) -> None:
    processes = labelled(labels)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=3.0)


def kill_labelled(study: str, *, grace_s: float = 3.0) -> list[str]:
    """End the processes that a previous run of the study left. Returns a message for each."""
    processes = labelled({STUDY_LABEL: study})
    lines = []
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            trial = process.environ().get(TRIAL_LABEL, "?")
            lines.append(f"removed pid {process.pid} ({process.name()}) that trial {trial} had left behind")
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_s)
    return lines
