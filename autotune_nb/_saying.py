"""How the command line says what went wrong, and with which exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from autotune_nb.errors import AutotuneError, ClusterError, SetupError, StudyError, TaskError
from autotune_nb.scrubbing import scrub


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
    from autotune_nb.task_file import PrototypeWarning

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


def fail(code: int, error: AutotuneError) -> NoReturn:
    say_error(error)
    sys.exit(code)


def say_error(error: BaseException) -> None:
    """In one line, however many the error has."""
    say("error: " + " ".join(scrub(str(error)).split("\n")))


def say(line: str) -> None:
    click.echo(line, err=True)
