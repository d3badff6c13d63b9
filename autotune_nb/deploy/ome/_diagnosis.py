"""How a trial's InferenceService stands, from all its objects: OME's own status is silent about most failures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotune_nb.cluster.kinds import Object, name_of, terminating, uid_of
from autotune_nb.deploy.ome._pods import (
    Crash,
    condition,
    conditions,
    crash_of,
    ended,
    ended_now,
    is_true,
    owners,
    restarts_of,
    waiting_in,
)
from autotune_nb.errors import FailureKind

#: A refusal of OME's may heal, since a model may just be getting ready; a status and a pod usually follow in under 2 s.
_REFUSED_S, _SILENT_S, _QUIET_S = 3.5, 30.0, 3.5
#: Warnings that every healthy start-up has.
_USUAL = frozenset({"UpdateFailed", "InternalError"})
_ROOM = re.compile(r"Insufficient |Too many pods|unbound immediate PersistentVolumeClaims", re.I)
_NO_IMAGE = re.compile(
    r"not found|manifest unknown|unauthorized|denied|forbidden|no basic auth|invalid reference", re.I
)
_PASSING = re.compile(r"failed calling webhook|internal error|timed? ?out|too many requests|try again", re.I)


@dataclass(frozen=True)
class Seen:
    """A trial's objects as the watches have them: the InferenceService of its name, what belongs to it, whatever
    Services have its names, and the warnings about an object by its uid."""

    name: str
    uid: str
    service: Object | None
    deployments: Sequence[Object] = ()
    replica_sets: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    services: Sequence[Object] = ()
    events: Callable[[str], Sequence[Object]] = lambda _uid: ()

    @property
    def live(self) -> list[Object]:
        """The pods that serve or are on their way to, the newest_pod last."""
        there = [pod for pod in self.pods if not terminating(pod) and not ended(pod)]
        return sorted(there, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


@dataclass(frozen=True)
class Standing:
    """Where an InferenceService stands.

    ``state`` names it: as long as that stays the same, its time counts. It is told after ``tell_after_s`` (None:
    never) and is a failure of ``kind`` after ``patience_s`` (None: as long as anything may last). With ``for_room`` it
    waits for GPUs or quota, which is no time of the engine's.
    """

    state: str
    text: str = ""
    kind: FailureKind = FailureKind.INFRASTRUCTURE
    hint: str = ""
    patience_s: float | None = None
    tell_after_s: float | None = None
    for_room: bool = False
    #: Whether it is OME's controller that is waited for; many trials at once keep it busy.
    on_controller: bool = False
    crash: Crash | None = None
    pod: Object | None = None

    @property
    def ready(self) -> bool:
        return self.state == "ready"


def _final(state: str, text: str, kind: FailureKind, hint: str = "", pod: Object | None = None) -> Standing:
    return Standing(state, text, kind, hint, patience_s=0.0, pod=pod)


def stand(seen: Seen) -> Standing:
    """Where a service stands on its way to Ready."""
    return _object(seen) or _foreign(seen) or (_pods(seen) if seen.pods else _no_pod(seen))


def lost(seen: Seen, pod_uid: str, restarts: int) -> Standing | None:
    """What became of a service that was Ready with that pod, restarted so often by then; None while it is as it was."""
    gone = _object(seen)
    if gone is not None:
        return gone
    infrastructure = FailureKind.INFRASTRUCTURE
    pod = next((one for one in seen.pods if uid_of(one) == pod_uid), None)
    if pod is None:
        return _final("pod-gone", "the engine's pod was deleted by somebody", infrastructure)
    crash = crash_of(pod) if restarts_of(pod) > restarts or ended_now(pod) else None
    if crash is not None:
        return Standing("crashed", crash.told, patience_s=0.0, crash=crash, pod=pod)
    if ended(pod):
        return _evicted(pod)
    if terminating(pod):
        return _final("pod-gone", f"pod {name_of(pod)} is being deleted by somebody", infrastructure, pod=pod)
    others = [name_of(one) for one in seen.live if uid_of(one) != pod_uid]
    if others:
        told = f"pod {others[0]} came up beside {name_of(pod)}, so requests go to more than one engine"
        return _final("several", told, infrastructure, "look who changes or scales the InferenceService", pod)
    return None


def _object(seen: Seen) -> Standing | None:
    """The InferenceService itself: gone, another by now, or on its way out."""
    service = seen.service
    if service is None or uid_of(service) != seen.uid or terminating(service):
        told = f"inferenceservice {seen.name} was deleted by somebody"
        return _final("deleted", told, FailureKind.INFRASTRUCTURE, "look whether a reaper or a person deletes trials")
    return None


def _foreign(seen: Seen) -> Standing | None:
    for service in seen.services:
        if foreign(service, seen.uid):
            told = f"service {name_of(service)} belongs to somebody else, so OME never gives {seen.name} a status"
            return _final("foreign", told, FailureKind.INFRASTRUCTURE, f"delete service {name_of(service)}")
    return None


def foreign(service: Object, uid: str) -> bool:
    """Whether a Service with a trial's name is not that InferenceService's."""
    return uid not in owners(service)


def _no_pod(seen: Seen) -> Standing:
    assert seen.service is not None
    if not seen.deployments:
        return _no_deployment(seen)
    refusal = _creation_refused(seen)
    if refusal is None:
        told = f"deployment {name_of(seen.deployments[0])} has no pod yet"
        return Standing("no-pod", told, tell_after_s=_QUIET_S, hint="see whether kube-controller-manager runs")
    if "exceeded quota" in refusal:
        return Standing(
            "quota", f"waiting for quota: {refusal}", hint="raise the quota, or wait for others", tell_after_s=0.0,
            for_room=True,
        )  # fmt: skip
    if _PASSING.search(refusal):
        return Standing("no-pod", f"no pod could be made yet: {refusal}", tell_after_s=0.0)
    told = f"no pod may be made: {refusal}"
    return Standing("pod-refused", told, patience_s=_REFUSED_S, hint="ask who keeps the namespace's limits")


def _no_deployment(seen: Seen) -> Standing:
    told = {event.get("reason", ""): message_of(event) for event in seen.events(seen.uid)}
    if "DeploymentModeError" in told:
        text = f"OME cannot deploy it: {told['DeploymentModeError']}"
        return _final("mode", text, FailureKind.CONFIGURATION, "give spec.engine in the template")
    if "RuntimeValidationError" in told:
        return Standing(
            "refused",
            f"OME refuses it: {told['RuntimeValidationError']}",
            FailureKind.CONFIGURATION,
            "see that the runtime exists and supports the model, and that the model is ready on a node",
            patience_s=_REFUSED_S,
            tell_after_s=0.0,
        )
    others = [f"{reason}: {text}" for reason, text in told.items() if reason not in _USUAL]
    text = f"OME has made nothing of inferenceservice {seen.name}" + (f", and says {others[-1]}" if others else "")
    hint = (
        "see whether OME's controller runs, and its log for this name; a '{{' in a value or a runner without a name "
        "silences it"
    )
    return Standing("silent", text, hint=hint, patience_s=_SILENT_S, tell_after_s=_QUIET_S, on_controller=True)


def _creation_refused(seen: Seen) -> str | None:
    """Why no pod could be made, as a Deployment's or a ReplicaSet's condition or an event says."""
    for obj in (*seen.deployments, *seen.replica_sets):
        if is_true(obj, "ReplicaFailure"):
            return str(condition(obj, "ReplicaFailure").get("message", ""))
    for obj in seen.replica_sets:
        for event in reversed(seen.events(uid_of(obj))):
            if event.get("reason") == "FailedCreate":
                return message_of(event)
    return None


def _pods(seen: Seen) -> Standing:
    live = seen.live
    if len(live) == 1 and is_true(live[0], "Ready"):
        assert seen.service is not None
        if is_true(seen.service, "Ready"):
            return Standing("ready", pod=live[0])
    for pod in live:
        crash = crash_of(pod)
        if crash is not None:
            return Standing("crashed", crash.told, patience_s=0.0, crash=crash, pod=pod)
    dead = [pod for pod in seen.pods if ended(pod) and not terminating(pod)]
    if dead:
        return _evicted(dead[-1])
    if not live:
        return Standing("replaced", "its pod is being deleted by somebody", tell_after_s=_QUIET_S)
    if len(live) > 1:
        told = f"{len(live)} pods serve it, {' and '.join(name_of(pod) for pod in live)}; one is wanted"
        return Standing("several", told, hint="look who scales it", patience_s=10.0, tell_after_s=0.0, pod=live[-1])
    return _pod(seen, live[0])


def _pod(seen: Seen, pod: Object) -> Standing:
    """A single pod that lives and is not Ready, or whose service is not."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _unscheduled(pod, str(scheduled.get("reason", "")), str(scheduled.get("message", "")), seen)
    for waiting in waiting_in(pod):
        standing = _held_up(pod, str(waiting.get("reason", "")), str(waiting.get("message", "")))
        if standing is not None:
            return standing
    if is_true(pod, "Ready"):
        assert seen.service is not None
        told = [
            str(c.get("message") or c.get("reason") or "") for c in conditions(seen.service) if c["type"] == "Ready"
        ]
        text = f"its pod is Ready, but OME does not call {seen.name} Ready" + (f" ({told[0]})" if any(told) else "")
        hint = "see whether OME's controller runs, and its log for this name"
        return Standing(
            "status", text, hint=hint, patience_s=_SILENT_S, tell_after_s=_QUIET_S, on_controller=True, pod=pod
        )
    return Standing("starting", pod=pod)


