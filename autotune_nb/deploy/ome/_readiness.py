"""Waits until a trial's InferenceService is Ready or has failed."""

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
from autotune_nb.deploy.ome._diagnosis import ServiceState, TrialSnapshot, service_state
from autotune_nb.deploy.ome._pods import owners
from autotune_nb.errors import ClusterError
from autotune_nb.task.sections import Deadlines

#: How long the controller may take for one trial while it works on others.
_BUSY_S = 150.0
#: Trials that wait for the same within this time are reported in one message.
_COLLECT_S = 0.5


class NotReadyError(Exception):
    """Raised for a service that failed or was not Ready before its deadline."""

    def __init__(self, state: ServiceState, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.state = state
        self.message = message
        self.timed_out = timed_out


@dataclass(frozen=True)
class Decision:
    """What follows from a state and its duration: a message, a failure, or nothing."""

    notice: str = ""
    failed: NotReadyError | None = None


class ControllerActivity:
    """When OME's controller last acted on any trial of a run; reports the trials that wait for it in one message."""

    def __init__(self) -> None:
        self.active_at = float("-inf")
        self._pending: dict[str, dict[int, str]] = {}

    def notify_together(self, key: str, trial: int, text: str, notify: Callable[[str], None]) -> None:
        """Report a trial's message soon, together with those of other trials with the same key."""
        waiting = self._pending.setdefault(key, {})
        if not waiting:
            asyncio.get_running_loop().call_later(_COLLECT_S, self._notify, key, notify)
        waiting[trial] = text

    def _notify(self, key: str, notify: Callable[[str], None]) -> None:
        (trial, text), *others = self._pending.pop(key).items()
        same = ", ".join(str(other) for other, _ in others)
        notify(f"trial {trial}: {text}" + (f" (also trials {same})" if same else ""))


class Patience:
    """Decides how long a service may stay in each state. The caller passes the time."""

    def __init__(self, deadlines: Deadlines, started: float, controller: ControllerActivity | None = None) -> None:
        self._controller = controller or ControllerActivity()
        self._ready_s, self._pending_s = deadlines.ready_s, deadlines.pending_s
        self._started = self._since = self._last = started
        self._state = ""
        self._waited_for_capacity = self._waited_for_controller = False
        self._capacity_s = 0.0
        self._notified: set[str] = set()

    def decide(self, state: ServiceState, now: float) -> Decision:
        """Return what follows from the service's state at ``now``. Call it repeatedly."""
        if self._waited_for_capacity:
            # Waiting for GPUs and quota does not count against the engine's deadline.
            self._capacity_s += now - self._last
        self._last, self._waited_for_capacity = now, state.waits_for_capacity
        if state.state != self._state:
            if self._waited_for_controller:
                self._controller.active_at = now
            self._state, self._since, self._waited_for_controller = state.state, now, state.waits_for_controller
        if state.ready:
            return Decision()
        lasted_s, text = now - self._since, state.text
        if state.patience_s is not None and lasted_s >= min(self._patience_s(state, now), self._ready_s):
            return Decision(failed=NotReadyError(state, text + (f" (for {lasted_s:.0f} s)" if lasted_s >= 1 else "")))
        if state.waits_for_capacity and self._capacity_s >= self._pending_s:
            message = f"{text}; deadlines.pending_s ({self._pending_s:g} s) has passed"
            return Decision(failed=NotReadyError(state, message))
        if not state.waits_for_capacity and now - self._started - self._capacity_s >= self._ready_s:
            message = f"the engine was not Ready after {self._ready_s:g} s" + (f": {text}" if text else "")
            # Without a text the engine was starting, and its log says more.
            return Decision(failed=NotReadyError(state, message, timed_out=not text))
        if state.notify_after_s is None or lasted_s < state.notify_after_s or self._state in self._notified:
            return Decision()
        self._notified.add(self._state)
        return Decision(notice=text + (f"; {state.hint}" if state.hint else ""))

    def _patience_s(self, state: ServiceState, now: float) -> float:
        """Return how long the state may last: longer while the controller works on other trials."""
        assert state.patience_s is not None
        if not state.waits_for_controller:
            return state.patience_s
        busy_s = max(self._controller.active_at - self._since, 0.0)
        return min(state.patience_s + busy_s, _BUSY_S)


class TrialObjects:
    """The objects of one trial's service in the watches."""

    def __init__(self, watches: Watches, trial: int, name: str, created: Object) -> None:
        self.name = name
        self.uid = uid_of(created)
        self._watches = watches
        self.trial = trial
        self._created = created
        self._was_listed = False
        #: Normal events, if they were requested.
        self._normal_events: list[Object] = []

    def snapshot(self) -> TrialSnapshot:
        """Return the current objects."""
        watches, name = self._watches, self.name
        services = watches.objects(SERVICE)
        found = watches.of_trial(INFERENCE_SERVICE, self.trial).get(name)
        self._was_listed = self._was_listed or (found is not None and uid_of(found) == self.uid)
        if not self._was_listed:
            # The watch has not reported this object yet.
            found = self._created
        deployments = self._owned(watches.of_trial(DEPLOYMENT, self.trial).values(), {self.uid})
        uids = {self.uid, *map(uid_of, deployments)}
        replica_sets = self._owned(watches.of_trial(REPLICA_SET, self.trial).values(), uids)
        uids |= set(map(uid_of, replica_sets))
        return TrialSnapshot(
            name,
            self.uid,
            found,
            deployments,
            replica_sets,
            self._owned(watches.of_trial(POD, self.trial).values(), uids),
            [services[one] for one in (name, f"{name}-engine") if one in services],
            self._events,
        )

    async def fetch_normal_events(self, cluster: Cluster, uid: str) -> None:
        """Fetch an object's normal events, which are not watched, such as an autoscaler's."""
        try:
            self._normal_events, _ = await cluster.list(EVENT, fields=f"involvedObject.uid={uid},type=Normal")
        except ClusterError:
            self._normal_events = []

    def _events(self, uid: str) -> Sequence[Object]:
        fetched = [event for event in self._normal_events if event.get("involvedObject", {}).get("uid") == uid]
        return [*self._watches.events(uid), *fetched]

    @staticmethod
    def _owned(objects: Iterable[Object], uids: set[str]) -> list[Object]:
        return [obj for obj in objects if owners(obj) & uids]


async def wait_until_ready(
    cluster: Cluster,
    watches: Watches,
    objects: TrialObjects,
    deadlines: Deadlines,
    controller: ControllerActivity,
    notify: Callable[[str], None],
) -> Object:
    """Wait until the service is Ready and return its pod. Raises NotReadyError, ClusterError if a watch is rejected."""
    loop = asyncio.get_running_loop()
    patience = Patience(deadlines, loop.time(), controller)
    fetched = False

    def check() -> ServiceState | NotReadyError | None:
        state = service_state(objects.snapshot())
        decision = patience.decide(state, loop.time())
        if decision.notice and state.waits_for_controller:
            controller.notify_together(state.state, objects.trial, decision.notice, notify)
        elif decision.notice:
            notify(f"trial {objects.trial}: {decision.notice}")
        return state if state.ready else decision.failed

    while True:
        found: ServiceState | NotReadyError = await watches.until(check, trial=objects.trial)
        if isinstance(found, ServiceState):
            assert found.pod is not None
            return found.pod
        pod = found.state.pod
        if found.state.state == "unschedulable" and pod is not None and not fetched:
            # An autoscaler reports that it adds a node in a normal event.
            fetched = True
            await objects.fetch_normal_events(cluster, uid_of(pod))
            continue
        raise found
