"""A real kernel, and the messages that it sends to a browser with their sizes in bytes."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_client.manager import KernelManager

_ROOT = Path(__file__).parents[2]
#: The types of messages that a browser displays.
_SHOWN = ("comm_open", "comm_msg", "comm_close", "display_data", "update_display_data", "execute_result")
_DELIMITER = b"<IDS|MSG>"


@dataclass(frozen=True)
class Sent:
    """A message from the kernel: its type, its time, its size over all frames, its comm."""

    kind: str
    at: float
    size: int
    comm: str = ""


class Kernel:
    """An ipykernel of this Python, started as JupyterLab starts one, so that monitors are live in it."""

    def __init__(self, *, live: bool = True) -> None:
        front_end = {"JPY_SESSION_NAME": "benchmark.ipynb"} if live else {}
        self._manager = KernelManager()
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "HF_HUB_OFFLINE": "1", **front_end}
        # Hides the warning about missing encryption, which does not matter on the loopback interface.
        quiet = ["--IPKernelApp.log_level=50"]
        self._manager.start_kernel(env=environment, cwd=str(_ROOT), extra_arguments=quiet)
        self._client = self._manager.client()
        self._client.start_channels(iopub=False, stdin=False)
        self._sent: list[Sent] = []
        self._answers: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._over = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        # Messages are lost until the subscription is active, so the request is repeated until there is a reply.
        for _ in range(100):
            if self._idle(self._client.kernel_info(), within_s=1):
                break

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=kind is not None)

    def _read(self) -> None:
        socket = self._manager.connect_iopub()
        socket.rcvhwm = 0
        while not self._over.is_set():
            if not socket.poll(100):
                continue
            frames = socket.recv_multipart()
            parts = frames[frames.index(_DELIMITER) + 2 :]
            header, parent = json.loads(parts[0]), json.loads(parts[1])
            kind = header["msg_type"]
            if kind in _SHOWN:
                at = datetime.fromisoformat(header["date"]).timestamp()
                comm = json.loads(parts[3]).get("comm_id", "") if kind.startswith("comm") else ""
                self._sent.append(Sent(kind, at, sum(map(len, frames)), comm))
            if kind in ("stream", "error", "status", "execute_result"):
                content = {"kind": kind, **json.loads(parts[3])}
                self._answers.put((parent.get("msg_id", ""), content))
        socket.close(linger=0)

    def _idle(self, message: str, *, within_s: float, printed: list[str] | None = None) -> bool:
        """Wait until a request is done; what it prints is appended to ``printed``."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                parent, content = self._answers.get(timeout=0.2)
            except queue.Empty:
                continue
            if parent != message:
                continue
            if content["kind"] == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            if content["kind"] == "stream" and content["name"] == "stdout" and printed is not None:
                printed.append(content["text"])
            if content["kind"] == "status" and content["execution_state"] == "idle":
                return True
        return False

    def run(self, code: str, *, within_s: float = 120) -> None:
        """Run a cell and wait for it. Raises RuntimeError with the cell's traceback."""
        message = self._client.execute(code)
        if not self._idle(message, within_s=within_s):
            raise TimeoutError(f"a cell took over {within_s:g} s: {code}")

    def value(self, code: str, *, within_s: float = 120) -> Any:
        """Return the value of an expression in the kernel, encoded as JSON."""
        mark = uuid.uuid4().hex
        printed: list[str] = []
        message = self._client.execute(f"import json as _json; print('{mark}', _json.dumps({code}))")
        if not self._idle(message, within_s=within_s, printed=printed):
            raise TimeoutError(f"an expression took over {within_s:g} s: {code}")
        return json.loads("".join(printed).partition(mark)[2])

    def sent(self, since: int = 0) -> list[Sent]:
        """Return the messages to the browser after the first ``since`` ones."""
        return self._sent[since:]

    def until_quiet(self, quiet_s: float, *, within_s: float = 60) -> int:
        """Wait until nothing is sent for ``quiet_s``; return the number of messages so far."""
        deadline = time.monotonic() + within_s
        count, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            if count != len(self._sent):
                count, since = len(self._sent), time.monotonic()
            if time.monotonic() - since >= quiet_s:
                return count
            time.sleep(0.05)
        raise TimeoutError(f"the kernel did not stop sending within {within_s:g} s")


def size(messages: Sequence[Sent]) -> int:
    return sum(one.size for one in messages)


def bursts(messages: Sequence[Sent], apart_s: float) -> list[list[Sent]]:
    """Return the messages in groups that are at least ``apart_s`` apart."""
    groups: list[list[Sent]] = []
    for one in sorted(messages, key=lambda m: m.at):
        if groups and one.at - groups[-1][-1].at < apart_s:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def by_kind(messages: Sequence[Sent]) -> Mapping[str, int]:
    return {kind: size([m for m in messages if m.kind == kind]) for kind in sorted({m.kind for m in messages})}
