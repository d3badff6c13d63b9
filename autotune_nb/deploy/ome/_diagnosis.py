"""The state of a trial's InferenceService, from all its objects: OME's own status omits most failures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotune_nb.cluster.api_errors import MAY_PASS
from autotune_nb.cluster.kinds import Object, name_of, terminating, uid_of
from autotune_nb.cluster.pod_errors import NO_CONTAINER, NO_IMAGE, UNSCHEDULABLE_NOW, has_ended
from autotune_nb.deploy.ome._pods import (
    Crash,
    condition,
    conditions,
    crash_of,
    ended_now,
    is_true,
    owners,
    restarts_of,
    waiting_in,
)
from autotune_nb.errors import FailureKind

#: OME may reject a service only while its model gets ready; a status and a pod usually follow in under 2 s.
_REFUSED_S, _SILENT_S, _QUIET_S = 3.5, 30.0, 3.5
#: Warnings that also a successful start has.
_HARMLESS = frozenset({"UpdateFailed", "InternalError"})
_VOLUME_EVENTS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_MODEL_FAILED = frozenset({"BlockedByFailedLoad", "InvalidSpec"})
_CONTAINER_FAILED = "ContainerStartupFailed"
_MODEL_HINT = "check that the model is ready on a node, and OME's model agent"
_IMAGE_REFUSED = re.compile(
    r"not found|manifest unknown|unauthorized|denied|forbidden|no basic auth|invalid reference", re.I
)


@dataclass(frozen=True)
class TrialSnapshot:
    """A trial's objects in the watches: its InferenceService and the objects that belong to it.

    ``services`` are the Services that have its names, ``events`` returns the warnings about an object by its uid.
    """

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
        """The pods that run or start, the newest last."""
        live = [pod for pod in self.pods if not terminating(pod) and not has_ended(pod)]
        return sorted(live, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


@dataclass(frozen=True)
class ServiceState:
    """The state of an InferenceService.

    ``state`` names it. It is reported after it lasted ``notify_after_s`` (None: never) and becomes a failure of
    ``kind`` after ``patience_s`` (None: at the deadline). With ``waits_for_capacity`` the service waits for GPUs or
    quota, which does not count against the engine's deadline.
    """

    state: str
    text: str = ""
    kind: FailureKind = FailureKind.INFRASTRUCTURE
    hint: str = ""
    patience_s: float | None = None
    notify_after_s: float | None = None
    waits_for_capacity: bool = False
    #: Whether the cluster or a webhook does not respond, which concerns every trial.
    away: bool = False
    #: Whether the service waits for OME's controller, which many trials at once keep busy.
    waits_for_controller: bool = False
    crash: Crash | None = None
    pod: Object | None = None

    @property
    def ready(self) -> bool:
        """Whether the service is Ready."""
        return self.state == "ready"


def _final(state: str, text: str, kind: FailureKind, hint: str = "", pod: Object | None = None) -> ServiceState:
    return ServiceState(state, text, kind, hint, patience_s=0.0, pod=pod)


def service_state(snapshot: TrialSnapshot) -> ServiceState:
    """Return the state of a service that is being deployed."""
    return _object(snapshot) or _foreign(snapshot) or (_pods(snapshot) if snapshot.pods else _no_pod(snapshot))


def lost_state(snapshot: TrialSnapshot, pod_uid: str, restarts: int) -> ServiceState | None:
    """Return why a service that was Ready with that pod and restart count no longer is; None while it is."""
    gone = _object(snapshot)
    if gone is not None:
        return gone
    infrastructure = FailureKind.INFRASTRUCTURE
    pod = next((one for one in snapshot.pods if uid_of(one) == pod_uid), None)
    if pod is None:
        return _final("pod-gone", "the engine's pod was deleted by another client", infrastructure)
    crash = crash_of(pod) if restarts_of(pod) > restarts or ended_now(pod) else None
    if crash is not None:
        return ServiceState("crashed", crash.text, patience_s=0.0, crash=crash, pod=pod)
    if has_ended(pod):
        return _evicted(pod)
    if terminating(pod):
        return _final("pod-gone", f"pod {name_of(pod)} is being deleted by another client", infrastructure, pod=pod)
    others = [name_of(one) for one in snapshot.live if uid_of(one) != pod_uid]
    if others:
        text = f"pod {others[0]} runs beside {name_of(pod)}, so requests go to more than one engine"
        return _final("several", text, infrastructure, "check what changes or scales the InferenceService", pod)
    return None


def _object(snapshot: TrialSnapshot) -> ServiceState | None:
    """Return the state of a service that was deleted, replaced or is Terminating; None otherwise."""
    service = snapshot.service
    if service is None or uid_of(service) != snapshot.uid or terminating(service):
        text = f"inferenceservice {snapshot.name} was deleted by another client"
        return _final("deleted", text, FailureKind.INFRASTRUCTURE, "check whether a reaper or a person deletes trials")
    return None


def _foreign(snapshot: TrialSnapshot) -> ServiceState | None:
    for service in snapshot.services:
        if foreign(service, snapshot.uid):
            text = f"service {name_of(service)} is not this study's, so OME never sets the status of {snapshot.name}"
            return _final("foreign", text, FailureKind.INFRASTRUCTURE, f"delete service {name_of(service)}")
    return None


def foreign(service: Object, uid: str) -> bool:
    """Whether a Service does not belong to the InferenceService with this uid."""
    return uid not in owners(service)


def _no_pod(snapshot: TrialSnapshot) -> ServiceState:
    assert snapshot.service is not None
    if not snapshot.deployments:
        return _no_deployment(snapshot)
    refusal = _creation_refused(snapshot)
    if refusal is None:
        text = f"deployment {name_of(snapshot.deployments[0])} has no pod yet"
        return ServiceState("no-pod", text, notify_after_s=_QUIET_S, hint="check that kube-controller-manager runs")
    if "exceeded quota" in refusal:
        return ServiceState(
            "quota", f"waiting for quota: {refusal}", hint="raise the quota, or wait for others", notify_after_s=0.0,
            waits_for_capacity=True,
        )  # fmt: skip
    if MAY_PASS.search(refusal):
        text, hint = f"no pod could be created yet: {refusal}", "check that the webhook's controller runs"
        hint = hint if "webhook" in refusal else ""
        return ServiceState("away", text, hint=hint, patience_s=_SILENT_S, notify_after_s=0.0, away=True)
    text = f"no pod may be created: {refusal}"
    hint = "ask the administrator of the namespace's limits"
    return ServiceState("pod-refused", text, patience_s=_REFUSED_S, hint=hint)


def _no_deployment(snapshot: TrialSnapshot) -> ServiceState:
    messages = {event.get("reason", ""): message_of(event) for event in snapshot.events(snapshot.uid)}
    if "DeploymentModeError" in messages:
        text = f"OME cannot deploy it: {messages['DeploymentModeError']}"
        return _final("mode", text, FailureKind.CONFIGURATION, "give spec.engine in the template")
    if "RuntimeValidationError" in messages:
        return ServiceState(
            "refused",
            f"OME rejects it: {messages['RuntimeValidationError']}",
            FailureKind.CONFIGURATION,
            "check that the runtime exists and supports the model, and that the model is ready on a node",
            patience_s=_REFUSED_S,
            notify_after_s=0.0,
        )
    reported = _model_failure(snapshot)
    if reported:
        return ServiceState(
            "model",
            reported,
            hint=_hint_of_failure(reported),
            patience_s=_SILENT_S,
            notify_after_s=_QUIET_S,
            waits_for_controller=True,
        )
    others = [f"{reason}: {text}" for reason, text in messages.items() if reason not in _HARMLESS]
    text = f"OME has created nothing for inferenceservice {snapshot.name}" + (f": {others[-1]}" if others else "")
    hint = (
        "check that OME's controller runs, and its log for this name; it reports nothing for a '{{' in a value or a "
        "runner without a name"
    )
    return ServiceState(
        "silent", text, hint=hint, patience_s=_SILENT_S, notify_after_s=_QUIET_S, waits_for_controller=True
    )


def _creation_refused(snapshot: TrialSnapshot) -> str | None:
    """Return why no pod could be created, from conditions of the Deployment and ReplicaSets or from events."""
    for obj in (*snapshot.deployments, *snapshot.replica_sets):
        if is_true(obj, "ReplicaFailure"):
            return str(condition(obj, "ReplicaFailure").get("message", ""))
    for obj in snapshot.replica_sets:
        for event in reversed(snapshot.events(uid_of(obj))):
            if event.get("reason") == "FailedCreate":
                return message_of(event)
    return None


def _pods(snapshot: TrialSnapshot) -> ServiceState:
    live = snapshot.live
    if len(live) == 1 and is_true(live[0], "Ready"):
        assert snapshot.service is not None
        if is_true(snapshot.service, "Ready"):
            return ServiceState("ready", pod=live[0])
    for pod in live:
        crash = crash_of(pod)
        if crash is not None:
            return ServiceState("crashed", crash.text, patience_s=0.0, crash=crash, pod=pod)
    dead = [pod for pod in snapshot.pods if has_ended(pod) and not terminating(pod)]
    if dead:
        return _evicted(dead[-1])
    if not live:
        return ServiceState("replaced", "its pod is being deleted by another client", notify_after_s=_QUIET_S)
    if len(live) > 1:
        text = f"{len(live)} pods serve it instead of one: {' and '.join(name_of(pod) for pod in live)}"
        return ServiceState(
            "several", text, hint="check what scales it", patience_s=10.0, notify_after_s=0.0, pod=live[-1]
        )
    return _pod(snapshot, live[0])


def _pod(snapshot: TrialSnapshot, pod: Object) -> ServiceState:
    """Return the state of a service with one running pod, where the pod or the service is not Ready."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _unscheduled(pod, str(scheduled.get("reason", "")), str(scheduled.get("message", "")), snapshot)
    for waiting in waiting_in(pod):
        state = _blocked(pod, str(waiting.get("reason", "")), str(waiting.get("message", "")))
        if state is not None:
            return state
    if is_true(pod, "Ready"):
        assert snapshot.service is not None
        messages = [
            str(c.get("message") or c.get("reason") or "") for c in conditions(snapshot.service) if c["type"] == "Ready"
        ]
        text = f"its pod is Ready, but OME does not report {snapshot.name} as Ready" + (
            f" ({messages[0]})" if any(messages) else ""
        )
        hint = "check that OME's controller runs, and its log for this name"
        return ServiceState(
            "status", text, hint=hint, patience_s=_SILENT_S, notify_after_s=_QUIET_S, waits_for_controller=True, pod=pod
        )
    return _starting(snapshot, pod)


