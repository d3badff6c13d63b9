"""The ``batch`` command: a grid of tasks, each its own study in its own executed notebook."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import print_stderr, usage_errors


@click.command(
    short_help="Run a grid of models, engines and workloads.",
    epilog=examples("batch batch.yaml --folder runs/nightly --parallel 2"),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Folder of the studies.")
@click.option("--parallel", type=click.IntRange(min=1), help="How many studies run at a time. Default: as GPUs allow.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def batch(file: Path, folder: Path | None, parallel: int | None, as_json: bool) -> None:
    """Run every study of the batch FILE: a base task, and axes whose values replace fields of it.

    Each study is run by papermill, and its executed notebook is in its folder. The same command skips the studies that
    have finished and continues the others. The folder gets summary.html and summary.csv.

    Exits 0 if every study has finished, 1 if one failed (the others run in any case), 2 for an invalid file.
    """
    from autotune_nb.batches import running

    with usage_errors():
        found = running.batch(file, folder=folder, parallel=parallel, report=print_stderr)
    if as_json:
        click.echo(json.dumps(json.loads(found.frame.reset_index().to_json(orient="records"))))
    else:
        click.echo(found.text())
        print_stderr(f"summary: {found.folder / 'summary.html'}")
    sys.exit(0 if found.ok else 1)
