"""A small process between this package and an engine: when its standard input closes, it kills the engine's group.

Run as a script, by path, with the standard library only: ``python -I _guard.py GRACE_S LOG -- COMMAND…``. It starts
COMMAND in a session of its own, writes the JSON line ``{"pid": …}``, and waits. When the command ends, standard input
closes (its parent has died) or SIGTERM arrives, it ends the whole process group: SIGTERM, after GRACE_S seconds
SIGKILL; SIGKILL at once if it reads the line ``kill``. On Linux that includes processes that left the group. Its last
line is ``{"exit": code}``.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform.startswith("linux")


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _children() -> list[int]:
    """Return every descendant; this process is a subreaper, so orphans among them become its children."""
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        pid = todo.pop()
        try:
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib costs the guard its quick start
                with open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
                    pids = [int(word) for word in file.read().split()]
                found += pids
                todo += pids
        except OSError:
            continue
    return found


def _signal_all(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
    for pid in _children() if _LINUX else []:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _group_alive(group: int) -> bool:
    if _LINUX:
        return bool(_children())
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> int:
    grace_s, log, separator, *command = sys.argv[1:]
    assert separator == "--"
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    terminated: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(True))
    signal.signal(signal.SIGCHLD, lambda *_: None)

    guard = os.getpid()

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            # The guard died before PR_SET_PDEATHSIG took effect.
            os._exit(1)

    try:
        with open(log, "ab", buffering=0) as output:  # noqa: PTH123
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=in_child,
            )
    except OSError as error:
        _write({"error": str(error), "errno": error.errno, "log": error.filename == log})
        return 127
    _write({"pid": child.pid})

    kill, watch_input, stopping, killed, code = False, True, 0.0, False, None
    while True:
        if code is None:
            code = child.poll()
        else:
            _reap()
        if code is not None and not _group_alive(child.pid):
            break
        now = time.monotonic()
        if not stopping and (code is not None or terminated or not watch_input):
            stopping = now
            _signal_all(child.pid, signal.SIGTERM)
        if stopping and not killed and (kill or now - stopping > float(grace_s)):
            killed = True
        if killed:
            _signal_all(child.pid, signal.SIGKILL)
        ready, _, _ = select.select(
            [wake_read, 0] if watch_input else [wake_read],
            [],
            [],
            0.02 if killed else 0.1 if stopping else None,
        )
        if wake_read in ready:
            os.read(wake_read, 1024)
        if 0 in ready:
            words = os.read(0, 1024)
            kill = kill or b"kill" in words
            if not words or b"stop" in words or b"kill" in words:
                watch_input = b"stop" in words and b"kill" not in words
                if not stopping:
                    stopping = time.monotonic()
                    _signal_all(child.pid, signal.SIGTERM)
    _write({"exit": code})
    return 0


def _write(message: dict[str, object]) -> None:
    # The parent may have died.
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(message) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
