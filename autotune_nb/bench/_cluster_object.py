"""One object that a benchmark makes in the cluster: made once, seen where somebody takes it away, confirmed gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from autotune_nb.bench._expected_levels import failed
from autotune_nb.cluster.api_errors import hint_for, over_quota, quota_timeout, server_message
from autotune_nb.cluster.kinds import BENCHMARK_JOB, JOB, POD, Kind, Object, name_of, terminating, uid_of
from autotune_nb.cluster.owned_object import OwnedObject
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError
from autotune_nb.waiting import uncancelled

#: A deletion is waited for so long in a trial, and so long once more at the end of a run.
_GONE_S, _LAST_S = 40.0, 3.0
_PAUSE_S = 0.2


class Made(OwnedObject):
    """One object made for a trial, and its end."""

    def __init__(self, session: ClusterSession, kind: Kind, trial: int, say: Callable[[str], None]) -> None:
        super().__init__(session, kind, trial)
        self.say = say
        #: What was seen of it and of what was made for it, by uid, in the order of who made whom.
        self._seen: dict[str, tuple[Kind, str]] = {}

    @property
    def who(self) -> str:
        return f"trial {self.trial}'s benchmark"

    async def make(self, body: Object) -> None:
        """Make it, in the place of one an earlier attempt left. Waits for quota. Raises MeasurementError."""
        pending_s = self._session.task.deadlines.pending_s
        until, cleared = asyncio.get_running_loop().time() + pending_s, False
        while True:
            try:
                await self.create(body, deadline=until, notify=self.say, subject=self.who)
                return
            except ClusterError as error:
                if over_quota(error):
                    raise failed(*quota_timeout(pending_s, error)) from None
                if error.status != 409 or error.reason == "Conflict" or cleared:
                    raise failed(f"{self.full_name} was not made: {server_message(error)}", hint_for(error)) from None
                cleared = True
                await self._clear_the_name()

    async def _clear_the_name(self) -> None:
        """Take away what an earlier attempt left under this name. Raises MeasurementError where it is another's."""
        try:
            found = await self._session.cluster.get(self.kind, self.name)
        except ClusterError as error:
            raise failed(
                f"{self.full_name} is there and could not be read: {server_message(error)}", hint_for(error)
            ) from None
        if found is None:
            return
        if not self.belongs_to_trial(found):
            hint = "delete it, or give the task another name"
            raise failed(f"there is a {self.full_name} which is not this study's", hint)
        self.uid = uid_of(found)
        left = await self.remove()
        if left:
            raise failed(f"{left}; its name stays taken")

    async def remove(self, within_s: float | None = None) -> str:
        """Delete it and wait until it and what it made are gone; what is left, in words. May be asked again."""
        cluster = self._session.cluster
        try:
            what = "may have been made, and could not be looked for"
            await self.find_unconfirmed()
            if not self.uid:
                return ""
            what = "could not be deleted"
            await cluster.delete(self.kind, self.name, uid=self.uid)
            async with asyncio.timeout(_GONE_S if within_s is None else within_s):
                await self._session.watches.until(lambda: self._looks_gone() or None, trial=self.trial)
                if self.uid not in self._seen:
                    await self._until_the_server_says_so()
        except TimeoutError:
            return f"{self.full_name} stays Terminating; {self._held_by()}"
        except ClusterError as error:
            return f"{self.full_name} {what}: {server_message(error)}"
        self.uid = ""
        # Whatever comes by this name next is another.
        self._seen.clear()
        return ""

    async def _until_the_server_says_so(self) -> None:
        """Where the watch never had it, since it was made just before."""
        while True:
            found = await self._session.cluster.get(self.kind, self.name)
            if found is None or uid_of(found) != self.uid:
                return
            await asyncio.sleep(_PAUSE_S)

    def object(self) -> Object | None:
        """As the watch has it; None before it has, and once it is gone."""
        found = self._session.watches.of_trial(self.kind, self.trial).get(self.name)
        return self._see(self.kind, [found])[0] if found is not None and uid_of(found) == self.uid else None

    def jobs(self) -> list[Object]:
        """The Job that it is, or the Jobs that were made for it."""
        jobs = self._session.watches.objects(JOB).values()
        return self._see(JOB, [job for job in jobs if self.uid in {uid_of(job), *_owners(job)}])

    def pods(self) -> list[Object]:
        """The pods that belong to it, also by way of a Job that was deleted before them."""
        self.jobs()
        owners = {self.uid, *self._seen}
        pods = self._session.watches.objects(POD).values()
        return self._see(POD, [pod for pod in pods if owners & {uid_of(pod), *_owners(pod)}])

    def warnings(self) -> list[Object]:
        """The warnings about it and about its Jobs, oldest first."""
        watches = self._session.watches
        uids = dict.fromkeys((self.uid, *map(uid_of, self.jobs())))
        return [event for uid in uids for event in watches.events(uid)]

    def taken_away(self, *, pods: bool = True) -> str:
        """What of it, its Job or its ``pods`` somebody deleted, in words; empty where all that was seen is there."""
        own = self.object()
        there = [*([own] if own is not None else []), *self.jobs(), *self.pods()]
        alive = {uid_of(one) for one in there if not terminating(one)}
        for uid, (kind, name) in self._seen.items():
            if uid not in alive and (pods or kind is not POD):
                return f"{kind.name} {name} was deleted by somebody"
        return ""

    def _see(self, kind: Kind, objects: list[Object]) -> list[Object]:
        for one in objects:
            self._seen.setdefault(uid_of(one), (kind, name_of(one)))
        return objects

    def _looks_gone(self) -> bool:
        return self.object() is None and not self.jobs() and not self.pods()

    def _held_by(self) -> str:
        pods = self.pods()
        if pods:
            where = str((pods[0].get("spec") or {}).get("nodeName") or "no node yet")
            return f"still there is pod {name_of(pods[0])} (on {where})"
        controller = "OME's controller" if self.kind is BENCHMARK_JOB else "kube-controller-manager"
        return f"see whether {controller} runs, it takes the finalizer away"


class Removals:
    """Takes down what an executor made, and keeps what it could not until the end of the run."""

    def __init__(self, session: ClusterSession) -> None:
        self._session = session
        self._left: dict[Made, str] = {}

    async def remove(self, made: Made) -> None:
        """Take it down, whoever cancels meanwhile; tells what is left."""
        left = await uncancelled(made.remove())
        if left:
            self._left[made] = left
            made.say(left)

    async def close(self) -> None:
        """Try once more to take down what is left."""
        await asyncio.gather(*map(self._once_more, list(self._left)))

    async def _once_more(self, made: Made) -> None:
        name, left = made.full_name, self._left.pop(made)
        try:
            async with asyncio.timeout(2 * _LAST_S):
                left = await made.remove(_LAST_S)
        except TimeoutError:
            pass
        self._session.notify(left or f"{name} is gone now")


def _owners(obj: Object) -> set[str]:
    return {str(owner.get("uid")) for owner in obj["metadata"].get("ownerReferences") or ()}
