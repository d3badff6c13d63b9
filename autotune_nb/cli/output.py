"""Messages on stderr, exit codes and progress bars of the command line."""

from __future__ import annotations

import functools
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from autotune_nb.errors import AutotuneError, ClusterError, SetupError, StudyError, TaskError
from autotune_nb.secrets.scrubbing import scrub

if TYPE_CHECKING:
    from autotune_nb.handle import StudyHandle

#: Fewer trials are done within two or three seconds, which needs no progress bar.
_MIN_TRIALS = 200


@contextmanager
def usage_errors() -> Iterator[None]:
    """Print an expected error in one line and exit with 2."""
    try:
        yield
    except (TaskError, SetupError, StudyError, ClusterError) as error:
        fail(2, error)
    except OSError as error:
        # For example a name that is too long or a disk that is gone.
        fail(2, SetupError(f"{error.filename or 'a file'}: {error.strerror or error}"))


@contextmanager
def prototype_notes() -> Iterator[None]:
    """Print the warnings about a task's flags and a prototype's file, one per line."""
    from autotune_nb.engines.given_flags import FlagWarning
    from autotune_nb.task.file import PrototypeWarning

    notes = (FlagWarning, PrototypeWarning)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, notes):
                    print_stderr(f"note: {warning.message}")
    for warning in caught:
        if not issubclass(warning.category, notes):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def progress_bar(action: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with the number of trials done and their total.

    It shows a bar on a terminal, else a single line, and nothing for few trials.
    """
    with ExitStack() as open_bar:
        bar = None

        def update(done: int, total: int) -> None:
            nonlocal bar
            if total < _MIN_TRIALS:
                return
            if bar is None:
                label = f"{action} {total:,} trials"
                bar = open_bar.enter_context(click.progressbar(length=total, label=label, file=sys.stderr))
            bar.update(done - bar.pos)

        yield update


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a command: SIGHUP only if nohup, or another parent process, does not ignore it."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on each of ``ending_signals``; on SIGINT also in a shell's background jobs."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def fail(code: int, error: AutotuneError) -> NoReturn:
    """Print an error and exit."""
    print_error(error)
    sys.exit(code)


def print_error(error: BaseException) -> None:
    """Print an error on stderr, in one line."""
    print_stderr("error: " + " ".join(scrub(str(error)).split("\n")))


def print_lost_database(study: StudyHandle) -> None:
    """Print a note if a study's database is lost."""
    if study.lost:
        print_stderr(f"note: {study.lost}")


_write_stderr: Callable[[str], None] = functools.partial(click.echo, err=True)


def print_stderr(line: str) -> None:
    """Print a line on stderr."""
    _write_stderr(line)


@contextmanager
def stderr_lines(write: Callable[[str], None]) -> Iterator[None]:
    """Call ``write`` meanwhile with each line for stderr."""
    global _write_stderr
    before, _write_stderr = _write_stderr, write
    try:
        yield
    finally:
        _write_stderr = before
