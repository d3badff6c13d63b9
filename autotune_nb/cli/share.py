"""The ``share`` command: copies a notebook without secrets."""

from __future__ import annotations

from pathlib import Path

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import usage_errors


@click.command(
    short_help="Copy a notebook without secrets and home folder paths.",
    epilog=examples("share runs/mine/quickstart.ipynb -o shared.ipynb --html"),
)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="File for the copy; NOTEBOOK itself is never overwritten.",
)
@click.option("--html", is_flag=True, help="Also write an HTML page of the copy, beside it.")
@click.option("--force", is_flag=True, help="Overwrite OUT if it exists.")
def share(notebook: Path, output: Path, html: bool, force: bool) -> None:
    """Write a copy of NOTEBOOK to share: without secrets, home folder paths and widget state.

    Prints what was removed and from which cell, but never a secret itself.

    Exits 0, or 2 and writes nothing if part of the notebook cannot be cleaned.
    """
    from autotune_nb.reports.share import share as shared_copy

    with usage_errors():
        shared = shared_copy(notebook, output, html=html, force=force)
    click.echo(f"wrote {shared.output}")
    if shared.html is not None:
        click.echo(f"wrote {shared.html}")
    for line in shared.lines():
        click.echo(line)
