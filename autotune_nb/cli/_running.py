"""A run that a command starts: its progress, the signals that stop it, its results and the exit code."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import click

from autotune_nb.cli._line_printer import LinePrinter
from autotune_nb.cli._watching_options import stderr_as_json
from autotune_nb.cli.compare import REGRESSION, check_baseline, is_regression, print_regression, regression_json
from autotune_nb.cli.output import ending_signals, print_error, print_stderr
from autotune_nb.errors import RunError, SetupError, TaskError

if TYPE_CHECKING:
    from autotune_nb.run import Run


#: The study that a run is compared with, the change from which on it counts, and whether a regression fails.
Baseline = tuple[Path, float, bool]


class ToEnd(Protocol):
    """Prints the progress and the results of a run, and exits."""

    def __call__(self, started: Run, baseline: Baseline | None = None) -> NoReturn: ...


@contextlib.contextmanager
def ending_run(*, as_json: bool, log_json: bool) -> Iterator[ToEnd]:
    """Handle signals in the body, which starts a run; yields what prints its progress and its results, and exits."""
    with _Signals() as signals, stderr_as_json(log_json):

        def to_end(started: Run, baseline: Baseline | None = None) -> NoReturn:
            with LinePrinter() as printer:
                # Before subscribing: a user may send a signal in response to the first line of progress.
                signals.stop(started, print_stderr if log_json else printer.print)
                if not log_json:
                    started.subscribe(started.progress_lines(printer.print))
                error = _outcome(started)
                signals.ignore()
            results = started.results()
            if error is not None:
                print_error(error)
            path, threshold, fails = baseline or (None, 0.0, False)
            regression = check_baseline(started, path, threshold) if path is not None else None
            if as_json:
                click.echo(json.dumps(results | regression_json(regression)))
            elif error is None or results["trials"]:
                click.echo(started.report().text())
                print_stderr(f"results: {started.folder / 'results.json'}")
            print_regression(regression, path)
            if results["state"] == "stopped":
                print_stderr("stopped; run the same command to resume")
            invalid = isinstance(error, SetupError | TaskError) and not results["trials"]
            failed = 2 if invalid else 1 if error is not None else exit_code(results)
            sys.exit(failed or (REGRESSION if fails and is_regression(regression) else 0))

        yield to_end


class _Signals:
    """Handles the signals that end a command, during ``run``.

    Before the run starts they end the program, then they stop the run, and afterwards they are ignored so that the
    results are printed in full.
    """

    def __init__(self) -> None:
        self._run: Run | None = None
        self._report: Callable[[str], None] = print_stderr
        self._stopping = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in ending_signals():
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def stop(self, run: Run, report: Callable[[str], None]) -> None:
        """Stop this run at the next signal, and kill its engines at a second one."""
        self._run, self._report = run, report

    def ignore(self) -> None:
        """Ignore signals from now on."""
        for number in self._previous:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._run is None:
            self._report("stopped before the run started")
            raise SystemExit(1)
        kill, self._stopping = self._stopping, True
        self._report("killing the engines" if kill else "stopping: taking down the running trials; repeat to kill them")
        # The other workers of a shared study go on.
        self._run.stop(now=kill, only_here=True)


def _outcome(run: Run) -> BaseException | None:
    """Wait for a run and return the error that ended it early, or None."""
    try:
        run.wait()
    except RunError:
        return None
    except BaseException as error:  # noqa: BLE001 - the caller prints it and sets the exit code
        return error
    return None


def exit_code(results: dict[str, Any]) -> int:
    """Return 0 if at least one trial is complete, else 1."""
    return 0 if any(trial["state"] == "complete" for trial in results["trials"]) else 1
