"""The ``report`` command: writes the report of a study as an executed notebook and as an HTML page."""

from __future__ import annotations

import os
from pathlib import Path

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import fail, print_lost_database, usage_errors
from autotune_nb.errors import RunError, SetupError


@click.command(epilog=examples("report runs/mine -o report.ipynb --html"))
@click.argument("study", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The notebook to write."
)
@click.option("--html", is_flag=True, help="Also write an HTML page with interactive charts that needs no network.")
@click.option("--storage", metavar="URL", help="Storage URL, needed if it has a password: passwords are not saved.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def report(study: Path, output: Path, html: bool, storage: str | None, force: bool) -> None:
    """Write the report of STUDY as an executed notebook.

    The report has the result, charts, trials, failures, the task, the machine or cluster, and a cell that reproduces
    the study.

    Exits 0, or 2 if the study cannot be read or the files cannot be written.
    """
    from autotune_nb import session
    from autotune_nb.reports.notebook import execute
    from autotune_nb.resources import shared_folder
    from autotune_nb.study import STORAGE_VARIABLE

    with usage_errors():
        # Opened before the notebook runs: an error in a notebook's cell would be a page long.
        opened = session.open(study, storage=storage)
        for file in (output, *((output.with_suffix(".html"),) if html else ())):
            if file.exists() and not force:
                raise SetupError(f"{file} already exists; overwrite it with --force, or choose another -o")
        source = shared_folder("notebooks") / "04_report.ipynb"
        if storage is not None:
            # Not as a parameter: parameters are saved in the notebook, and a URL may contain a password.
            os.environ[STORAGE_VARIABLE] = storage
        try:
            written = execute(
                source,
                output,
                parameters={"study": str(study)},
                report=click.echo,
                html=html,
                show_code=False,
                # A single cell has outputs; those of thousands of trials take long to write.
                save_each_cell=False,
            )
        except RunError as error:
            fail(1, error)
    print_lost_database(opened)
    for file in written:
        click.echo(f"wrote {file}")
