"""A real kernel, and everything that it sends to a browser, counted in bytes as it lies on the wire."""

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
#: What a browser makes its picture of.
_SHOWN = ("comm_open", "comm_msg", "comm_close", "display_data", "update_display_data", "execute_result")
_DELIMITER = b"<IDS|MSG>"


@dataclass(frozen=True)
class Sent:
    """A message that the kernel sent: its kind, when the kernel made it, its size over all frames, its comm."""

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
        # A kernel of one's own on the loopback needs no advice on encryption in the terminal.
        quiet = ["--IPKernelApp.log_level=50"]
        self._manager.start_kernel(env=environment, cwd=str(_ROOT), extra_arguments=quiet)
        self._client = self._manager.client()
        self._client.start_channels(iopub=False, stdin=False)
        self._sent: list[Sent] = []
        self._answers: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._over = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        # Until the subscription holds, what is sent is lost: ask until something comes.
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

    def _idle(self, message: str, *, within_s: float, said: list[str] | None = None) -> bool:
        """Wait until a request is done with; what it printed goes to ``said``."""
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
            if content["kind"] == "stream" and content["name"] == "stdout" and said is not None:
                said.append(content["text"])
            if content["kind"] == "status" and content["execution_state"] == "idle":
                return True
        return False

    def run(self, code: str, *, within_s: float = 120) -> None:
        """Run a cell to its end. Raises RuntimeError with what it raised."""
        message = self._client.execute(code)
        if not self._idle(message, within_s=within_s):
            raise TimeoutError(f"a cell took over {within_s:g} s: {code}")

    def value(self, code: str, *, within_s: float = 120) -> Any:
        """What an expression is in the kernel, by way of JSON."""
        mark = uuid.uuid4().hex
        said: list[str] = []
        message = self._client.execute(f"import json as _json; print('{mark}', _json.dumps({code}))")
        if not self._idle(message, within_s=within_s, said=said):
            raise TimeoutError(f"an expression took over {within_s:g} s: {code}")
        return json.loads("".join(said).partition(mark)[2])

    def sent(self, since: int = 0) -> list[Sent]:
        """What went to the browser, after the first ``since`` messages."""
        return self._sent[since:]

    def until_quiet(self, quiet_s: float, *, within_s: float = 60) -> int:
        """Wait until nothing was sent for so long; how many messages have been sent by then."""
        deadline = time.monotonic() + within_s
        count, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            if count != len(self._sent):
                count, since = len(self._sent), time.monotonic()
            if time.monotonic() - since >= quiet_s:
                return count
            time.sleep(0.05)
        raise TimeoutError(f"the kernel did not fall silent within {within_s:g} s")


def size(messages: Sequence[Sent]) -> int:
    return sum(one.size for one in messages)


def bursts(messages: Sequence[Sent], apart_s: float) -> list[list[Sent]]:
    """Messages in groups with at least so much quiet between them."""
    groups: list[list[Sent]] = []
    for one in sorted(messages, key=lambda m: m.at):
        if groups and one.at - groups[-1][-1].at < apart_s:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def by_kind(messages: Sequence[Sent]) -> Mapping[str, int]:
    return {kind: size([m for m in messages if m.kind == kind]) for kind in sorted({m.kind for m in messages})}
