"""``export --as mlflow``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune_nb.cli.output import print_lost_database, progress_bar
from autotune_nb.errors import AutotuneError, SetupError, StudyError
from autotune_nb.secrets.scrubbing import scrub

if TYPE_CHECKING:
    from autotune_nb.handle import StudyHandle


def send_to_mlflow(study: StudyHandle, *, trial: int | None, output: Path | None) -> None:
    """Send a study to its task's MLflow server and print where it is.

    Raises SetupError if there is no server or no client, StudyError if the server did not take it.
    """
    from autotune_nb.watching.mlflow_export import MlflowStudy, connect, experiment_name, require_mlflow, server_name

    if trial is not None or output is not None:
        raise SetupError("--as mlflow sends the whole study to a server; leave out --trial and -o")
    tracking = study.task.tracking
    uri = require_mlflow(tracking)
    runs = MlflowStudy(connect(uri), study, experiment_name(tracking))
    try:
        with progress_bar("sending") as progress:
            sent = runs.send_all(ended=study.elsewhere is None and study.ended, progress=progress)
    except AutotuneError:
        raise
    except Exception as error:  # noqa: BLE001 - the client raises errors of many libraries
        reason = scrub(" ".join(str(error).split())[:300])
        raise StudyError(
            f"MLflow at {server_name(uri)} did not take the study: {reason}; the same command sends what is missing"
        ) from None
    print_lost_database(study)
    trials = f"{sent.num_sent} trial{'s' * (sent.num_sent != 1)} sent, {sent.num_present} were there"
    where = f"{uri.rstrip('/')}/#/experiments/{sent.experiment_id}/runs/{sent.run_id}"
    click.echo(scrub(f"{trials}: {where if uri.startswith('http') else sent.run_id}"))
