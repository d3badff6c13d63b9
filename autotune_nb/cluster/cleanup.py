"""Takes a study's objects out of a cluster and confirms that they are gone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CONFIG_MAP, LEASE, POD, Kind, Object, name_of, terminating, uid_of
from autotune_nb.cluster.leftovers import MADE, FoundStudy, Thing, find_studies, things
from autotune_nb.cluster.names import study_selector
from autotune_nb.cluster.session import LEASE_S, RENEW_S
from autotune_nb.errors import ClusterError, StudyBusyError

#: A holder that lives renews its lease in this time, however wrong its clock or ours.
SETTLE_S = RENEW_S * 1.5
_AT_ONCE = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 3.0


@dataclass
class Removal:
    """What was removed, a line a thing, and what is still there, each by its kind, namespace and name and why."""

    lines: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    there: list[Thing] = field(default_factory=list)


async def remove_study(
    cluster: Cluster,
    study_label: str,
    *,
    namespace: str | None = None,
    keep_anchor: bool = False,
    within_s: float = 60,
    say: Callable[[str], None] = lambda _line: None,
) -> Removal:
    """Delete what a study made in a namespace and wait until that and its pods are gone.

    The anchor and the lease go last, and only where nothing is left; with ``keep_anchor`` they stay, for a run that
    begins. Says a line for each thing that is gone. Raises ClusterError where objects cannot be listed.
    """
    work = _Removing(cluster, study_selector(study_label), namespace, say)
    deadline = asyncio.get_running_loop().time() + within_s
    await work.until_gone(deadline, MADE)
    # The lease outlives the anchor: whoever waits for it makes an anchor of its own.
    for last in (CONFIG_MAP, LEASE):
        if not keep_anchor and not work.removal.left:
            await work.until_gone(deadline, (last,), of_study=True)
    return work.removal


async def remove_expired(
    cluster: Cluster,
    namespace: str | None = None,
    *,
    before: Iterable[FoundStudy] | None = None,
    settle_s: float = SETTLE_S,
    within_s: float = 60,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[str, Removal]:
    """Delete what studies left whose lease ran out, or that have none; what became of each, by its label.

    They are looked at twice, ``settle_s`` apart: one whose lease changed meanwhile is alive, and only a clock is wrong.
    ``before`` is the first look, where that has been taken. Raises ClusterError.
    """
    looked = await find_studies(cluster, namespace) if before is None else before
    idle = {study.label: _version(study) for study in looked if not study.held}
    done: dict[str, Removal] = {}
    if not idle:
        return done
    await asyncio.sleep(settle_s)
    for study in await find_studies(cluster, namespace):
        if study.held or idle.get(study.label) != _version(study):
            continue
        try:
            await take_over(cluster, study, namespace)
        except StudyBusyError as error:
            say(str(error))
            continue
        done[study.label] = await remove_study(cluster, study.label, namespace=namespace, within_s=within_s, say=say)
    return done


async def take_over(cluster: Cluster, study: FoundStudy, namespace: str | None = None) -> None:
    """Become the lease's holder, so that no run of the study begins while it is deleted.

    Raises StudyBusyError where the lease has changed since the study was looked at, ClusterError.
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
                f"{study.holder or 'somebody'} has just renewed lease {name_of(study.lease)} of study {study.name}; "
                "stop that run first"
            ) from None
        if error.status != 404:
            raise


def _version(study: FoundStudy) -> str:
    return str(study.lease["metadata"].get("resourceVersion")) if study.lease is not None else ""


class _Removing:
    """Deletes and looks again, until nothing is there or time is up."""

    def __init__(self, cluster: Cluster, selector: str, namespace: str | None, say: Callable[[str], None]) -> None:
        self.removal = Removal()
        self._cluster = cluster
        self._selector = selector
        self._namespace = namespace
        self._say = say
        self._refused: dict[str, str] = {}
        self._asked: dict[str, str] = {}

    async def until_gone(self, deadline: float, kinds: Iterable[Kind], *, of_study: bool = False) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_S
        while True:
            found = await things(self._cluster, self._selector, self._namespace, kinds)
            there = [thing for thing in found if thing.of_study is of_study]
            self._tell_gone(there)
            if not self._on_their_way(there) or loop.time() >= deadline:
                break
            await self._delete(t for t in there if not t.derived and uid_of(t.object) not in self._refused)
            await asyncio.sleep(min(pause, max(deadline - loop.time(), 0)))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
        self.removal.there = there
        self.removal.left = [f"{t.name} ({self._why(t)})" for t in there]

    def _on_their_way(self, there: list[Thing]) -> bool:
        """Whether waiting may help: what could not be deleted stays, and so do its pods."""
        return any(
            terminating(t.object) or (uid_of(t.object) not in self._refused and not (t.derived and self._refused))
            for t in there
        )

    def _tell_gone(self, there: Iterable[Thing]) -> None:
        still = {uid_of(t.object) for t in there}
        for uid in [uid for uid in self._asked if uid not in still]:
            line = f"{self._asked.pop(uid)} is gone"
            self.removal.lines.append(line)
            self._say(line)

    async def _delete(self, some: Iterable[Thing]) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(thing: Thing) -> None:
            uid = uid_of(thing.object)
            async with room:
                try:
                    await self._cluster.delete(
                        thing.kind, name_of(thing.object), namespace=self._namespace, uid=uid, propagation="Foreground"
                    )
                except ClusterError as error:
                    self._refused[uid] = f"not deleted: {error}"

        ours = list(some)
        self._asked.update({uid_of(t.object): t.name for t in ours})
        await asyncio.gather(*(one(thing) for thing in ours if not terminating(thing.object)))

    def _why(self, thing: Thing) -> str:
        metadata: Object = thing.object["metadata"]
        refused = self._refused.get(uid_of(thing.object))
        if refused is not None:
            return refused
        if not terminating(thing.object):
            return "still there" if thing.kind is not POD or not thing.derived else "its owner is still there"
        why = f"Terminating since {metadata['deletionTimestamp']}"
        node = (thing.object.get("spec") or {}).get("nodeName") if thing.kind is POD else None
        if node:
            why += f" on node {node}"
        finalizers = metadata.get("finalizers") or []
        if finalizers:
            why += f", held by its finalizers {', '.join(finalizers)}: is the controller that takes them away running?"
        return why