def _starting(snapshot: TrialSnapshot, pod: Object) -> ServiceState:
    """Return the state of a service whose pod starts, with what its volumes or OME report meanwhile."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    if any("running" in (one.get("state") or {}) for one in statuses):
        # The engine's log says more, and an event stays after its cause has gone.
        return ServiceState("starting", pod=pod)
    volumes = [message_of(one) for one in snapshot.events(uid_of(pod)) if one.get("reason") in _VOLUME_EVENTS]
    if volumes:
        text = f"its volumes are not mounted: {volumes[-1]}"
        hint = "check the model's path on the node and the pod's volumes; the kubelet tries again"
        return ServiceState("volumes", text, hint=hint, notify_after_s=_QUIET_S, pod=pod)
    reported = _model_failure(snapshot)
    if reported:
        return ServiceState("starting", reported, hint=_hint_of_failure(reported), notify_after_s=_QUIET_S, pod=pod)
    return ServiceState("starting", pod=pod)


def _model_failure(snapshot: TrialSnapshot) -> str:
    """Return why OME's status reports that the model failed to load; empty if it does not."""
    status = ((snapshot.service or {}).get("status") or {}).get("modelStatus") or {}
    info = status.get("lastFailureInfo") or {}
    if status.get("transitionStatus") not in _MODEL_FAILED or not info:
        return ""
    parts = [str(info.get(key) or "") for key in ("reason", "message")]
    code = info.get("exitCode")
    text = ": ".join(part for part in parts if part) or "no reason is given"
    # OME reports a container that keeps ending in the status of the model, too.
    what = "the engine's container fails to start" if _CONTAINER_FAILED in text else "the model failed to load"
    return f"OME reports that {what}: {text}" + (f" (exit code {code})" if code else "")


