"""The command line's ``share``: a copy of a notebook without secrets."""

from __future__ import annotations

from pathlib import Path

import click

from autotune_nb.cli.output import usage_errors


@click.command(short_help="Copy a notebook without secrets and home folders.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="OUT", help="The copy; never NOTEBOOK."
)
@click.option("--html", is_flag=True, help="Also write an HTML page of the copy, beside it.")
@click.option("--force", is_flag=True, help="Overwrite OUT where it exists.")
def share(notebook: Path, output: Path, html: bool, force: bool) -> None:
    """Write a copy of NOTEBOOK that is fit to be given away: without secrets, home folders and state of widgets.

    Says what was removed and from which cell, never the secret itself. Exits 2, with nothing written, where something
    cannot be cleaned.
    """
    from autotune_nb.reports.share import share as shared_copy

    with usage_errors():
        shared = shared_copy(notebook, output, html=html, force=force)
    click.echo(f"wrote {shared.output}")
    if shared.html is not None:
        click.echo(f"wrote {shared.html}")
    for line in shared.lines():
        click.echo(line)
