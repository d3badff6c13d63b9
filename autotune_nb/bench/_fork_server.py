"""The fork server: it imports genai-bench once and forks a child for each command line.

It runs under genai-bench's own Python: ``python -c SCRIPT [TOKENIZER [trusted]]``, where ``_scripts.py`` gives the
script. Its input and output are JSON lines. First it writes ``{"ready": version, "tokenizer_error": text or null}``.
For each line ``{"id", "argv", "env", "log", "seed", "plan"}`` it writes ``{"id", "pid"}``, and ``{"id", "exit": code}``
after the child has ended. When its standard input is closed, it kills the process groups of its children and exits.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from autotune_nb.bench._launcher import load_genai_bench, run_genai_bench, warm_up

# The originals, before gevent replaces them: only the children run greenlets.
_select, _waitpid = select.select, os.waitpid
_OUT = os.dup(1)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: How long the processes of ended runs may take to end when this one ends.
_LAST_S = 1.0


def _send(message: dict[str, Any]) -> None:
    os.write(_OUT, (json.dumps(message) + "\n").encode())


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children() -> set[int]:
    try:
        return {int(pid) for pid in Path("/proc/thread-self/children").read_text().split()}
    except OSError:
        return set()


def _end_orphans(others: Collection[int]) -> bool:
    """Kill and reap what ended runs have left, such as processes in a session of their own; returns if there was any.

    This process is a subreaper, so it is their parent. ``others`` are its other children.
    """
    orphans = _children().difference(others)
    for pid in orphans:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            _waitpid(pid, os.WNOHANG)
    return bool(orphans)


def _tokenizer_problem(tokenizer: str, *, trusted: bool) -> str | None:
    from transformers import AutoTokenizer

    try:
        # Only for its imports, which take a second: each run loads the tokenizer again.
        # Without the argument, the library asks on standard input.
        AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=trusted)
    except Exception as error:  # noqa: BLE001 - reported to the client
        return " ".join(f"{type(error).__name__}: {error}".split())[:1000]
    return None


def _child(cli: Any, job: dict[str, Any], parent: int) -> NoReturn:
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The server ended before PR_SET_PDEATHSIG was set.
        os._exit(1)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(_OUT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.update(job["env"])
    run_genai_bench(cli, job["argv"], job["seed"], job["plan"])


def main() -> None:
    # The current folder, which may contain a module named genai_bench.
    del sys.path[0]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.dup2(2, 1)
    tokenizer, trusted = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:] == ["trusted"]
    cli, version = load_genai_bench(trusted=trusted)
    problem = _tokenizer_problem(tokenizer, trusted=trusted) if tokenizer else None
    warm_up()
    own = _children()
    _send({"ready": version, "tokenizer_error": problem})
    children: dict[int, int] = {}
    buffer, orphans = b"", False
    while True:
        ready, _, _ = _select([0], [], [], 0.05 if children or orphans else None)
        for pid in list(children):
            done, status = _waitpid(pid, os.WNOHANG)
            if done:
                _send({"id": children.pop(pid), "exit": os.waitstatus_to_exitcode(status)})
                orphans = True
        orphans = orphans and _end_orphans({*own, *children})
        if not ready:
            continue
        data = os.read(0, 65536)
        if not data:
            break
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            job = json.loads(line)
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                _child(cli, job, parent)
            children[pid] = job["id"]
            _send({"id": job["id"], "pid": pid})
    for pid in children:
        # By process id too: a child that was just forked does not lead a group yet.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)
    until = time.monotonic() + _LAST_S
    while _end_orphans(own) and time.monotonic() < until:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
