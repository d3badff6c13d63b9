"""The ``cleanup`` command: lists what studies left in a cluster or in containers and deletes it after confirmation."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli._examples import examples
from autotune_nb.cli.output import usage_errors
from autotune_nb.errors import SetupError, StudyBusyError, StudyError, StudyNotFoundError, did_you_mean

if TYPE_CHECKING:
    from autotune_nb.cluster.cleanup import Removal
    from autotune_nb.cluster.client import Cluster
    from autotune_nb.cluster.leftovers import StudyObjects
    from autotune_nb.study import StudyFolder


@dataclass(frozen=True)
class _Target:
    """A namespace of a cluster, and the label of a study in it if the study's folder is given."""

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    label: str | None = None

    async def connect(self) -> Cluster:
        from autotune_nb.cluster.client import Cluster

        return await Cluster.connect(kubeconfig=self.kubeconfig, context=self.context, namespace=self.namespace)


@click.command(
    short_help="Delete what a study left in a cluster or in containers.",
    epilog=examples("cleanup runs/mine", "cleanup --all --namespace tune --expired --yes"),
)
@click.argument("study", required=False)
@click.option("--all", "everything", is_flag=True, help="Delete what all studies left; needs --namespace.")
@click.option("--namespace", "-n", metavar="NS", help="Namespace. Default: the task's, else the context's.")
@click.option("--expired", is_flag=True, help="Delete only studies whose lease has expired, checked twice.")
@click.option("--force", is_flag=True, help="Also delete studies that a process is still running.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--kubeconfig",
    metavar="FILE",
    help="Kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the pod's service account.",
)
@click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: its current one.")
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each study until its objects are gone.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
def cleanup(
    study: str | None,
    everything: bool,
    namespace: str | None,
    expired: bool,
    force: bool,
    yes: bool,
    kubeconfig: str | None,
    context: str | None,
    within_s: float,
    as_json: bool,
) -> None:
    """Delete the objects that STUDY left in a cluster, or its containers on this machine. Results are never deleted.

    STUDY is a study's folder, or its name or label in the cluster. The command lists the objects, asks for
    confirmation, deletes them, and waits until they are gone.

    Exits 0 if nothing is left, 1 if something is, 2 for wrong usage or if the cluster cannot be reached.
    """
    if (study is None) is not everything:
        raise click.UsageError("give either a STUDY or --all")
    if everything and not namespace:
        raise click.UsageError("--all needs --namespace, since it deletes what every study left there")
    if expired and force:
        raise click.UsageError("--expired and --force exclude each other")

    def notify(line: str) -> None:
        click.echo(line, err=as_json)

    with usage_errors():
        folder = None if study is None else _folder_of_containers(study)
        if folder is not None:
            outcome = _remove_containers(folder, force=force, yes=yes, notify=notify, err=as_json)
            if as_json:
                click.echo(json.dumps({"namespace": None, "studies": [outcome]}))
            sys.exit(1 if outcome["left"] else 0)
        target = _Target(kubeconfig, context, namespace)
        if study is not None:
            target = _target_of(study, target)
        namespace, found = asyncio.run(_find(target, study))
        spared = [one for one in found if one.held and not force]
        if not everything and not expired and spared:
            raise StudyBusyError(
                f"study {spared[0].name} is {spared[0].lease_status}: stop that run first, or delete its objects "
                "anyway with --force"
            )
        wanted = [one for one in found if one not in spared]
        for one in spared:
            notify(f"spared: study {one.name}, {one.lease_status}")
        for one in wanted:
            for line in one.lines():
                notify(line)
        if not wanted:
            notify(f"nothing to delete in namespace {namespace}")
        elif not yes:
            studies = f"{len(wanted)} {'study' if len(wanted) == 1 else 'studies'}"
            _confirm(f"the objects of {studies} in namespace {namespace}", err=as_json)
        outcomes = (
            asyncio.run(_remove(target, wanted, expired=expired, within_s=within_s, notify=notify)) if wanted else []
        )
    outcomes += [_outcome(one, None) for one in spared]
    left = [thing for one in outcomes for thing in one["left"]]
    for thing in left:
        notify(f"still there: {thing}")
    if as_json:
        click.echo(json.dumps({"namespace": namespace, "studies": outcomes}))
    sys.exit(1 if left or (not expired and any(one["spared"] for one in outcomes)) else 0)


