"""Signals that end a command, and lines that are printed while a terminal does not read."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune_nb.cli._line_printer import LinePrinter
from autotune_nb.cli._running import _Signals
from autotune_nb.cli.output import signals_as_interrupts
from tests.stubs import until


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """Replace stderr by a pipe that takes no more bytes; yields its reading end."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    with os.fdopen(writer, "w") as stream, contextlib.redirect_stderr(stream):
        yield reader
    os.close(reader)


def read_lines(reader: int) -> list[str]:
    os.set_blocking(reader, False)
    data = b""
    try:
        while True:
            data += os.read(reader, 1 << 20)
    except BlockingIOError:
        return data.lstrip(b"x").decode().splitlines()


def test_a_terminal_that_does_not_read_delays_nobody_and_misses_no_line_unnoticed() -> None:
    with full_pipe() as reader, LinePrinter(max_lines=4, drain_s=10) as printer:
        printer.print("0")
        # In the hands of the thread, which is blocked.
        until(printer._lines.empty)
        for number in range(1, 8):
            printer.print(f"\x1b[31m{number}\x1b[0m")
        read = read_lines(reader)
        printer.close()
        read += read_lines(reader)
    assert read == ["0", "1", "2", "3", "4", "3 lines are missing here: the terminal did not read"]


def test_lines_that_are_missing_at_the_end_are_counted() -> None:
    with full_pipe() as reader, LinePrinter(max_lines=4, drain_s=10) as printer:
        printer.print("0")
        until(printer._lines.empty)
        for number in range(1, 7):
            printer.print(str(number))
        # Closing may put its end directly behind the last line.
        with printer._lines.mutex:
            printer._lines.queue.append(None)
        read = read_lines(reader)
        printer.close()
        read += read_lines(reader)
    assert read == ["0", "1", "2", "3", "4", "2 lines are missing here: the terminal did not read"]


def test_closing_does_not_wait_for_a_terminal_that_does_not_read() -> None:
    with full_pipe() as reader:
        with LinePrinter(drain_s=0.05) as printer:
            printer.print("not read in time")
        read_lines(reader)
        until(lambda: not printer._thread.is_alive())


def test_a_closed_terminal_raises_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed = (tmp_path / "closed").open("w")
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        with LinePrinter() as printer:
            printer.print("lost")
        assert not printer._thread.is_alive()


def test_a_stream_without_a_descriptor_gets_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with LinePrinter() as printer:
        printer.print("a")
        printer.print("b")
    assert stream.getvalue() == "a\nb\n"


def test_nohup_keeps_a_command_from_ending_at_a_hang_up() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for commands in (_Signals(), signals_as_interrupts()):
            with commands:
                os.kill(os.getpid(), signal.SIGHUP)
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
                with pytest.raises((SystemExit, KeyboardInterrupt)):
                    signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)
