"""The ``manifests`` command: prints the manifests that runs in a cluster need, as YAML for ``kubectl apply -f -``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import prototype_notes, usage_errors
from autotune_nb.errors import SetupError

if TYPE_CHECKING:
    from autotune_nb.task.task import Task

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: The limit for a CronJob: the names of its Jobs are 11 characters longer.
_MAX_NAME = 52
#: Time for a stopped run to confirm that its objects are gone, after its engines have stopped.
_CONFIRM_S = 120


def _name(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (_NAME.fullmatch(value) and len(value) <= _MAX_NAME):
        raise click.BadParameter(
            f"{value!r} is not a valid name in Kubernetes: use lower case letters, digits and inner dashes, at most "
            f"{_MAX_NAME} characters",
            param=parameter,
        )
    return value


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all manifests have."""
    for option in (
        click.option(
            "--templates",
            type=click.Path(path_type=Path),
            metavar="FOLDER",
            help="Folder of your own templates, which replace the package's of the same name.",
        ),
        click.option("--namespace", "-n", required=True, callback=_name, metavar="NS", help="The objects' namespace."),
    ):
        command = option(command)
    return command


_IMAGE = click.option("--image", required=True, help="Image built with the Containerfile.")
_SERVICE_ACCOUNT = click.option(
    "--service-account", default="autotune-nb", callback=_name, show_default=True, help="Service account of the pods."
)
_SECRETS = click.option(
    "--env",
    "secrets",
    multiple=True,
    metavar="NAME=secret://SECRET/KEY",
    help="Environment variable of the pods, from a key of a Secret in the namespace; repeatable.",
)


@click.group(short_help="Print manifests for runs in a cluster.")
def manifests() -> None:
    """Print manifests for runs in a cluster: autotune-nb manifests rbac -n tune | kubectl apply -f -"""


@manifests.command(epilog=examples("manifests rbac -n tune | kubectl apply -f -"))
@_options
@click.option("--name", default="autotune-nb", callback=_name, show_default=True, help="Name of the service account.")
@click.option(
    "--create-models", is_flag=True, help="Allow tasks to create a ClusterBaseModel and ClusterServingRuntime."
)
def rbac(namespace: str, templates: Path | None, name: str, create_models: bool) -> None:
    """Service account for runs, with its permissions.

    Exits 0, or 2 if a value or a template is invalid.
    """
    _print("rbac.yaml.j2", templates, namespace=namespace, name=name, create_models=create_models)


@manifests.command(epilog=examples("manifests reaper -n tune --image IMAGE | kubectl apply -f -"))
@_options
@_IMAGE
@click.option("--name", default="autotune-nb-reaper", callback=_name, show_default=True, help="Name of the CronJob.")
@click.option("--schedule", default="*/5 * * * *", show_default=True, metavar="CRON", help="When to check.")
def reaper(namespace: str, templates: Path | None, image: str, name: str, schedule: str) -> None:
    """CronJob that deletes what killed runs left in the cluster.

    It has a service account of its own.

    Exits 0, or 2 if a value or a template is invalid.
    """
    _print("reaper.yaml.j2", templates, namespace=namespace, image=image, name=name, schedule=schedule)


@manifests.command(epilog=examples("manifests runner -n tune --image IMAGE --task task.yaml | kubectl apply -f -"))
@_options
@_IMAGE
@click.option("--task", required=True, type=click.Path(path_type=Path), help="Task file; its content is included.")
@click.option("--schedule", default="0 2 * * *", show_default=True, metavar="CRON", help="When to run the task.")
@click.option("--time-zone", metavar="ZONE", help="Time zone, such as Europe/Berlin. Default: the cluster's.")
@click.option(
    "--claim", default="autotune-nb", callback=_name, show_default=True, help="Claim that stores the studies' folders."
)
@click.option(
    "--study",
    callback=_name,
    metavar="NAME",
    help="Folder of one study that every run resumes. Default: a new study for each run.",
)
@click.option("--name", callback=_name, help="Name of the CronJob. Default: from the task's name.")
@_SERVICE_ACCOUNT
@_SECRETS
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
    secrets: tuple[str, ...],
) -> None:
    """CronJob that runs a task in the cluster, every night by default.

    Exits 0, or 2 if a value or a template is invalid.
    """
    from autotune_nb.cluster.names import slug

    with usage_errors(), prototype_notes():
        loaded, files = _task_files(task, namespace)
        env = _environment(loaded, secrets)
    _print(
        "runner_cronjob.yaml.j2",
        templates,
        namespace=namespace,
        image=image,
        files=files,
        env=env,
        schedule=schedule,
        time_zone=time_zone,
        claim=claim,
        study=f"/study/{study or '$(JOB_NAME)'}",
        name=name or "-".join(filter(None, ("autotune-nb", slug(loaded.name)))),
        service_account=service_account,
        grace_s=round(loaded.deadlines.stop_s) + _CONFIRM_S,
    )


