"""The commands ``export`` and ``import``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from autotune_nb.cli._examples import examples
from autotune_nb.cli._mlflow import send_to_mlflow
from autotune_nb.cli.capacity import load_of, load_options
from autotune_nb.cli.output import (
    print_lost_database,
    print_stderr,
    progress_bar,
    prototype_notes,
    signals_as_interrupts,
    usage_errors,
)
from autotune_nb.errors import SetupError, cannot_write

if TYPE_CHECKING:
    from autotune_nb.results.exporting import Format

_FORMATS = ("command", "env", "compose", "isvc", "hpa", "keda", "canary", "yaml", "csv", "parquet")
_STUDY = click.Path(file_okay=False, path_type=Path)
_SCALED = ("hpa", "keda")
#: The formats that an option is for; any other option is for all.
_FORMS_OF = {
    **dict.fromkeys(("requests_per_second", "concurrency", "headroom", "scenario", "min_replicas"), _SCALED),
    "prometheus": ("keda",),
    **dict.fromkeys(("traffic", "gateway", "against"), ("canary",)),
}


@click.command(
    "export",
    short_help="Print a study's best configuration, task or measurements.",
    epilog=examples(
        "export runs/mine --as command", "export runs/mine --as keda --requests-per-second 40 -o service.yaml"
    ),
)
@click.argument("study", type=_STUDY)
@click.option(
    "--as",
    "form",
    required=True,
    type=click.Choice([*_FORMATS, "mlflow"]),
    help="What to print, as listed above.",
)
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="Trial to print. Default: the best one, or all.")
@load_options(required=False)
@click.option("--min-replicas", type=click.IntRange(min=1), default=1, show_default=True, help="For hpa and keda.")
@click.option("--prometheus", metavar="URL", help="Prometheus server, for keda. Default: where OME looks for it.")
@click.option("--traffic", type=int, default=10, show_default=True, metavar="PERCENT", help="The canary's share.")
@click.option("--gateway", metavar="NAMESPACE/NAME", help="Gateway of the canary's route. Default: serverless mode.")
@click.option("--against", type=click.IntRange(min=0), metavar="N", help="Trial beside the canary. Default: default.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Output file. Default: stdout.")
@click.option("--storage", metavar="URL", help="Storage URL, needed if it has a password: passwords are not saved.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_context
def export_command(
    context: click.Context,
    /,
    study: Path,
    form: Format | Literal["mlflow"],
    trial: int | None,
    min_replicas: int,
    prometheus: str | None,
    traffic: int,
    gateway: str | None,
    against: int | None,
    output: Path | None,
    storage: str | None,
    force: bool,
    **load: Any,
) -> None:
    """Print the best configuration, the task or the measurements of STUDY.

    \b
    command   the engine's command line with the best configuration
    env       the best configuration as variables, for a shell or docker compose
    compose   the best configuration as a file for docker compose (trials in containers)
    isvc      the best configuration as an InferenceService (trials in a cluster)
    hpa       the InferenceService in replicas that carry a load (--requests-per-second or --concurrency), with a
              HorizontalPodAutoscaler; of other studies, the autoscaler of a Deployment and its PodDisruptionBudget
    keda      the same with a ScaledObject of KEDA
    canary    the InferenceService with a share of the requests (--traffic) beside the engine's default or --against
    yaml      the task file
    csv       every measurement, one row per configuration and load level
    parquet   the same rows as a parquet file; needs -o
    mlflow    sends the study to an MLflow server (tracking.uri of the task, or MLFLOW_TRACKING_URI); what is there is
              not sent again

    Exits 0, or 2 and writes nothing if the study does not have what --as names.
    """
    from autotune_nb import session
    from autotune_nb.results.autoscaling import PROMETHEUS, Canary
    from autotune_nb.results.exporting import Replicas, export

    with usage_errors():
        _require_used_options(context, form)
        if form == "parquet" and output is None:
            raise SetupError("parquet is a binary format; name a file with -o")
        if output is not None and output.exists() and not force:
            raise SetupError(f"{output} already exists; overwrite it with --force, or choose another -o")
        opened = session.open(study, storage=storage)
        if form == "mlflow":
            send_to_mlflow(opened, trial=trial, output=output)
            return
        wanted = load_of(load)
        replicas = None if wanted is None else Replicas(wanted, min_replicas, prometheus or PROMETHEUS)
        split = Canary(traffic, gateway) if form == "canary" else None
        content = export(opened, form, trial=trial, replicas=replicas, split=split, against=against)
        print_lost_database(opened)
        if output is None:
            click.echo(content, nl=False)
            return
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise cannot_write(output, error) from None
    print_stderr(f"wrote {output}")


def _require_used_options(context: click.Context, form: str) -> None:
    """Raise SetupError for a given option that has no effect with this format."""
    for parameter in context.command.params:
        forms = _FORMS_OF.get(parameter.name or "")
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if forms is not None and form not in forms and given:
            raise SetupError(
                f"{parameter.opts[0]} has no effect with --as {form}; it is for {' and '.join(forms)}",
            )


@click.command(
    "import",
    short_help="Create a study from CSV, parquet or genai-bench results.",
    epilog=examples("import results.csv --study runs/imported --limit 'ttft_p99_s <= 0.5'"),
)
@click.argument("source", metavar="FILE_OR_FOLDER", type=click.Path(path_type=Path))
@click.option("--study", required=True, type=_STUDY, help="Folder of the new study.")
@click.option(
    "--task",
    type=click.Path(path_type=Path),
    help="Task of the results; with it, the study can be resumed.",
)
@click.option("--objective", metavar="TEXT", help="Objective without --task. Default: maximize output_tokens_per_s.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="TEXT",
    help="Limit without --task, such as 'ttft_p99_s <= 0.5'. Can be repeated.",
)
@click.option(
    "--scenario", default="dataset", show_default=True, help="Scenario of levels that give a concurrency alone."
)
def import_command(
    source: Path, study: Path, task: Path | None, objective: str | None, limits: tuple[str, ...], scenario: str
) -> None:
    """Create a study from results: a CSV or parquet file in export's format, or genai-bench's result folders.

    Exits 0 if at least one trial is complete, 1 if none is, 2 if the results cannot be read. Ctrl-C undoes the import.
    If the process is killed, the incomplete study stays, and every command refuses it.
    """
    from autotune_nb.results.importing import import_results

    try:
        with signals_as_interrupts(), usage_errors(), prototype_notes(), progress_bar("importing") as progress:
            imported = import_results(
                source, study, task=task, objective=objective, limits=limits, scenario=scenario, progress=progress
            )
    except KeyboardInterrupt:
        print_stderr(f"stopped: nothing was imported into {study}")
        sys.exit(1)
    for note in imported.notes:
        print_stderr(f"note: {note}")
    failed = len(imported.trials) - imported.num_complete
    click.echo(f"{study}: {imported.num_complete} trial{'s' * (imported.num_complete != 1)} complete, {failed} failed")
    if task is None and not limits:
        click.echo("note: there are no limits, so any trial can be the best; set them with --limit or --task")
    click.echo(f"next: autotune-nb show {study}, or autotune-nb report {study} -o report.ipynb")
    sys.exit(0 if imported.num_complete else 1)
