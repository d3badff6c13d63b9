"""The ``retune`` command: the task of a study again, for an upgraded engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.check import placement_options
from autotune_nb.cli.output import fail, print_stderr, usage_errors
from autotune_nb.errors import StudyError

_STUDY = click.Path(file_okay=False, path_type=Path)
_FILE = "retune.yaml"


@click.command(
    short_help="Tune again after an upgrade of the engine.",
    epilog=examples(
        "retune runs/mine --engine-version v0.12.0",
        "retune runs/mine --executable ~/venvs/vllm-new/bin/python --study runs/new",
    ),
)
@click.argument("previous", metavar="STUDY", type=_STUDY)
@click.option("--engine-version", metavar="VERSION", help="The tag of the container's image to use instead.")
@click.option("--executable", metavar="PROGRAM", help="The program to start instead (engine.executable).")
@click.option("--runtime", metavar="NAME", help="The serving runtime in a cluster (deploy.runtime).")
@click.option("--study", type=_STUDY, help="Folder of the new study. Default: a new one beside STUDY.")
@click.option("--storage", metavar="URL", help="Optuna storage URL. Default: a SQLite file in the study's folder.")
@click.option("--trials", type=click.IntRange(min=1), help="Total number of trials (budget.trials).")
@placement_options
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
@click.pass_context
def retune(
    context: click.Context,
    /,
    previous: Path,
    engine_version: str | None,
    executable: str | None,
    runtime: str | None,
    study: Path | None,
    image: str | None,
    **options: Any,
) -> None:
    """Run the task of STUDY again for an upgraded engine, in a new folder.

    The best of STUDY are measured again first, and its other trials inform the search (warm_start). The end reports
    how many trials that saved; compare STUDY NEW shows what the upgrade changed.

    The new task is written to retune.yaml in the new folder, and run as by the command run, which also resumes it.

    Exits 0 if a trial is complete, 1 if none is or an error ended the run, 2 if the study or the new task is invalid.
    """
    from autotune_nb import session

    with usage_errors():
        task = session.retune_task(
            previous, engine_version=engine_version, executable=executable, runtime=runtime, image=image
        )
        folder = study or session.retune_folder(previous, engine_version)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = task.save(folder / _FILE)
        except OSError as error:
            fail(2, StudyError(f"{folder / _FILE} cannot be written: {error.strerror or error}"))
    print_stderr(f"the study is in {folder}")
    assert context.parent is not None
    run = context.parent.command.get_command(context, "run")  # type: ignore[attr-defined]
    context.invoke(run, task=file, study=folder, **options)
