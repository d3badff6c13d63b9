"""The command line's ``manifests``: what a cluster needs for runs of its own, as YAML for ``kubectl apply -f -``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli.output import notes, usage_errors
from autotune_nb.errors import SetupError

if TYPE_CHECKING:
    from autotune_nb.task.task import Task

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
#: Of a CronJob: its Jobs' names have 11 characters more.
_MAX_NAME = 52
#: A stopped run confirms that what it made is gone, beyond the time its engines may take to stop.
_CONFIRM_S = 120


def _name(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (_NAME.fullmatch(value) and len(value) <= _MAX_NAME):
        raise click.BadParameter(
            f"{value!r} is no name in a cluster: lower case letters, digits and inner dashes, at most {_MAX_NAME}",
            param=parameter,
        )
    return value


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What every kind of manifest takes."""
    for option in (
        click.option(
            "--templates",
            type=click.Path(path_type=Path),
            metavar="FOLDER",
            help="A folder of your own templates, which go before the package's.",
        ),
        click.option("--namespace", "-n", required=True, callback=_name, metavar="NS", help="Where it is to be."),
    ):
        command = option(command)
    return command


_IMAGE = click.option("--image", required=True, help="The image that the Containerfile builds, where you keep it.")


@click.group(short_help="Print manifests for runs in a cluster.")
def manifests() -> None:
    """Print manifests for runs in a cluster: autotune-nb manifests rbac -n tune | kubectl apply -f -"""


@manifests.command()
@_options
@click.option("--name", default="autotune-nb", callback=_name, show_default=True, help="The service account's name.")
@click.option("--create-models", is_flag=True, help="Tasks may bring their own ClusterBaseModel and runtime along.")
def rbac(namespace: str, templates: Path | None, name: str, create_models: bool) -> None:
    """The service account of runs, and what it may do."""
    _print("rbac.yaml.j2", templates, namespace=namespace, name=name, create_models=create_models)


@manifests.command()
@_options
@_IMAGE
@click.option("--name", default="autotune-nb-reaper", callback=_name, show_default=True)
@click.option("--schedule", default="*/5 * * * *", show_default=True, metavar="CRON", help="When it looks.")
def reaper(namespace: str, templates: Path | None, image: str, name: str, schedule: str) -> None:
    """A CronJob that deletes what killed runs left, with a service account of its own."""
    _print("reaper.yaml.j2", templates, namespace=namespace, image=image, name=name, schedule=schedule)


@manifests.command()
@_options
@_IMAGE
@click.option("--task", required=True, type=click.Path(path_type=Path), help="The task; it comes along.")
@click.option("--schedule", default="0 2 * * *", show_default=True, metavar="CRON", help="When it runs.")
@click.option("--time-zone", metavar="ZONE", help="Of the schedule, as Europe/Berlin; default: the cluster's.")
@click.option("--claim", default="autotune-nb", callback=_name, show_default=True, help="Keeps the studies' folders.")
@click.option(
    "--study", callback=_name, metavar="NAME", help="One folder that every run goes on in; default: each has its own."
)
@click.option("--name", callback=_name, help="The CronJob's; default: after the task.")
@click.option("--service-account", default="autotune-nb", callback=_name, show_default=True)
def runner(
    namespace: str,
    templates: Path | None,
    image: str,
    task: Path,
    schedule: str,
    time_zone: str | None,
    claim: str,
    study: str | None,
    name: str | None,
    service_account: str,
) -> None:
    """A CronJob that runs a task in the cluster, every night by default."""
    from autotune_nb.cluster.names import slug

    with usage_errors(), notes():
        loaded, files = _task_files(task, namespace)
    _print(
        "runner_cronjob.yaml.j2",
        templates,
        namespace=namespace,
        image=image,
        files=files,
        schedule=schedule,
        time_zone=time_zone,
        claim=claim,
        study=f"/study/{study or '$(JOB_NAME)'}",
        name=name or "-".join(filter(None, ("autotune-nb", slug(loaded.name)))),
        service_account=service_account,
        grace_s=round(loaded.deadlines.stop_s) + _CONFIRM_S,
    )


@manifests.command()
@_options
@click.option("--name", default="autotune-nb", callback=_name, show_default=True, help="The claim's.")
@click.option("--size", default="10Gi", show_default=True)
@click.option("--storage-class", metavar="CLASS", help="Default: the cluster's.")
@click.option(
    "--access-mode",
    type=click.Choice(["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]),
    default="ReadWriteOnce",
    show_default=True,
    help="ReadWriteMany lets the pods that use it run on several nodes.",
)
def claim(
    namespace: str, templates: Path | None, name: str, size: str, storage_class: str | None, access_mode: str
) -> None:
    """A claim for studies' folders, or for benchmarks' files (benchmark.results: pvc://NAME/FOLDER)."""
    _print(
        "results_claim.yaml.j2",
        templates,
        namespace=namespace,
        name=name,
        size=size,
        storage_class=storage_class,
        access_mode=access_mode,
    )


def _task_files(file: Path, namespace: str) -> tuple[Task, dict[str, str]]:
    """The task as it is in the pod, and all files that go there with it, by name. Raises TaskError, SetupError."""
    import yaml

    from autotune_nb.session import with_overrides
    from autotune_nb.task.file import task_data
    from autotune_nb.task.task import Task

    task = with_overrides(Task.load(file), deploy="ome")
    files: dict[str, str] = {}
    data = task_data(task)
    # The pod has its own account, and lies in the namespace.
    deploy = {name: value for name, value in data["deploy"].items() if name not in ("kubeconfig", "context")}
    data["deploy"] = {**deploy, "namespace": namespace}
    if task.deploy.templates is not None:
        folder = Path(task.deploy.templates).expanduser()
        files = {own.name: own.read_text(encoding="utf-8") for own in sorted(folder.glob("*.j2"))}
        if not files:
            raise SetupError(f"there is no template (*.j2) in {str(folder)!r}", field="deploy.templates")
        data["deploy"]["templates"] = "/task"
    return task, {"task.yaml": yaml.safe_dump(data, sort_keys=False), **files}


def _print(template: str, own: Path | None, **values: Any) -> None:
    from autotune_nb.cluster.templates import Templates

    with usage_errors():
        templates = Templates(own)
        # Read once, so that what is printed is YAML.
        templates.objects(template, values)
        click.echo(templates.text(template, values), nl=False)
