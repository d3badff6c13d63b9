"""A small process that runs a container's client, and removes the container when its standard input closes.

Run as a script, by path, with the standard library only:
``python -I _container_guard.py FIND REMOVE LOG -- COMMAND…``. FIND and REMOVE are JSON lists: a command that prints
ids of containers, and one that removes the ids that are appended to it. It starts COMMAND in a session of its own,
writes the JSON line ``{"pid": …}``, and once it has ended ``{"exit": code}``. When standard input closes (its parent
has died) or SIGTERM arrives, it ends COMMAND and removes the containers; after the line ``done`` it only ends COMMAND.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

#: Pauses before the attempts to remove: a daemon may still be creating the container.
_PAUSES_S = (0.0, 0.3, 1.0)
#: The same once nobody waits for this process any more: the daemon is away, perhaps for a moment.
_LATE_PAUSES_S = (5.0, 20.0, 60.0)
#: How many attempts follow one after which no container was found.
_FEWEST = 2
_CLIENT_S = 60.0
_ENDING_S = 3.0


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the client, which may be in the middle of creating the container."""
    for stop in (child.terminate, child.kill):
        if child.poll() is None:
            stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_ENDING_S)


def _remove(find: "list[str]", remove: "list[str]", pauses_s: "tuple[float, ...]") -> bool:
    """Remove the containers; returns whether none is left."""
    absent = 0
    for pause_s in pauses_s:
        time.sleep(pause_s)
        try:
            found = subprocess.run(find, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CLIENT_S, check=True)
            ids = found.stdout.decode().split()
            if ids:
                subprocess.run([*remove, *ids], stdin=subprocess.DEVNULL, capture_output=True, timeout=_CLIENT_S)
            else:
                absent += 1
        except (OSError, subprocess.SubprocessError):
            continue
        if absent >= _FEWEST:
            return True
    return False


def main() -> int:
    find, remove, log, separator, *command = sys.argv[1:]
    assert separator == "--"
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    terminated: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(True))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        with open(log, "ab", buffering=0) as output:  # noqa: PTH123
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
    except OSError as error:
        _write({"error": str(error), "errno": error.errno, "log": error.filename == log})
        return 127
    _write({"pid": child.pid})
    words, reported = b"", False
    while not terminated:
        if not reported and child.poll() is not None:
            reported = True
            _write({"exit": child.returncode})
        ready, _, _ = select.select([wake_read, 0], [], [])
        if wake_read in ready:
            os.read(wake_read, 1024)
        if 0 in ready:
            more = os.read(0, 1024)
            words += more
            if not more or b"done" in words:
                break
    _end(child)
    removal = (json.loads(find), json.loads(remove))
    gone = b"done" in words or _remove(*removal, _PAUSES_S)
    if not reported:
        _write({"exit": child.returncode})
    if not gone and os.fork() == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        _remove(*removal, _LATE_PAUSES_S)
    return 0


def _write(message: "dict[str, object]") -> None:
    # The parent may have died.
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(message) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
