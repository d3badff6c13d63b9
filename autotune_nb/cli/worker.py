"""The ``worker`` command: joins a study in PostgreSQL as one more worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from autotune_nb.cli._cluster_options import cluster_options
from autotune_nb.cli._examples import examples
from autotune_nb.cli._running import ending_run
from autotune_nb.cli._watching_options import watching_options
from autotune_nb.cli.output import usage_errors


@click.command(
    short_help="Join a study in PostgreSQL as one more worker.",
    epilog=examples("worker --study chat --storage 'postgresql://team:${PGPASSWORD}@db/tuning' --gpus 0,1"),
)
@click.option("--study", required=True, metavar="NAME", help="Name of the study: that of the folder it began in.")
@click.option(
    "--storage",
    metavar="URL",
    help="postgresql://USER:${VARIABLE}@HOST/DATABASE. Default: the variable AUTOTUNE_NB_STORAGE.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for this worker's logs and artifacts. Default: runs/NAME, or a new one in it if that is in use.",
)
@click.option("--gpus", metavar="LIST", help="GPUs of this worker, by number or id: 0,1. Default: all that are free.")
@cluster_options
@watching_options
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
def worker(
    study: str,
    storage: str | None,
    folder: Path | None,
    gpus: str | None,
    metrics_port: int | None,
    metrics_address: str,
    log_json: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Work on a study that another process has begun in PostgreSQL, until its budget is spent.

    The task comes from the database. No configuration is tried twice, and all workers share the budget, the edits, and
    the commands to pause and to stop. Ctrl-C ends this worker only: its running trial is given back.

    Trials of a cluster may be worked on from anywhere: --kubeconfig, --context and --namespace are this worker's own,
    and replace those of the task.

    Exits 0 if a trial is complete, 1 if none is or an error ended the worker, 2 if the study cannot be joined.
    """
    with ending_run(as_json=as_json, log_json=log_json) as to_end:
        from autotune_nb.deploy.visible_gpus import VARIABLE
        from autotune_nb.session import join

        with usage_errors():
            if gpus is not None:
                os.environ[VARIABLE] = gpus
            started = join(
                study,
                storage=storage,
                folder=folder,
                metrics_port=metrics_port,
                metrics_address=metrics_address,
                **overrides,
            )
        to_end(started)
