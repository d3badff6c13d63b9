"""Waiting for what every trial depends on: a cluster, its webhooks, a container daemon, the disk of the study."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from autotune_nb.errors import Failure, SetupError
from autotune_nb.secrets.scrubbing import scrub_failure

#: The first and the longest pause while the surroundings do not respond.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
#: Errors of a disk that is full, read-only or away, which another program or person may repair.
_OF_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN})
#: How much is written to find out whether a disk is full; a small file may still fit.
_PROBE_BYTES = 1 << 18
DISK_HINT = "free space, or mount it writable"


class SurroundingsWait:
    """Waits for the surroundings of ``who``, such as a trial, longer each time, up to ``within_s`` in all."""

    def __init__(self, who: str, within_s: float, notify: Callable[[str], None]) -> None:
        self._who, self._within_s, self._notify = who, within_s, notify
        #: Since when the surroundings do not respond, and how long the next pause is.
        self._since: float | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._reported = ""

    def reset(self) -> None:
        """Wait for the full time again: the surroundings respond."""
        if self._since is not None:
            self._notify(f"{self._who} goes on after a wait of {_now() - self._since:.0f} s")
        self._since, self._pause_s, self._reported = None, _FIRST_PAUSE_S, ""

    async def pause(self, failure: Failure, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Wait before the next attempt. Raises SetupError once ``within_s`` has passed."""
        failure = scrub_failure(failure)
        self._since = _now() if self._since is None else self._since
        left_s = self._within_s - (_now() - self._since)
        if left_s <= 0:
            hint = f"; {failure.hint}" if failure.hint else ""
            raise SetupError(
                f"{self._who} could not continue within {self._within_s:g} s (deadlines.surroundings_s): "
                f"{failure.message}{hint}; start the study again later, it continues with {self._who}"
            )
        # The rest of a server's message differs between attempts.
        if (what := failure.message.split(": ")[0]) != self._reported:
            self._reported = what
            self._notify(f"{self._who} waits up to {left_s:.0f} s and is tried again: {failure}")
        await sleep(min(self._pause_s, left_s))
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)


def of_disk(error: OSError) -> bool:
    """Whether an error of a file passes once the disk has space or responds again."""
    return error.errno in _OF_DISK


def disk_problem(folder: Path) -> str:
    """Return why nothing can be written into a folder at the moment; empty if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\1" * _PROBE_BYTES)
            # A network file system reports a full disk when the file is closed.
            file.flush()
    except OSError as error:
        if of_disk(error):
            return f"the study's folder {folder} cannot be written: {error.strerror or error}"
    return ""


def _now() -> float:
    return asyncio.get_running_loop().time()
