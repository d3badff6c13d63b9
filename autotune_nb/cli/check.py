"""The command line's ``check`` and ``--dry-run``: what a run would need and make, without making it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli.output import notes, usage_errors

if TYPE_CHECKING:
    from autotune_nb.task.task import Task

_STUDY = click.Path(file_okay=False, path_type=Path)
_EXECUTORS = ("auto", "benchmark_job", "job", "direct")


def where_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where trials run, instead of what the task says; the names are those of ``tune``."""
    for option in reversed((
        click.option("--deploy", type=click.Choice(["local", "ome"]), help="Where trials run: deploy.kind."),
        click.option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, ~/.kube/config, the pod's account."),
        click.option("--context", metavar="NAME", help="Of the kubeconfig; default: its current one."),
        click.option("--namespace", metavar="NS", help="Default: the context's."),
        click.option("--executor", type=click.Choice(_EXECUTORS), help="How a cluster benchmarks: benchmark.executor."),
        click.option("--results", metavar="pvc://CLAIM/SUB", help="Where a cluster's benchmarks keep their files."),
        click.option("--parallel", type=click.IntRange(min=1), help="Trials at a time."),
        click.option("--gpus", type=click.IntRange(min=0), help="GPUs that trials may hold together."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.command(short_help="Say whether a task will run where it is to run.")
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--study", type=_STUDY, help="The study that is to go on: whether it can is looked at too.")
@where_options
@click.option("--dry-run", is_flag=True, help="Print the manifests too, as the server accepts or refuses them.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def check(task: Path, study: Path | None, dry_run: bool, as_json: bool, **where: Any) -> None:
    """Say whether TASK will run where it is to run, a line for each answer; nothing is made.

    TASK is a task file, or the name of one that comes with the package, such as quickstart.

    Exits 0 where all is well, 2 where something is missing.
    """
    from autotune_nb import session
    from autotune_nb.task.task import Task

    with usage_errors(), notes():
        asked = session.with_overrides(Task.load(task), **where)
        found = session.check(asked, study=study)
    click.echo(json.dumps(found.to_dict()) if as_json else str(found))
    code = 0 if found.ok else 2
    if dry_run and found.answers[0].ok:
        code = max(code, print_dry_run(asked, study))
    sys.exit(code)


def print_dry_run(task: Task, study: Path | None) -> int:
    """Print what the first trials would make; 0 where the server accepts all of it."""
    import asyncio

    from autotune_nb.checks import dry_run, label_of
    from autotune_nb.engines.registry import engine_for
    from autotune_nb.errors import SetupError

    with usage_errors():
        if task.deploy.kind != "ome":
            raise SetupError("a dry run is of a cluster's manifests; use --deploy ome", field="deploy.kind")
        label = label_of(study)
        rendered = asyncio.run(dry_run(task, engine_for(task), label=label))
    if label is None:
        click.echo("names and labels are not a study's: it gets its own when it begins", err=True)
    for one in rendered:
        click.echo(str(one), nl=False)
    return 2 if any(one.refused for one in rendered) else 0
