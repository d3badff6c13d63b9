"""Deletes a study's objects from a cluster and waits until they are gone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CONFIG_MAP, LEASE, POD, Kind, Object, name_of, terminating, uid_of
from autotune_nb.cluster.leftovers import STUDY_KINDS, ClusterObject, StudyObjects, find_studies, list_objects
from autotune_nb.cluster.names import study_selector
from autotune_nb.cluster.session import LEASE_S, RENEW_S
from autotune_nb.errors import ClusterError, StudyBusyError

#: A running holder renews its lease within this time, even if its clock or ours is wrong.
SETTLE_S = RENEW_S * 1.5
_PARALLEL_DELETIONS = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 3.0


@dataclass
class Removal:
    """The result of a deletion: a message for each deleted object, and what remains, with the reason."""

    messages: list[str] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)
    remaining_objects: list[ClusterObject] = field(default_factory=list)


async def remove_study(
    cluster: Cluster,
    study_label: str,
    *,
    namespace: str | None = None,
    keep_anchor: bool = False,
    within_s: float = 60,
    notify: Callable[[str], None] = lambda _message: None,
) -> Removal:
    """Delete a study's objects in a namespace and wait until they and their pods are gone.

    The anchor and the lease are deleted last, and only if nothing remains; ``keep_anchor`` keeps both, for a run that
    starts. Calls ``notify`` for each deleted object. Raises ClusterError if objects cannot be listed.
    """
    work = _Deletion(cluster, study_selector(study_label), namespace, notify)
    deadline = asyncio.get_running_loop().time() + within_s
    await work.until_gone(deadline, STUDY_KINDS)
    # The lease after the anchor: a run that waits for the lease then creates an anchor of its own.
    for last in (CONFIG_MAP, LEASE):
        if not keep_anchor and not work.removal.remaining:
            await work.until_gone(deadline, (last,), anchor_or_lease=True)
    return work.removal


async def remove_expired(
    cluster: Cluster,
    namespace: str | None = None,
    *,
    before: Iterable[StudyObjects] | None = None,
    settle_s: float = SETTLE_S,
    within_s: float = 60,
    notify: Callable[[str], None] = lambda _message: None,
) -> dict[str, Removal]:
    """Delete the objects of studies whose lease expired or is missing. Returns the result for each study's label.

    The leases are read twice, ``settle_s`` apart: a study whose lease changed meanwhile is running, and only a clock
    is wrong. ``before`` is the result of the first read, if the caller has it. Raises ClusterError.
    """
    first = await find_studies(cluster, namespace) if before is None else before
    idle = {study.label: _version(study) for study in first if not study.held}
    done: dict[str, Removal] = {}
    if not idle:
        return done
    await asyncio.sleep(settle_s)
    for study in await find_studies(cluster, namespace):
        if study.held or idle.get(study.label) != _version(study):
            continue
        try:
            await take_over_lease(cluster, study, namespace)
        except StudyBusyError as error:
            notify(str(error))
            continue
        done[study.label] = await remove_study(
            cluster, study.label, namespace=namespace, within_s=within_s, notify=notify
        )
    return done


async def take_over_lease(cluster: Cluster, study: StudyObjects, namespace: str | None = None) -> None:
    """Become the lease's holder, so that no run of the study starts while its objects are deleted.

    Raises StudyBusyError if the lease has changed since it was read, and ClusterError.
    """
    if study.lease is None or terminating(study.lease):
        return
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {
        "holderIdentity": f"{socket.gethostname()}/{os.getpid()}/cleanup",
        "leaseDurationSeconds": LEASE_S,
        "acquireTime": now,
        "renewTime": now,
    }
    try:
        await cluster.replace(LEASE, {**study.lease, "spec": spec}, namespace=namespace)
    except ClusterError as error:
        if error.status == 409:
            raise StudyBusyError(
                f"{study.holder or 'another process'} has just renewed lease {name_of(study.lease)} of study "
                f"{study.name}; stop that run first"
            ) from None
        if error.status != 404:
            raise


def _version(study: StudyObjects) -> str:
    return str(study.lease["metadata"].get("resourceVersion")) if study.lease is not None else ""


class _Deletion:
    """Deletes the selected objects and lists them again, until none remains or time is up."""

    def __init__(self, cluster: Cluster, selector: str, namespace: str | None, notify: Callable[[str], None]) -> None:
        self.removal = Removal()
        self._cluster = cluster
        self._selector = selector
        self._namespace = namespace
        self._notify = notify
        self._failures: dict[str, str] = {}
        self._deleting: dict[str, str] = {}

    async def until_gone(self, deadline: float, kinds: Iterable[Kind], *, anchor_or_lease: bool = False) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_S
        while True:
            found = await list_objects(self._cluster, self._selector, self._namespace, kinds)
            remaining = [obj for obj in found if obj.anchor_or_lease is anchor_or_lease]
            self._report_deleted(remaining)
            if not self._deletable(remaining) or loop.time() >= deadline:
                break
            await self._delete(
                one for one in remaining if not one.created_by_controller and uid_of(one.body) not in self._failures
            )
            await asyncio.sleep(min(pause, max(deadline - loop.time(), 0)))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
        self.removal.remaining_objects = remaining
        self.removal.remaining = [f"{one.name} ({self._reason(one)})" for one in remaining]

    def _deletable(self, remaining: list[ClusterObject]) -> bool:
        """Whether waiting may help. An object whose deletion failed remains, and so do its pods."""
        return any(
            terminating(one.body)
            or (uid_of(one.body) not in self._failures and not (one.created_by_controller and self._failures))
            for one in remaining
        )

    def _report_deleted(self, remaining: Iterable[ClusterObject]) -> None:
        uids = {uid_of(one.body) for one in remaining}
        for uid in [uid for uid in self._deleting if uid not in uids]:
            message = f"{self._deleting.pop(uid)} is gone"
            self.removal.messages.append(message)
            self._notify(message)

    async def _delete(self, objects: Iterable[ClusterObject]) -> None:
        slots = asyncio.Semaphore(_PARALLEL_DELETIONS)

        async def delete(one: ClusterObject) -> None:
            uid = uid_of(one.body)
            async with slots:
                try:
                    await self._cluster.delete(
                        one.kind, name_of(one.body), namespace=self._namespace, uid=uid, propagation="Foreground"
                    )
                except ClusterError as error:
                    self._failures[uid] = f"not deleted: {error}"

        listed = list(objects)
        self._deleting.update({uid_of(one.body): one.name for one in listed})
        await asyncio.gather(*(delete(one) for one in listed if not terminating(one.body)))

    def _reason(self, one: ClusterObject) -> str:
        metadata: Object = one.body["metadata"]
        failure = self._failures.get(uid_of(one.body))
        if failure is not None:
            return failure
        if not terminating(one.body):
            return "its owner is still there" if one.kind is POD and one.created_by_controller else "still there"
        reason = f"Terminating since {metadata['deletionTimestamp']}"
        node = (one.body.get("spec") or {}).get("nodeName") if one.kind is POD else None
        if node:
            reason += f" on node {node}"
        finalizers = metadata.get("finalizers") or []
        if finalizers:
            reason += f", held by its finalizers {', '.join(finalizers)}: is the controller that removes them running?"
        return reason
