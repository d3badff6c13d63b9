"""A study's session in a cluster: the client, the watches, the lease, and the anchor that owns the study's objects."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from autotune_nb.cluster.client import Cluster, write_to_stderr
from autotune_nb.cluster.executor_choice import uses_benchmark_job
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

#: The interval of the lease's renewals, and its duration; a reaper may delete the objects of an expired study.
RENEW_S, LEASE_S = 10.0, 60
#: The interval at which an unreachable cluster is tried again.
_POLL_S = 2.0
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class ClusterSession:
    """A study's session in its namespace: ``open`` it, ``acquire`` the lease before creating objects, ``close`` it."""

    cluster: Cluster
    watches: Watches

    def __init__(self, task: Task, *, study_label: str) -> None:
        self.task = task
        self.study_label = study_label
        self.name = study_name(task.name, study_label)
        self.templates = Templates(task.deploy.templates)
        self.notify: Callable[[str], None] = write_to_stderr
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._anchor: Object | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._opened = self._lease_lost = False
        self._lease_uid: str | None = None
        self._ensuring = asyncio.Lock()

    async def open(self) -> None:
        """Connect, unless connected already. Raises ClusterError."""
        if not self._opened:
            deploy = self.task.deploy
            self.cluster = await Cluster.connect(
                kubeconfig=deploy.kubeconfig,
                context=deploy.context,
                namespace=deploy.namespace,
                notify=lambda text: self.notify(text),
            )
            self.cluster.notify = lambda text: self.notify(text)
            self.watches = Watches(self.cluster, lambda text: self.notify(text))
            self._opened = True

    def stop_credential_wait(self) -> None:
        """Fail requests with expired credentials at once from now on. Thread-safe."""
        if self._opened:
            self.cluster.stop_credential_wait()

    async def wait_until_reachable(self, *, within_s: float, notify: Callable[[str], None]) -> None:
        """Wait until the cluster responds, if the last request had no response or a 401. Raises ClusterError."""
        if self.cluster.connection_error is None:
            return
        notify(f"waiting up to {within_s:g} s for the cluster: {self.cluster.connection_error}")
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            try:
                await self.cluster.get_path("/version")
            except ClusterError as error:
                if self.cluster.connection_error is not None:
                    if asyncio.get_running_loop().time() >= deadline:
                        raise error
                    await asyncio.sleep(_POLL_S)
                    continue
            notify("the cluster responds again")
            return

    async def follow(self) -> None:
        """Watch the study's objects, with one watch for each kind. Raises ClusterError."""
        selector = study_selector(self.study_label)
        study_kinds = (INFERENCE_SERVICE, DEPLOYMENT, REPLICA_SET, BENCHMARK_JOB)
        # OME copies a BenchmarkJob's labels to no Job and no pod.
        job_selector = "" if uses_benchmark_job(self.task) else selector
        await asyncio.gather(
            *(self.watches.follow(kind, selector=selector) for kind in study_kinds),
            *(self.watches.follow(kind, selector=job_selector) for kind in (JOB, POD)),
            # A Service that OME creates has none of these labels, and an event has no labels.
            self.watches.follow(SERVICE),
            self.watches.follow(EVENT, fields="type!=Normal"),
        )

    async def acquire(self) -> None:
        """Create the anchor and acquire the lease. Raises StudyBusyError if another process holds it, ClusterError."""
        if self._anchor is not None:
            return
        for last in (False, True):
            await self._create_anchor()
            try:
                await self._acquire_lease()
                # A cleanup deletes the anchor before the lease, so it may have deleted this anchor meanwhile.
                found = await self.cluster.get(CONFIG_MAP, self.name)
            except BaseException:
                # The anchor is another process's: close must not delete it.
                self._anchor = None
                raise
            if found is not None and not terminating(found) and uid_of(found) == self.owner["uid"]:
                self._renewing = asyncio.ensure_future(self._renew())
                return
            self._anchor = None
            if last:
                raise ClusterError(
                    f"configmap {self.name} is being deleted by another process; start again in a moment"
                )

    async def ensure_anchor(self) -> None:
        """Create the anchor again if another process deleted it: the cluster deletes objects without their owner.

        Raises ClusterError, also while the old one is being deleted.
        """
        async with self._ensuring:
            found = await self.cluster.get(CONFIG_MAP, self.name)
            if found is not None and terminating(found):
                raise ClusterError(f"configmap {self.name}, which owns the study's objects, is being deleted")
            previous = self._anchor
            if previous is None or (found is not None and uid_of(found) == uid_of(previous)):
                return
            try:
                await self._create_anchor()
            except BaseException:
                self._anchor = previous
                raise
            self.notify(f"configmap {self.name} was deleted by another process, and is created again")

    @property
    def owner(self) -> Object:
        """The owner reference of the study's objects; deleting the anchor deletes them all."""
        assert self._anchor is not None, "acquire first"
        return {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.name,
            "name": self.name,
            "uid": uid_of(self._anchor),
        }

    def trial_metadata(self, trial: int) -> Object:
        """Return the metadata of a trial's objects; without owner before ``acquire``, as in a dry run."""
        return {
            "name": trial_name(self.task.name, self.study_label, trial),
            "namespace": self.cluster.namespace,
            "labels": trial_labels(self.study_label, trial),
            "ownerReferences": [self.owner] if self._anchor is not None else [],
        }

    async def close(self, *, keep_anchor: bool = False) -> None:
        """Close the client and delete anchor and lease; ``keep_anchor`` keeps both for a reaper."""
        if not self._opened:
            return
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self.watches.close()
        if self._anchor is not None and not keep_anchor and not self._lease_lost:
            with contextlib.suppress(ClusterError):
                await self.cluster.delete(CONFIG_MAP, self.name, uid=uid_of(self._anchor), propagation="Background")
                await self.cluster.delete(LEASE, self.name, uid=self._lease_uid, propagation="Background")
        self._anchor = None
        await self.cluster.close()
        self._opened = False

    async def _create_anchor(self) -> None:
        data = {"task": self.task.name, "study": self.study_label, "holder": self._holder}
        metadata: Object = {"name": self.name, "labels": study_labels(self.study_label)}
        try:
            self._anchor = await self.cluster.create(CONFIG_MAP, {"metadata": metadata, "data": data})
        except ClusterError as error:
            if error.status != 409:
                raise
            # A previous process of this study created it.
            self._anchor = await self.cluster.get(CONFIG_MAP, self.name)
            if self._anchor is None or terminating(self._anchor):
                self._anchor = None
                raise ClusterError(f"configmap {self.name} is being deleted; start again in a moment") from None

    async def _acquire_lease(self) -> None:
        """Acquire the lease if it is free, expired, or held by a process of this machine.

        A process of this machine would still hold the folder's lock. Otherwise wait until the lease expires or is
        renewed.
        """
        seen_renewal = ""
        while True:
            found = await self.cluster.get(LEASE, self.name)
            if found is None:
                try:
                    await self._create_lease()
                    return
                except ClusterError as error:
                    if error.status != 409:
                        raise
                continue
            spec = found["spec"]
            holder, renewed = str(spec.get("holderIdentity", "")), str(spec.get("renewTime", ""))
            # A process of this machine would hold the folder's lock; a cleanup takes no such lock.
            abandoned = holder.split("/")[0] == socket.gethostname() and not holder.endswith("/cleanup")
            if abandoned or expired(spec):
                try:
                    self._lease_uid = uid_of(
                        await self.cluster.replace(LEASE, {**found, "spec": self._lease_spec(spec)})
                    )
                    return
                except ClusterError as error:
                    if error.status not in (404, 409):
                        raise
                # It was changed or deleted meanwhile.
                continue
            if seen_renewal and renewed != seen_renewal:
                raise StudyBusyError(f"{holder} runs this study: it renewed lease {self.name} at {renewed}")
            if not seen_renewal:
                self.notify(f"lease {self.name} is held by {holder}; waiting until it is renewed or expires")
            seen_renewal = renewed
            await asyncio.sleep(2.0)

    async def _create_lease(self) -> None:
        metadata = {
            "name": self.name,
            "labels": study_labels(self.study_label),
            "ownerReferences": [self.owner],
        }
        body: Object = {"metadata": metadata, "spec": self._lease_spec({})}
        self._lease_uid = uid_of(await self.cluster.create(LEASE, body))

    async def _renew(self) -> None:
        notified = False
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                found = await self.cluster.get(LEASE, self.name)
                if found is None:
                    await self.ensure_anchor()
                    await self._create_lease()
                    self.notify(f"lease {self.name} was deleted by another process, and is created again")
                    continue
                holder = found["spec"].get("holderIdentity")
                if holder != self._holder:
                    self.notify(f"lease {self.name} was taken by {holder}: two processes run this study")
                    self._lease_lost = True
                    return
                await self.cluster.replace(LEASE, {**found, "spec": self._lease_spec(found["spec"])})
                notified = False
            except Exception as error:  # noqa: BLE001 - a reaper deletes a study whose lease is not renewed
                if not notified:
                    shown = error if isinstance(error, ClusterError) else f"{type(error).__name__}: {error}"
                    self.notify(f"lease {self.name} could not be renewed and is retried: {shown}")
                notified = True

    def _lease_spec(self, previous: Object) -> dict[str, Any]:
        now = datetime.now(UTC).strftime(_TIME)
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": previous.get("acquireTime", now) if previous.get("holderIdentity") == self._holder else now,
            "renewTime": now,
        }


def expired(spec: Object) -> bool:
    """Whether a lease has expired; one without a valid renewal time counts as expired."""
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]).replace("Z", "+00:00"))
        return (datetime.now(UTC) - renewed).total_seconds() > float(spec["leaseDurationSeconds"])
    except (KeyError, ValueError, TypeError):
        return True
