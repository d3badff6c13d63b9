"""Prints lines on stderr from a thread of its own, so that a terminal that does not read delays nothing else."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading
import time

import click

_MAX_LINES = 1000
_DRAIN_S = 2.0


class LinePrinter:
    """Prints lines in order, in a thread. Lines that do not fit into its queue are counted and left out."""

    def __init__(self, *, max_lines: int = _MAX_LINES, drain_s: float = _DRAIN_S) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(max_lines)
        self._drain_s = drain_s
        self._left_out = 0
        self._stream = sys.stderr
        self._thread = threading.Thread(target=self._print_all, name="autotune_nb printer", daemon=True)

    def __enter__(self) -> LinePrinter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def print(self, line: str) -> None:
        """Print a line later; returns at once."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Wait until every line is printed, but not for a terminal that does not read."""
        deadline = time.monotonic() + self._drain_s
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=self._drain_s)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _print_all(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            if self._lines.empty():
                self._write_left_out()
        # The end may have been in the queue already behind the last line.
        self._write_left_out()

    def _write_left_out(self) -> None:
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._write(f"{left_out} lines are missing here: the terminal did not read")

    def _write(self, line: str) -> None:
        # The terminal may be gone, or the stream closed.
        with contextlib.suppress(OSError, ValueError):
            try:
                descriptor = self._stream.fileno()
            except (OSError, AttributeError):
                click.echo(line, file=self._stream)
                return
            text = line if self._stream.isatty() else click.unstyle(line)
            data = (text + "\n").encode(self._stream.encoding or "utf-8", "backslashreplace")
            # Not through the stream: a blocked write would hold its lock, which the interpreter needs at its exit.
            while data:
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(descriptor, data) :]
                    continue
                select.select([], [descriptor], [])
