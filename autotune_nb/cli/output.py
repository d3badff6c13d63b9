"""How the command line says what went wrong, and with which exit code."""

from __future__ import annotations

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

#: What is over within two or three seconds needs no word of progress.
_MANY = 200


@contextmanager
def usage_errors() -> Iterator[None]:
    try:
        yield
    except (TaskError, SetupError, StudyError, ClusterError) as error:
        fail(2, error)
    except OSError as error:
        # A name that is too long, a disk that is gone.
        fail(2, SetupError(f"{error.filename or 'a file'}: {error.strerror or error}"))


@contextmanager
def notes() -> Iterator[None]:
    """What a prototype's task could not carry over, said in lines of its own."""
    from autotune_nb.task.file import PrototypeWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, PrototypeWarning):
                    say(f"note: {warning.message}")
    for warning in caught:
        if not issubclass(warning.category, PrototypeWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def counting(doing: str) -> Iterator[Callable[[int, int], None]]:
    """For a long work: call it with how many are done, and of how many. A bar on a terminal, else one line; nothing
    where there are few."""
    with ExitStack() as open_bar:
        bar = None

        def tell(done: int, total: int) -> None:
            nonlocal bar
            if total < _MANY:
                return
            if bar is None:
                label = f"{doing} {total:,} trials"
                bar = open_bar.enter_context(click.progressbar(length=total, label=label, file=sys.stderr))
            bar.update(done - bar.pos)

        yield tell


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is within as Ctrl-C does, which does so in a shell's background jobs too."""

    def heard(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fail(code: int, error: AutotuneError) -> NoReturn:
    say_error(error)
    sys.exit(code)


def say_error(error: BaseException) -> None:
    """In one line, however many the error has."""
    say("error: " + " ".join(scrub(str(error)).split("\n")))


def say_lost(study: StudyHandle) -> None:
    """Say beside what is shown of a study that its database is gone."""
    if study.lost:
        say(f"note: {study.lost}")


def say(line: str) -> None:
    click.echo(line, err=True)
