"""What a study has in a cluster: the connection, the watches, the anchor that owns everything, the lease on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.executor_choice import by_benchmark_job
from autotune_nb.cluster.kinds import (
    BENCHMARK_JOB,
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    INFERENCE_SERVICE,
    JOB,
    LEASE,
    POD,
    REPLICA_SET,
    SERVICE,
    Object,
    terminating,
    uid_of,
)
from autotune_nb.cluster.names import study_labels, study_name, study_selector, trial_labels, trial_name
from autotune_nb.cluster.templates import Templates
from autotune_nb.cluster.watch import Watches
from autotune_nb.errors import ClusterError, StudyBusyError
from autotune_nb.task.task import Task

#: The lease is renewed so often, and has run out after so long: then a reaper may delete the study's objects.
RENEW_S, LEASE_S = 10.0, 60
#: A cluster that did not answer is asked again so often.
_ASK_S = 2.0
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class ClusterSession:
    """A study's standing in its namespace. ``open``, then ``hold`` before anything is made, ``close`` at the end."""

    cluster: Cluster
    watches: Watches

    def __init__(self, task: Task, *, study_label: str) -> None:
        self.task = task
        self.study_label = study_label
        self.name = study_name(task.name, study_label)
        self.templates = Templates(task.deploy.templates)
        self.notify: Callable[[str], None] = lambda _text: None
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._anchor: Object | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._opened = self._taken = False
        self._lease_uid: str | None = None

    async def open(self) -> None:
        """Connect, once. Raises ClusterError."""
        if not self._opened:
            deploy = self.task.deploy
            self.cluster = await Cluster.connect(
                kubeconfig=deploy.kubeconfig, context=deploy.context, namespace=deploy.namespace
            )
            self.cluster.say = lambda text: self.notify(text)
            self.watches = Watches(self.cluster, lambda text: self.notify(text))
            self._opened = True

    def hurry(self) -> None:
        """Wait for no credentials any more. Callable from any thread."""
        if self._opened:
            self.cluster.hurry()

    async def answers(self, *, within_s: float, say: Callable[[str], None]) -> None:
        """Wait until the cluster answers, where it last did not or refused the credentials. Raises ClusterError."""
        if self.cluster.trouble is None:
            return
        say(f"waiting up to {within_s:g} s for the cluster: {self.cluster.trouble}")
        until = asyncio.get_running_loop().time() + within_s
        while True:
            try:
                await self.cluster.look("/version")
            except ClusterError as error:
                if self.cluster.trouble is not None:
                    if asyncio.get_running_loop().time() >= until:
                        raise error
                    await asyncio.sleep(_ASK_S)
                    continue
            say("the cluster answers again")
            return

    async def follow(self) -> None:
        """Follow everything a study makes, one watch a kind. Raises ClusterError."""
        mine = study_selector(self.study_label)
        of_study = (INFERENCE_SERVICE, DEPLOYMENT, REPLICA_SET, BENCHMARK_JOB)
        # A BenchmarkJob hands its labels on to no Job and no pod.
        of_jobs = "" if by_benchmark_job(self.task) else mine
        await asyncio.gather(
            *(self.watches.follow(kind, selector=mine) for kind in of_study),
            *(self.watches.follow(kind, selector=of_jobs) for kind in (JOB, POD)),
            # A foreign Service carries no label of ours, and an event carries none at all.
            self.watches.follow(SERVICE),
            self.watches.follow(EVENT, fields="type!=Normal"),
        )

    async def hold(self) -> None:
        """Make the anchor and take the lease. Raises StudyBusyError where another process holds it, ClusterError."""
        if self._anchor is not None:
            return
        for last in (False, True):
            await self._make_anchor()
            try:
                await self._take_lease()
                # A clean-up deletes the anchor before the lease: what stands now, stands.
                found = await self.cluster.get(CONFIG_MAP, self.name)
            except BaseException:
                # It is another's: closing must not take it away.
                self._anchor = None
                raise
            if found is not None and not terminating(found) and uid_of(found) == self.owner["uid"]:
                self._renewing = asyncio.ensure_future(self._renew())
                return
            self._anchor = None
            if last:
                raise ClusterError(f"configmap {self.name} is being deleted by somebody; start again in a moment")

    @property
    def owner(self) -> Object:
        """The owner reference of whatever belongs to the study; deleting the anchor takes it all."""
        assert self._anchor is not None, "hold comes first"
        return {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.name,
            "name": self.name,
            "uid": uid_of(self._anchor),
        }

    def trial_metadata(self, trial: int) -> Object:
        """Name, namespace, labels and owner of what belongs to a trial; no owner before ``hold``, as in a dry run."""
        return {
            "name": trial_name(self.task.name, self.study_label, trial),
            "namespace": self.cluster.namespace,
            "labels": trial_labels(self.study_label, trial),
            "ownerReferences": [self.owner] if self._anchor is not None else [],
        }

    async def close(self, *, left: bool = False) -> None:
        """Let go of the lease and, unless something is ``left`` that a reaper is to find, of the anchor."""
        if not self._opened:
            return
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self.watches.close()
        if self._anchor is not None and not left and not self._taken:
            with contextlib.suppress(ClusterError):
                await self.cluster.delete(CONFIG_MAP, self.name, uid=uid_of(self._anchor), propagation="Background")
                await self.cluster.delete(LEASE, self.name, uid=self._lease_uid, propagation="Background")
        self._anchor = None
        await self.cluster.close()
        self._opened = False

    async def _make_anchor(self) -> None:
        about = {"task": self.task.name, "study": self.study_label, "holder": self._holder}
        metadata: Object = {"name": self.name, "labels": study_labels(self.study_label)}
        try:
            self._anchor = await self.cluster.create(CONFIG_MAP, {"metadata": metadata, "data": about})
        except ClusterError as error:
            if error.status != 409:
                raise
            # An earlier process of this study made it.
            self._anchor = await self.cluster.get(CONFIG_MAP, self.name)
            if self._anchor is None or terminating(self._anchor):
                self._anchor = None
                raise ClusterError(f"configmap {self.name} is just being deleted; start again in a moment") from None

    async def _take_lease(self) -> None:
        """Take a lease that is free, ran out, or was held by a process of this machine, which holds the folder's lock
        no more; one of another machine is waited for until it runs out or is seen to be renewed."""
        body: Object = {
            "metadata": {
                "name": self.name,
                "labels": study_labels(self.study_label),
                "ownerReferences": [self.owner],
            },
            "spec": self._spec({}),
        }
        seen = ""
        while True:
            found = await self.cluster.get(LEASE, self.name)
            if found is None:
                try:
                    self._lease_uid = uid_of(await self.cluster.create(LEASE, body))
                    return
                except ClusterError as error:
                    if error.status != 409:
                        raise
                continue
            spec = found["spec"]
            holder, renewed = str(spec.get("holderIdentity", "")), str(spec.get("renewTime", ""))
            # A process of this machine that held it holds the folder's lock no more; a clean-up has no such lock.
            here = holder.split("/")[0] == socket.gethostname() and not holder.endswith("/cleanup")
            if here or expired(spec):
                try:
                    self._lease_uid = uid_of(await self.cluster.replace(LEASE, {**found, "spec": self._spec(spec)}))
                    return
                except ClusterError as error:
                    if error.status not in (404, 409):
                        raise
                # It changed or went meanwhile: look again.
                continue
            if seen and renewed != seen:
                raise StudyBusyError(f"{holder} works on this study, and renewed lease {self.name} at {renewed}")
            if not seen:
                self.notify(f"lease {self.name} is held by {holder}; waiting whether it is renewed")
            seen = renewed
            await asyncio.sleep(2.0)

    async def _renew(self) -> None:
        told = False
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                found = await self.cluster.get(LEASE, self.name)
                if found is None:
                    self.notify(f"lease {self.name} was deleted by somebody; a reaper may delete this study's objects")
                    continue
                holder = found["spec"].get("holderIdentity")
                if holder != self._holder:
                    self.notify(f"lease {self.name} was taken by {holder}: two processes work on this study")
                    self._taken = True
                    return
                await self.cluster.replace(LEASE, {**found, "spec": self._spec(found["spec"])})
                told = False
            except ClusterError as error:
                if not told:
                    self.notify(f"lease {self.name} could not be renewed, and is tried again: {error}")
                told = True

    def _spec(self, before: Object) -> dict[str, Any]:
        now = datetime.now(UTC).strftime(_TIME)
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": before.get("acquireTime", now) if before.get("holderIdentity") == self._holder else now,
            "renewTime": now,
        }


def expired(spec: Object) -> bool:
    """Whether a lease has run out; one that says nothing has."""
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]).replace("Z", "+00:00"))
        return (datetime.now(UTC) - renewed).total_seconds() > float(spec["leaseDurationSeconds"])
    except (KeyError, ValueError, TypeError):
        return True