def _hint_of_failure(reported: str) -> str:
    return "read the engine's log and its last state in the pod" if _CONTAINER_FAILED in reported else _MODEL_HINT


def _unscheduled(pod: Object, reason: str, message: str, snapshot: TrialSnapshot) -> ServiceState:
    detail = message or reason or "no node was found yet"
    scaling = any(event.get("reason") == "TriggeredScaleUp" for event in snapshot.events(uid_of(pod)))
    if scaling or UNSCHEDULABLE_NOW.search(message):
        text = f"waiting for a free node: {detail}"
        return ServiceState(
            "no-room",
            text,
            hint="free GPUs, or lower deploy.parallel",
            notify_after_s=0.0,
            waits_for_capacity=True,
            pod=pod,
        )
    if reason != "Unschedulable":
        return ServiceState("unscheduled", detail, notify_after_s=_QUIET_S, pod=pod)
    hint = "check that the model is ready on a node, and the node selectors, claims and tolerations"
    return _final("unschedulable", f"no node fits: {detail}", FailureKind.INFRASTRUCTURE, hint, pod)


def _blocked(pod: Object, reason: str, message: str) -> ServiceState | None:
    """Return the state of a service whose container cannot start; None if it waits as usual."""
    text = f"{reason}: {message}" if message else reason
    infrastructure = FailureKind.INFRASTRUCTURE
    if reason in NO_IMAGE:
        hint = "check the image's name in the runtime, and that the nodes may pull it"
        if reason == "ErrImagePull" and not _IMAGE_REFUSED.search(message):
            # A registry may fail once; the second time it is ImagePullBackOff.
            return ServiceState("image", text, hint=hint, patience_s=_QUIET_S, notify_after_s=0.0, pod=pod)
        return _final("image", text, infrastructure, hint, pod)
    if reason in NO_CONTAINER:
        hint = "check the secrets, config maps, volumes and command it names"
        if MAY_PASS.search(message):
            return ServiceState("container", text, hint=hint, notify_after_s=0.0, pod=pod)
        return _final("container", text, infrastructure, hint, pod)
    return None


def _evicted(pod: Object) -> ServiceState:
    status = pod.get("status") or {}
    reason = str(status.get("reason") or "Failed")
    message = str(status.get("message") or "")
    text = f"pod {name_of(pod)} was ended by the cluster: {reason}" + (f": {message}" if message else "")
    return _final("evicted", text, FailureKind.INFRASTRUCTURE, "check its node", pod)


def message_of(event: Object) -> str:
    """Return an event's message in one line."""
    return " ".join(str(event.get("message", "")).split())