def _folder_of_containers(study: str) -> StudyFolder | None:
    """Return the folder of a study that ran in containers of this machine; None for any other."""
    from autotune_nb.study import StudyFolder

    folder = StudyFolder(study)
    return folder if folder.exists and folder.task().deploy.kind == "container" else None


def _remove_containers(
    folder: StudyFolder, *, force: bool, yes: bool, notify: Callable[[str], None], err: bool
) -> dict[str, Any]:
    from autotune_nb.cli._container_cleanup import ContainersOfStudy

    def confirm(what: str) -> None:
        if not yes:
            _confirm(what, err=err)

    return ContainersOfStudy.find(folder, force=force).remove(confirm, notify)


def _target_of(study: str, given: _Target) -> _Target:
    """Return the cluster and namespace where a study ran, as its folder records; the command line has precedence."""
    from autotune_nb.study import StudyFolder

    folder = StudyFolder(study)
    if not folder.exists:
        if Path(study).is_dir():
            raise StudyNotFoundError(f"there is no study in {folder.path}")
        return given
    metadata = folder.metadata() or {}
    deploy = folder.task().deploy
    if deploy.kind != "ome":
        raise StudyError(
            f"the study in {folder.path} ran as local processes: nothing of it is in a cluster. If a run of it was "
            "killed, the next run ends the processes that it left on this machine"
        )
    return _Target(
        given.kubeconfig or deploy.kubeconfig,
        given.context or deploy.context,
        given.namespace or deploy.namespace,
        folder.label(metadata["id"]),
    )


async def _find(target: _Target, study: str | None) -> tuple[str, list[StudyObjects]]:
    """Return the namespace and the studies in it to delete."""
    from autotune_nb.cluster.leftovers import find_studies

    cluster = await target.connect()
    try:
        found, namespace = await find_studies(cluster), cluster.namespace
    finally:
        await cluster.close()
    if study is None:
        return namespace, found
    if target.label is not None:
        return namespace, [one for one in found if one.label == target.label]
    matching = [one for one in found if study in (one.label, one.name)]
    if not matching:
        names = [one.name for one in found]
        listed = f"; there are {', '.join(names)}" if names else "; there is none"
        raise StudyNotFoundError(
            f"there is no study folder {study!r}, and no study of this name in namespace {namespace}"
            f"{did_you_mean(study, names) or listed}"
        )
    return namespace, matching


def _confirm(what: str, *, err: bool) -> None:
    if not sys.stdin.isatty():
        raise SetupError(f"would delete {what}, but there is no terminal to ask for confirmation: add --yes")
    click.confirm(f"Delete {what}?", abort=True, err=err)


async def _remove(
    target: _Target, wanted: list[StudyObjects], *, expired: bool, within_s: float, notify: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Delete the objects of these studies and return the outcome for each study."""
    from autotune_nb.cluster.cleanup import remove_expired, remove_study, take_over_lease

    cluster = await target.connect()
    removals: dict[str, Removal] = {}
    try:
        if expired:
            removals = await remove_expired(cluster, before=wanted, within_s=within_s, notify=notify)
        else:
            for one in wanted:
                try:
                    await take_over_lease(cluster, one)
                except StudyBusyError as error:
                    notify(f"spared: {error}")
                    continue
                removals[one.label] = await remove_study(cluster, one.label, within_s=within_s, notify=notify)
    finally:
        await cluster.close()
    return [_outcome(one, removals.get(one.label)) for one in wanted]


def _outcome(study: StudyObjects, removal: Removal | None) -> dict[str, Any]:
    lists = (
        {"removed": removal.messages, "left": removal.remaining} if removal is not None else {"removed": [], "left": []}
    )
    return {**study.to_dict(), **lists, "spared": removal is None}
