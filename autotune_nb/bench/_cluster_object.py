"""One object that a benchmark creates in the cluster: created once, watched, deleted and confirmed gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from autotune_nb.bench._expected_levels import infra_error
from autotune_nb.cluster.api_errors import hint_for, of_surroundings, over_quota, quota_timeout, server_message
from autotune_nb.cluster.kinds import BENCHMARK_JOB, JOB, POD, Kind, Object, name_of, terminating, uid_of
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError
from autotune_nb.waiting import uncancelled

#: How long a deletion may take during a trial, and again at the end of a run.
_GONE_S, _LAST_S = 40.0, 3.0
_PAUSE_S = 0.2


class BenchmarkObject(OwnedObject):
    """An object created for one trial, with the Jobs and pods that belong to it."""

    def __init__(self, session: ClusterSession, kind: Kind, trial: int, notify: Callable[[str], None]) -> None:
        super().__init__(session, kind, trial)
        self.notify = notify
        #: The objects seen so far, by uid: this one, then its Jobs, then their pods.
        self._seen: dict[str, tuple[Kind, str]] = {}

    @property
    def subject(self) -> str:
        return f"trial {self.trial}'s benchmark"

    async def create_for_trial(self, body: Object) -> None:
        """Create it, replacing one that a previous attempt left. Waits for quota.

        Raises MeasurementError, or SurroundingsError if the cluster or a webhook does not respond.
        """
        pending_s = self._session.task.deadlines.pending_s
        until, cleared = asyncio.get_running_loop().time() + pending_s, False
        while True:
            try:
                await self.create(body, deadline=until, notify=self.notify, subject=self.subject)
                return
            except ClusterError as error:
                if over_quota(error):
                    raise infra_error(*quota_timeout(pending_s, error)) from None
                if error.status != 409 or error.reason == "Conflict" or cleared:
                    message = f"{self.full_name} was not created: {server_message(error)}"
                    raise infra_error(message, hint_for(error), away=of_surroundings(error)) from None
                cleared = True
                await self._delete_previous()

    async def _delete_previous(self) -> None:
        """Delete what a previous attempt left under this name. Raises MeasurementError if another study owns it."""
        try:
            found = await self._session.cluster.get(self.kind, self.name)
        except ClusterError as error:
            message = f"{self.full_name} exists and could not be read: {server_message(error)}"
            raise infra_error(message, hint_for(error), away=of_surroundings(error)) from None
        if found is None:
            return
        if not self.belongs_to_trial(found):
            hint = "delete it, or give the task another name"
            raise infra_error(f"{self.full_name} exists and belongs to another study", hint)
        self.uid = uid_of(found)
        left = await self.remove()
        if left:
            raise infra_error(f"{left}; its name stays taken")

    async def remove(self, within_s: float | None = None) -> str:
        """Delete it and wait until it, its Jobs and its pods are gone; return what remains as text."""
        cluster = self._session.cluster
        try:
            what = "may have been created, and could not be read"
            await self.find_unconfirmed()
            if not self.uid:
                return ""
            what = "could not be deleted"
            await cluster.delete(self.kind, self.name, uid=self.uid)
            async with asyncio.timeout(_GONE_S if within_s is None else within_s):
                await self._session.watches.until(lambda: self._is_gone() or None, trial=self.trial)
                if self.uid not in self._seen:
                    await self._wait_until_deleted()
        except TimeoutError:
            return f"{self.full_name} stays Terminating; {self._reason_not_deleted()}"
        except ClusterError as error:
            return f"{self.full_name} {what}: {server_message(error)}"
        self.uid = ""
        # The next object with this name has another uid.
        self._seen.clear()
        return ""

    async def _wait_until_deleted(self) -> None:
        """Query the API server, since the watch does not report an object that was deleted before it was seen."""
        while True:
            found = await self._session.cluster.get(self.kind, self.name)
            if found is None or uid_of(found) != self.uid:
                return
            await asyncio.sleep(_PAUSE_S)

    def object(self) -> Object | None:
        """Return the watched object; None before the watch has it and after it is gone."""
        found = self._session.watches.of_trial(self.kind, self.trial).get(self.name)
        return self._record(self.kind, [found])[0] if found is not None and uid_of(found) == self.uid else None

    def jobs(self) -> list[Object]:
        """Return the Job that it is, or the Jobs that it owns."""
        jobs = self._session.watches.objects(JOB).values()
        return self._record(JOB, [job for job in jobs if self.uid in {uid_of(job), *_owners(job)}])

    def pods(self) -> list[Object]:
        """Return its pods, including those of a Job that was deleted before them."""
        self.jobs()
        owners = {self.uid, *self._seen}
        pods = self._session.watches.objects(POD).values()
        return self._record(POD, [pod for pod in pods if owners & {uid_of(pod), *_owners(pod)}])

    def warnings(self) -> list[Object]:
        """Return the warning events of it and of its Jobs, oldest first."""
        watches = self._session.watches
        uids = dict.fromkeys((self.uid, *map(uid_of, self.jobs())))
        return [event for uid in uids for event in watches.events(uid)]

    def deleted_by_others(self, *, pods: bool = True) -> str:
        """Return which of it, its Jobs and its ``pods`` another client deleted, as text; empty if none."""
        own = self.object()
        there = [*([own] if own is not None else []), *self.jobs(), *self.pods()]
        alive = {uid_of(one) for one in there if not terminating(one)}
        for uid, (kind, name) in self._seen.items():
            if uid not in alive and (pods or kind is not POD):
                return f"{kind.name} {name} was deleted by another client"
        return ""

    def _record(self, kind: Kind, objects: list[Object]) -> list[Object]:
        for one in objects:
            self._seen.setdefault(uid_of(one), (kind, name_of(one)))
        return objects

    def _is_gone(self) -> bool:
        return self.object() is None and not self.jobs() and not self.pods()

    def _reason_not_deleted(self) -> str:
        pods = self.pods()
        if pods:
            where = str((pods[0].get("spec") or {}).get("nodeName") or "no node yet")
            return f"pod {name_of(pods[0])} still exists (on {where})"
        controller = "OME's controller" if self.kind is BENCHMARK_JOB else "kube-controller-manager"
        return f"check that {controller} is running; it removes the finalizer"


class Removals:
    """Deletes an executor's objects, and retries those that could not be deleted at the end of the run."""

    def __init__(self, session: ClusterSession) -> None:
        self._session = session
        self._left: dict[BenchmarkObject, str] = {}

    async def remove(self, obj: BenchmarkObject) -> None:
        """Delete an object, even if this task is cancelled meanwhile; reports what remains."""
        left = await uncancelled(obj.remove())
        if left:
            self._left[obj] = left
            obj.notify(left)

    async def close(self) -> None:
        """Retry the deletions that failed."""
        await asyncio.gather(*map(self._retry, list(self._left)))

    async def _retry(self, obj: BenchmarkObject) -> None:
        name, left = obj.full_name, self._left.pop(obj)
        try:
            async with asyncio.timeout(2 * _LAST_S):
                left = await obj.remove(_LAST_S)
        except TimeoutError:
            pass
        self._session.notify(left or f"{name} is deleted now")


def _owners(obj: Object) -> set[str]:
    return {str(owner.get("uid")) for owner in obj["metadata"].get("ownerReferences") or ()}
