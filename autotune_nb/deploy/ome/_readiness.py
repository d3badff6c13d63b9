"""Waiting until a trial's InferenceService is Ready, or cannot become so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import (
    DEPLOYMENT,
    EVENT,
    INFERENCE_SERVICE,
    POD,
    REPLICA_SET,
    SERVICE,
    Object,
    uid_of,
)
from autotune_nb.cluster.watch import Watches
from autotune_nb.deploy.ome._diagnosis import Seen, Standing, stand
from autotune_nb.deploy.ome._pods import owners
from autotune_nb.errors import ClusterError
from autotune_nb.task.sections import Deadlines

#: A controller that works through many trials may take so long for one.
_BUSY_S = 150.0
#: What many trials wait for is said in one line for all that come to wait in that time.
_TOGETHER_S = 0.5


class NotReadyError(Exception):
    """A service that will not be Ready: where it stands, in words, and whether only its time ran out."""

    def __init__(self, standing: Standing, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.standing = standing
        self.message = message
        self.timed_out = timed_out


@dataclass(frozen=True)
class Verdict:
    """What follows from a standing and the time it has lasted: something to say, or that it has failed."""

    notice: str = ""
    failed: NotReadyError | None = None


class Controller:
    """Signs of life of OME's controller over all trials of a run, and what is said of its silence: one line for all
    the trials that it keeps waiting, which names each of them."""

    def __init__(self) -> None:
        self.alive_at = float("-inf")
        self._to_tell: dict[str, dict[int, str]] = {}

    def tell(self, what: str, trial: int, text: str, say: Callable[[str], None]) -> None:
        """Say that of a trial, in a moment and together with others that wait for the same."""
        waiting = self._to_tell.setdefault(what, {})
        if not waiting:
            asyncio.get_running_loop().call_later(_TOGETHER_S, self._say, what, say)
        waiting[trial] = text

    def _say(self, what: str, say: Callable[[str], None]) -> None:
        (trial, text), *others = self._to_tell.pop(what).items()
        same = ", ".join(str(other) for other, _ in others)
        say(f"trial {trial}: {text}" + (f" (the same of trials {same})" if same else ""))


class Patience:
    """How long a service may stand where it stands. The clock is the caller's."""

    def __init__(self, deadlines: Deadlines, began: float, controller: Controller | None = None) -> None:
        self._controller = controller or Controller()
        self._ready_s, self._pending_s = deadlines.ready_s, deadlines.pending_s
        self._began = self._since = self._last = began
        self._state = ""
        self._was_for_room = self._was_on_controller = False
        self._room_s = 0.0
        self._told: set[str] = set()

    def verdict(self, standing: Standing, now: float) -> Verdict:
        """To be asked from time to time, with what is seen at ``now``."""
        if self._was_for_room:
            # Waiting for GPUs and quota is no time of the engine's.
            self._room_s += now - self._last
        self._last, self._was_for_room = now, standing.for_room
        if standing.state != self._state:
            if self._was_on_controller:
                self._controller.alive_at = now
            self._state, self._since, self._was_on_controller = standing.state, now, standing.on_controller
        if standing.ready:
            return Verdict()
        lasted_s, text = now - self._since, standing.text
        if standing.patience_s is not None and lasted_s >= min(self._patience_s(standing, now), self._ready_s):
            return Verdict(failed=NotReadyError(standing, text + (f" (for {lasted_s:.0f} s)" if lasted_s >= 1 else "")))
        if standing.for_room and self._room_s >= self._pending_s:
            message = f"{text}; deadlines.pending_s ({self._pending_s:g} s) has passed"
            return Verdict(failed=NotReadyError(standing, message))
        if not standing.for_room and now - self._began - self._room_s >= self._ready_s:
            message = f"the engine was not Ready after {self._ready_s:g} s" + (f": {text}" if text else "")
            # What the engine itself does with its time is in its log.
            return Verdict(failed=NotReadyError(standing, message, timed_out=not text))
        if standing.tell_after_s is None or lasted_s < standing.tell_after_s or self._state in self._told:
            return Verdict()
        self._told.add(self._state)
        return Verdict(notice=text + (f"; {standing.hint}" if standing.hint else ""))

    def _patience_s(self, standing: Standing, now: float) -> float:
        """How long this may last: longer while the controller is seen to work on other trials."""
        assert standing.patience_s is not None
        if not standing.on_controller:
            return standing.patience_s
        busy_s = max(self._controller.alive_at - self._since, 0.0)
        return min(standing.patience_s + busy_s, _BUSY_S)


