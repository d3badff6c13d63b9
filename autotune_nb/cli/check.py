"""The ``check`` command and ``--dry-run``: they report what a run needs and create nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli._cluster_options import cluster_options
from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import prototype_notes, usage_errors

if TYPE_CHECKING:
    from autotune_nb.task.task import Task

_STUDY = click.Path(file_okay=False, path_type=Path)
_EXECUTORS = ("auto", "benchmark_job", "job", "direct")


def placement_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that override where and how trials run; ``with_overrides`` has parameters of the same names."""
    for option in reversed((
        click.option(
            "--deploy", type=click.Choice(["local", "container", "ome", "replay"]),
            help="Where trials run (deploy.kind).",
        ),
        click.option("--image", metavar="IMAGE", help="The engine's image for --deploy container (deploy.image)."),
        click.option("--table", metavar="PATH", help="Recorded table that --deploy replay replays (deploy.table)."),
        cluster_options,
        click.option(
            "--executor", type=click.Choice(_EXECUTORS), help="How benchmarks run in a cluster (benchmark.executor)."
        ),
        click.option(
            "--results", metavar="pvc://CLAIM/SUB",
            help="Where benchmarks in a cluster store their files (benchmark.results).",
        ),
        click.option(
            "--parallel", type=click.IntRange(min=1), help="How many trials run at the same time (deploy.parallel)."
        ),
        click.option(
            "--gpus", type=click.IntRange(min=0), help="How many GPUs running trials use in total (deploy.gpus)."
        ),
    )):  # fmt: skip
        command = option(command)
    return command


@click.command(
    short_help="Check whether a task can run.",
    epilog=examples("check task.yaml", "check task.yaml --deploy ome --namespace tune --dry-run"),
)
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--study", type=_STUDY, help="Also check whether TASK can resume the study in this folder.")
@placement_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Also print the manifests, as the API server accepts or rejects them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of text.")
def check(task: Path, study: Path | None, dry_run: bool, as_json: bool, **overrides: Any) -> None:
    """Check whether TASK can run on this machine or in the cluster that it names.

    Prints one line per check and creates nothing. TASK is a task file, or the name of one that comes with the package,
    such as quickstart.

    Exits 0 if every check passes, 2 otherwise.
    """
    from autotune_nb import session
    from autotune_nb.task.task import Task

    with usage_errors(), prototype_notes():
        loaded = session.with_overrides(Task.load(task), **overrides)
        results = session.check(loaded, study=study)
    click.echo(json.dumps(results.to_dict()) if as_json else str(results))
    code = 0 if results.ok else 2
    if dry_run and results.answers[0].ok:
        code = max(code, print_dry_run(loaded, study))
    sys.exit(code)


def print_dry_run(task: Task, study: Path | None) -> int:
    """Print the manifests of the first trials; return 0 if the API server accepts all of them, else 2."""
    import asyncio

    from autotune_nb.checks import dry_run, label_of
    from autotune_nb.engines.registry import engine_for
    from autotune_nb.errors import SetupError

    with usage_errors():
        if task.deploy.kind != "ome":
            raise SetupError("--dry-run is for trials in a cluster: add --deploy ome", field="deploy.kind")
        label = label_of(study)
        rendered = asyncio.run(dry_run(task, engine_for(task), label=label))
    if label is None:
        click.echo("note: names and labels are placeholders; a study gets its own when it starts", err=True)
    for manifest in rendered:
        click.echo(str(manifest), nl=False)
    return 2 if any(manifest.error for manifest in rendered) else 0
