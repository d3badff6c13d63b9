"""Whether processes listen on a port of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import psutil

#: Linux's tables of connections; the first one is always there.
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
#: The state of a socket that listens, in these tables, and about the length of a row.
_LISTEN, _ROW_BYTES = b"0A", 150


def listening_on(port: int) -> Callable[[psutil.Process], bool]:
    """Return a function that returns whether a process listens on the port; it raises psutil.Error.

    On Linux the sockets that listen are read once for all processes. psutil reads the whole tables for each process,
    which takes milliseconds.
    """
    sockets = _listening_sockets(port)
    if sockets is None:
        return lambda process: any(
            one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
            for one in process.net_connections("tcp")
        )
    return lambda process: not sockets.isdisjoint(_open_files(process.pid))


def _listening_sockets(port: int) -> frozenset[str] | None:
    """Return the sockets that listen on a port, by the names that they have among open files; None without tables."""
    for table in _TABLES:
        found = set()
        try:
            # In small parts: the kernel takes long to find further rows.
            with table.open("rb", buffering=_ROW_BYTES) as file:
                next(file, b"")
                for words in map(bytes.split, file):
                    if words[3] != _LISTEN:
                        # The sockets that listen come first.
                        break
                    if int(words[1].rpartition(b":")[2], 16) == port:
                        found.add(f"socket:[{words[9].decode()}]")
        except OSError:
            # Without IPv6, or another system than Linux.
            if table is _TABLES[0]:
                return None
        if found:
            return frozenset(found)
    return frozenset()


def _open_files(pid: int) -> set[str]:
    """Return what a process has open. Raises NoSuchProcess, AccessDenied."""
    found = set()
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            for file in files:
                # It may be closed meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    found.add(os.readlink(file.path))  # noqa: PTH115 - many times for each level
    except PermissionError as error:
        raise psutil.AccessDenied(pid) from error
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error
    return found