class Sight:
    """What the watches show of one trial's service."""

    def __init__(self, watches: Watches, trial: int, name: str, made: Object) -> None:
        self.name = name
        self.uid = uid_of(made)
        self._watches = watches
        self.trial = trial
        self._made = made
        self._was_there = False
        #: Events that are no warnings, where those were asked for.
        self._asked_for: list[Object] = []

    def look(self) -> Seen:
        watches, name = self._watches, self.name
        services = watches.objects(SERVICE)
        found = watches.of_trial(INFERENCE_SERVICE, self.trial).get(name)
        self._was_there = self._was_there or (found is not None and uid_of(found) == self.uid)
        if not self._was_there:
            # The watch is behind the answer that made it, or behind the end of one of that name.
            found = self._made
        deployments = self._owned(watches.of_trial(DEPLOYMENT, self.trial).values(), {self.uid})
        uids = {self.uid, *map(uid_of, deployments)}
        replica_sets = self._owned(watches.of_trial(REPLICA_SET, self.trial).values(), uids)
        uids |= set(map(uid_of, replica_sets))
        return Seen(
            name,
            self.uid,
            found,
            deployments,
            replica_sets,
            self._owned(watches.of_trial(POD, self.trial).values(), uids),
            [services[one] for one in (name, f"{name}-engine") if one in services],
            self._events,
        )

    async def ask_for_events(self, cluster: Cluster, uid: str) -> None:
        """Read an object's events that the watch leaves out, such as an autoscaler's."""
        try:
            self._asked_for, _ = await cluster.list(EVENT, fields=f"involvedObject.uid={uid},type=Normal")
        except ClusterError:
            self._asked_for = []

    def _events(self, uid: str) -> Sequence[Object]:
        asked = [event for event in self._asked_for if event.get("involvedObject", {}).get("uid") == uid]
        return [*self._watches.events(uid), *asked]

    @staticmethod
    def _owned(objects: Iterable[Object], uids: set[str]) -> list[Object]:
        return [obj for obj in objects if owners(obj) & uids]


async def until_ready(
    cluster: Cluster,
    watches: Watches,
    sight: Sight,
    deadlines: Deadlines,
    controller: Controller,
    say: Callable[[str], None],
) -> Object:
    """Wait until the service is Ready and give its pod. Raises NotReadyError, ClusterError where a watch is refused."""
    loop = asyncio.get_running_loop()
    patience = Patience(deadlines, loop.time(), controller)
    asked = False

    def check() -> Standing | NotReadyError | None:
        standing = stand(sight.look())
        verdict = patience.verdict(standing, loop.time())
        if verdict.notice and standing.on_controller:
            controller.tell(standing.state, sight.trial, verdict.notice, say)
        elif verdict.notice:
            say(f"trial {sight.trial}: {verdict.notice}")
        return standing if standing.ready else verdict.failed

    while True:
        found: Standing | NotReadyError = await watches.until(check, trial=sight.trial)
        if isinstance(found, Standing):
            assert found.pod is not None
            return found.pod
        pod = found.standing.pod
        if found.standing.state == "unschedulable" and pod is not None and not asked:
            # An autoscaler that is about to add a node says so in an event that is no warning.
            asked = True
            await sight.ask_for_events(cluster, uid_of(pod))
            continue
        raise found
