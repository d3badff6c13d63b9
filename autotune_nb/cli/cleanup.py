"""The command line's ``cleanup``: what studies left in a cluster, listed, asked about and deleted."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune_nb.cli.output import usage_errors
from autotune_nb.errors import SetupError, StudyBusyError, StudyError, StudyNotFoundError, did_you_mean

if TYPE_CHECKING:
    from autotune_nb.cluster.cleanup import Removal
    from autotune_nb.cluster.client import Cluster
    from autotune_nb.cluster.leftovers import FoundStudy


@dataclass(frozen=True)
class _Place:
    """Which namespace of which cluster, and the label of the one study that is meant where a folder told it."""

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    label: str | None = None

    async def connect(self) -> Cluster:
        from autotune_nb.cluster.client import Cluster

        return await Cluster.connect(kubeconfig=self.kubeconfig, context=self.context, namespace=self.namespace)


@click.command(short_help="Delete what a study left in a cluster.")
@click.argument("study", required=False)
@click.option("--all", "everything", is_flag=True, help="Every study of the namespace; names --namespace too.")
@click.option("--namespace", "-n", metavar="NS", help="Default: that of the folder's task, else the context's.")
@click.option("--expired", is_flag=True, help="Only those whose lease ran out, looked at twice; spares the others.")
@click.option("--force", is_flag=True, help="Those too that some process still works on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, ~/.kube/config, or the pod's own account.")
@click.option("--context", metavar="NAME", help="Default: the kubeconfig's current one.")
@click.option("--within", "within_s", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS")
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
    """Delete what STUDY left in a cluster: a study's folder, or its name or label there. Results are never deleted.

    Says what would be deleted, asks, deletes, and waits up to --within seconds for each study until all is gone. Exits
    0 when nothing is left, 1 when something is, 2 for wrong usage or a cluster that cannot be reached.
    """
    if (study is None) is not everything:
        raise click.UsageError("name one STUDY, or --all")
    if everything and not namespace:
        raise click.UsageError("--all deletes what every study left: name the --namespace")
    if expired and force:
        raise click.UsageError("--expired spares the studies that --force is for; give one of them")

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    with usage_errors():
        place = _Place(kubeconfig, context, namespace)
        if study is not None:
            place = _place_of(study, place)
        space, found = asyncio.run(_look(place, study))
        spared = [one for one in found if one.held and not force]
        if not everything and not expired and spared:
            raise StudyBusyError(
                f"study {spared[0].name} is {spared[0].standing}: stop that run first, or delete it all the same with "
                "--force"
            )
        wanted = [one for one in found if one not in spared]
        for one in spared:
            say(f"spared: study {one.name}, {one.standing}")
        for one in wanted:
            for line in one.lines():
                say(line)
        if not wanted:
            say(f"nothing to delete in namespace {space}")
        elif not yes:
            _ask(len(wanted), space, err=as_json)
        done = asyncio.run(_remove(place, wanted, expired=expired, within_s=within_s, say=say)) if wanted else []
    done += [_told(one, None) for one in spared]
    left = [thing for one in done for thing in one["left"]]
    for thing in left:
        say(f"still there: {thing}")
    if as_json:
        click.echo(json.dumps({"namespace": space, "studies": done}))
    sys.exit(1 if left or (not expired and any(one["spared"] for one in done)) else 0)


def _place_of(study: str, given: _Place) -> _Place:
    """Where a study's folder says that it ran; what is named on the command line goes first."""
    from autotune_nb.study import StudyFolder

    folder = StudyFolder(study)
    if not folder.exists:
        if Path(study).is_dir():
            raise StudyNotFoundError(f"there is no study in {folder.path}")
        return given
    about = folder.about() or {}
    deploy = folder.task().deploy
    if deploy.kind == "local":
        raise StudyError(
            f"the study in {folder.path} ran as local processes: nothing of it is in a cluster. What a killed run of "
            "it left on this machine, its next run takes down"
        )
    return _Place(
        given.kubeconfig or deploy.kubeconfig,
        given.context or deploy.context,
        given.namespace or deploy.namespace,
        folder.label(about["id"]),
    )


async def _look(place: _Place, study: str | None) -> tuple[str, list[FoundStudy]]:
    """The namespace, and the studies in it that are meant."""
    from autotune_nb.cluster.leftovers import find_studies

    cluster = await place.connect()
    try:
        found, space = await find_studies(cluster), cluster.namespace
    finally:
        await cluster.close()
    if study is None:
        return space, found
    if place.label is not None:
        return space, [one for one in found if one.label == place.label]
    meant = [one for one in found if study in (one.label, one.name)]
    if not meant:
        known = [one.name for one in found]
        there = f"; there are {', '.join(known)}" if known else "; there is none"
        raise StudyNotFoundError(
            f"{study!r} is no study's folder, and none in namespace {space} is called so"
            f"{did_you_mean(study, known) or there}"
        )
    return space, meant


def _ask(studies: int, space: str, *, err: bool) -> None:
    what = f"{studies} {'study' if studies == 1 else 'studies'} in namespace {space}"
    if not sys.stdin.isatty():
        raise SetupError(f"would delete what is left of {what}; there is no terminal to ask at: add --yes")
    click.confirm(f"Delete what is left of {what}?", abort=True, err=err)


async def _remove(
    place: _Place, wanted: list[FoundStudy], *, expired: bool, within_s: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Delete them; what became of each."""
    from autotune_nb.cluster.cleanup import remove_expired, remove_study, take_over

    cluster = await place.connect()
    removals: dict[str, Removal] = {}
    try:
        if expired:
            removals = await remove_expired(cluster, before=wanted, within_s=within_s, say=say)
        else:
            for one in wanted:
                try:
                    await take_over(cluster, one)
                except StudyBusyError as error:
                    say(f"spared: {error}")
                    continue
                removals[one.label] = await remove_study(cluster, one.label, within_s=within_s, say=say)
    finally:
        await cluster.close()
    return [_told(one, removals.get(one.label)) for one in wanted]


def _told(study: FoundStudy, removal: Removal | None) -> dict[str, Any]:
    gone = {"removed": removal.lines, "left": removal.left} if removal is not None else {"removed": [], "left": []}
    return {**study.to_dict(), **gone, "spared": removal is None}
