"""The command line's ``report``: a study as an executed notebook to hand on, and as a page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from autotune_nb.cli.output import fail, say_lost, usage_errors
from autotune_nb.errors import RunError, SetupError


@click.command()
@click.argument("study", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The notebook to write."
)
@click.option("--html", is_flag=True, help="Write a page beside it that needs no scripts and no network.")
@click.option("--storage", metavar="URL", help="The study's storage, where its password was not written down.")
@click.option("--force", is_flag=True, help="Write over what is there.")
def report(study: Path, output: Path, html: bool, storage: str | None, force: bool) -> None:
    """Write the report of STUDY as an executed notebook.

    The answer first, then charts, trials, failures, what was asked, what it ran on, and the cell that does it again.
    """
    from autotune_nb import session
    from autotune_nb.reports.notebook import execute
    from autotune_nb.resources import shared_folder
    from autotune_nb.study import STORAGE_VARIABLE

    with usage_errors():
        # Here, since an error in a notebook's cell is a page long.
        opened = session.open(study, storage=storage)
        for file in (output, *((output.with_suffix(".html"),) if html else ())):
            if file.exists() and not force:
                raise SetupError(f"{file} is there already; --force writes over it, or choose another -o")
        source = shared_folder("notebooks") / "04_report.ipynb"
        if storage is not None:
            # Parameters are kept in the notebook, and a URL may hold a password.
            os.environ[STORAGE_VARIABLE] = storage
        try:
            written = execute(
                source, output, parameters={"study": str(study)}, say=click.echo, html=html, show_code=False
            )
        except RunError as error:
            fail(1, error)
    say_lost(opened)
    for file in written:
        click.echo(f"wrote {file}")