@manifests.command(epilog=examples("manifests claim -n tune --size 20Gi | kubectl apply -f -"))
@_options
@click.option("--name", default="autotune-nb", callback=_name, show_default=True, help="Name of the claim.")
@click.option("--size", default="10Gi", show_default=True, help="Size of the volume.")
@click.option("--storage-class", metavar="CLASS", help="Storage class. Default: the cluster's.")
@click.option(
    "--access-mode",
    type=click.Choice(["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]),
    default="ReadWriteOnce",
    show_default=True,
    help="ReadWriteMany lets pods on several nodes use it.",
)
def claim(
    namespace: str, templates: Path | None, name: str, size: str, storage_class: str | None, access_mode: str
) -> None:
    """PersistentVolumeClaim for studies or for benchmark files.

    Benchmarks store their files on it with benchmark.results: pvc://NAME/FOLDER.

    Exits 0, or 2 if a value or a template is invalid.
    """
    _print(
        "results_claim.yaml.j2",
        templates,
        namespace=namespace,
        name=name,
        size=size,
        storage_class=storage_class,
        access_mode=access_mode,
    )


@manifests.command(epilog=examples("manifests grafana > dashboard.json"))
def grafana() -> None:
    """Grafana dashboard of the metrics of runs, to import.

    It shows what run --metrics-port serves. It is JSON, and is not applied to a cluster.

    Exits 0, or 2 if a value or a template is invalid.
    """
    from autotune_nb.resources import shared_folder

    with usage_errors():
        click.echo((shared_folder("templates") / "grafana_dashboard.json").read_text(encoding="utf-8"), nl=False)


@manifests.command(
    epilog=examples("manifests workers -n tune --image IMAGE --study chat --storage 'postgresql://db/tuning'")
)
@_options
@_IMAGE
@click.option("--study", required=True, metavar="NAME", help="Name of the study in the database.")
@click.option(
    "--storage", required=True, metavar="URL", help="postgresql://USER:${VARIABLE}@HOST/DATABASE, without a password."
)
@click.option("--workers", type=click.IntRange(min=1), default=4, show_default=True, help="Number of workers.")
@click.option(
    "--gpus", type=click.IntRange(min=0), default=0, show_default=True, help="GPUs of each pod, for engines in it."
)
@click.option("--claim", callback=_name, help="Claim (ReadWriteMany) for the workers' folders. Default: none is kept.")
@click.option("--name", callback=_name, help="Name of the Job. Default: from the study's name.")
@_SERVICE_ACCOUNT
@_SECRETS
def workers(
    namespace: str,
    templates: Path | None,
    image: str,
    study: str,
    storage: str,
    workers: int,
    gpus: int,
    claim: str | None,
    name: str | None,
    service_account: str,
    secrets: tuple[str, ...],
) -> None:
    """Job whose pods work on one study in PostgreSQL, side by side.

    Exits 0, or 2 if a value or a template is invalid.
    """
    from autotune_nb.cluster.names import slug
    from autotune_nb.secrets.references import variables_in
    from autotune_nb.study.storage_url import has_literal_password, redact

    with usage_errors():
        if has_literal_password(storage):
            raise SetupError(
                f"{redact(storage)} has a password, which manifests may not have; write ${{PGPASSWORD}} in its place, "
                "with --env PGPASSWORD=secret://SECRET/KEY"
            )
        env = _secret_variables(secrets)
        _require_variables(dict.fromkeys(variables_in(storage), "storage"), env)
    _print(
        "workers.yaml.j2",
        templates,
        namespace=namespace,
        image=image,
        study=study,
        storage=storage,
        workers=workers,
        gpus=gpus,
        claim=claim,
        env=env,
        name=name or "-".join(filter(None, ("autotune-nb-workers", slug(study)))),
        service_account=service_account,
        grace_s=_CONFIRM_S,
    )


def _task_files(file: Path, namespace: str) -> tuple[Task, dict[str, str]]:
    """Return the task and the files to mount in the pod, by name. Raises TaskError, SetupError."""
    import yaml

    from autotune_nb.session import with_overrides
    from autotune_nb.task.file import task_data
    from autotune_nb.task.task import Task

    task = with_overrides(Task.load(file), deploy="ome")
    files: dict[str, str] = {}
    data = task_data(task)
    # In the pod, the service account and the namespace replace the kubeconfig.
    deploy = {name: value for name, value in data["deploy"].items() if name not in ("kubeconfig", "context")}
    data["deploy"] = {**deploy, "namespace": namespace}
    if task.deploy.templates is not None:
        folder = Path(task.deploy.templates).expanduser()
        files = {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.j2"))}
        if not files:
            raise SetupError(f"there are no templates (*.j2) in {str(folder)!r}", field="deploy.templates")
        data["deploy"]["templates"] = "/task"
    return task, {"task.yaml": yaml.safe_dump(data, sort_keys=False), **files}


def _environment(task: Task, given: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Return the Secret and the key of each variable. Raises SetupError if the run would lack one."""
    from autotune_nb.task.secret_names import variables_of_run

    env = _secret_variables(given)
    _require_variables(variables_of_run(task), env)
    return env


def _secret_variables(given: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Return the Secret and the key of each variable of ``--env``. Raises SetupError."""
    from autotune_nb.secrets.references import secret_of

    env: dict[str, tuple[str, str]] = {}
    for text in given:
        name, _, reference = text.partition("=")
        secret = secret_of(reference)
        if secret is None or not _VARIABLE.fullmatch(name):
            # It may be the value of the secret, which is not repeated.
            raise SetupError("--env is not of the form NAME=secret://SECRET/KEY")
        env[name] = secret
    return env


def _require_variables(fields: Mapping[str, str], env: Mapping[str, object]) -> None:
    """Raise SetupError if a variable is missing; ``fields`` has the field that needs each."""
    missing = [name for name in fields if name not in env]
    if missing:
        raise SetupError(
            f"the run in the cluster would have no variable {missing[0]}; take it from a Secret with "
            f"--env {missing[0]}=secret://SECRET/KEY",
            field=fields[missing[0]],
        )


def _print(template: str, folder: Path | None, **values: Any) -> None:
    from autotune_nb.cluster.templates import Templates

    with usage_errors():
        templates = Templates(folder)
        # Parsed first, so that only valid YAML is printed.
        templates.render_objects(template, values)
        click.echo(templates.render_text(template, values), nl=False)
