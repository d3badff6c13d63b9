"""The options of ``run`` about what follows a run: metrics, logs, copies elsewhere, and the end of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import click

from autotune_nb.cli import output
from autotune_nb.cli._line_printer import LinePrinter


def watching_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; ``tune`` and ``with_overrides`` have parameters of the same names, except for ``log_json``."""
    for option in reversed((
        click.option(
            "--metrics-port", type=click.IntRange(1, 65535), metavar="PORT", help="Serve Prometheus metrics on PORT."
        ),
        click.option(
            "--metrics-address", default="127.0.0.1", show_default=True, metavar="ADDRESS",
            help="Address of --metrics-port; 0.0.0.0 for all of this machine.",
        ),
        click.option("--log-json", is_flag=True, help="Write one JSON object a line to stderr, in place of text."),
        click.option("--tracking", type=click.Choice(["mlflow"]), help="Send each trial there (tracking.kind)."),
        click.option("--artifacts", metavar="URL", help="Folder or bucket for each trial's files (artifacts.url)."),
        click.option("--on-end", metavar="COMMAND", help="Command that gets the result as JSON (on_end.command)."),
        click.option(
            "--webhook", metavar="URL",
            help="URL that gets the result by POST; '${NAME}' names a variable that has it (on_end.webhook).",
        ),
    )):  # fmt: skip
        command = option(command)
    return command


@contextlib.contextmanager
def stderr_as_json(enabled: bool) -> Iterator[None]:
    """With ``enabled``, write events and everything else on stderr as JSON meanwhile."""
    if not enabled:
        yield
        return
    from autotune_nb.watching.event_log import json_logs

    def log(line: str) -> None:
        error = line.startswith("error: ")
        text = line.removeprefix("error: ")
        extra = {"kind": "error" if error else "message"}
        logging.getLogger("autotune_nb.cli").log(logging.ERROR if error else logging.INFO, "%s", text, extra=extra)

    with LinePrinter() as printer, json_logs(printer.print), output.stderr_lines(log):
        yield