def _unscheduled(pod: Object, reason: str, message: str, seen: Seen) -> Standing:
    told = message or reason or "no node was found yet"
    scaling = any(event.get("reason") == "TriggeredScaleUp" for event in seen.events(uid_of(pod)))
    if scaling or _ROOM.search(message):
        text = f"waiting for a free node: {told}"
        return Standing(
            "no-room", text, hint="free GPUs, or lower deploy.parallel", tell_after_s=0.0, for_room=True, pod=pod
        )
    if reason != "Unschedulable":
        return Standing("unscheduled", told, tell_after_s=_QUIET_S, pod=pod)
    hint = "see that the model is ready on a node, and the node selectors, claims and tolerations"
    return _final("unschedulable", f"no node fits: {told}", FailureKind.INFRASTRUCTURE, hint, pod)


def _held_up(pod: Object, reason: str, message: str) -> Standing | None:
    """What a container that has not started waits for; None where that is nothing out of the way."""
    told = f"{reason}: {message}" if message else reason
    infrastructure = FailureKind.INFRASTRUCTURE
    if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"):
        hint = "see the image's name in the runtime, and whether its registry lets the nodes in"
        if reason == "ErrImagePull" and not _NO_IMAGE.search(message):
            # A registry may fail once; the second time it is ImagePullBackOff.
            return Standing("image", told, hint=hint, patience_s=_QUIET_S, tell_after_s=0.0, pod=pod)
        return _final("image", told, infrastructure, hint, pod)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"):
        hint = "see the secrets, config maps, volumes and command it names"
        if _PASSING.search(message):
            return Standing("container", told, hint=hint, tell_after_s=0.0, pod=pod)
        return _final("container", told, infrastructure, hint, pod)
    return None


def _evicted(pod: Object) -> Standing:
    status = pod.get("status") or {}
    reason = str(status.get("reason") or "Failed")
    message = str(status.get("message") or "")
    told = f"pod {name_of(pod)} was ended from outside: {reason}" + (f": {message}" if message else "")
    return _final("evicted", told, FailureKind.INFRASTRUCTURE, "look at its node", pod)


def message_of(event: Object) -> str:
    return " ".join(str(event.get("message", "")).split())
