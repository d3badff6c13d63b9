"""The command line's ``export`` and ``import``: a study's results out, and results of elsewhere in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune_nb.cli.output import counting, ended_by_signals, notes, say, say_lost, usage_errors
from autotune_nb.errors import SetupError, not_written

if TYPE_CHECKING:
    from autotune_nb.results.exporting import Form

_FORMS = ("command", "env", "isvc", "yaml", "csv", "parquet")
_STUDY = click.Path(file_okay=False, path_type=Path)


@click.command("export", short_help="Print a study's command line, task, manifest or measurements.")
@click.argument("study", type=_STUDY)
@click.option(
    "--as",
    "form",
    required=True,
    type=click.Choice(_FORMS),
    help="What to print; see above.",
)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Of this trial instead of the best, or of all.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of stdout.")
@click.option("--storage", metavar="URL", help="The study's storage, where its password was not written down.")
@click.option("--force", is_flag=True, help="Write over what is there.")
def export_command(
    study: Path, form: Form, trial: int | None, output: Path | None, storage: str | None, force: bool
) -> None:
    """Print what to run, to apply, to ask again, or every measurement of STUDY.

    \b
    command   the best configuration's command line
    env       the same as variables, for a shell or docker compose
    isvc      the same as the InferenceService to apply, of a study in a cluster
    yaml      the task
    csv       every measurement, one row per configuration and level
    parquet   the same as a parquet file; needs -o

    Exits 2, with nothing written, where the study has no such thing.
    """
    from autotune_nb import session
    from autotune_nb.results.exporting import export

    with usage_errors():
        if form == "parquet" and output is None:
            raise SetupError("parquet is no text; name a file with -o")
        if output is not None and output.exists() and not force:
            raise SetupError(f"{output} is there already; --force writes over it, or choose another -o")
        opened = session.open(study, storage=storage)
        content = export(opened, form, trial=trial)
        say_lost(opened)
        if output is None:
            click.echo(content, nl=False)
            return
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise not_written(output, error) from None
    say(f"wrote {output}")


@click.command("import", short_help="Make a study of a CSV, parquet or genai-bench's folders.")
@click.argument("source", metavar="FILE_OR_FOLDER", type=click.Path(path_type=Path))
@click.option("--study", required=True, type=_STUDY, help="The new study's folder.")
@click.option("--task", type=click.Path(path_type=Path), help="The task file they are results of; it can then go on.")
@click.option("--objective", metavar="TEXT", help="Without --task. Default: maximize output_tokens_per_s.")
@click.option(
    "--limit", "limits", multiple=True, metavar="TEXT", help="Without --task, such as 'ttft_p99_s <= 0.5'; repeatable."
)
@click.option("--scenario", default="dataset", show_default=True, help="The scenario of levels that are a bare number.")
def import_command(
    source: Path, study: Path, task: Path | None, objective: str | None, limits: tuple[str, ...], scenario: str
) -> None:
    """Make a study of results: a CSV or parquet file as export writes it, or genai-bench's result folders.

    Exits 0 when at least one trial is complete, 1 when none is, 2 where they cannot be read. Stopped by Ctrl-C, it
    leaves nothing behind; one that was killed leaves a folder that every command refuses.
    """
    from autotune_nb.results.importing import import_results

    try:
        with ended_by_signals(), usage_errors(), notes(), counting("keeping") as progress:
            done = import_results(
                source, study, task=task, objective=objective, limits=limits, scenario=scenario, progress=progress
            )
    except KeyboardInterrupt:
        say(f"stopped: nothing of it is kept in {study}")
        sys.exit(1)
    for note in done.notes:
        say(f"note: {note}")
    failed = len(done.trials) - done.num_complete
    click.echo(f"{study}: {done.num_complete} trial{'s' * (done.num_complete != 1)} complete, {failed} failed")
    if task is None and not limits:
        click.echo("no limit is known, so that any trial may be the best; --limit or --task names what has to be kept")
    click.echo(f"look at it with: autotune-nb show {study}, or autotune-nb report {study} -o report.ipynb")
    sys.exit(0 if done.num_complete else 1)
