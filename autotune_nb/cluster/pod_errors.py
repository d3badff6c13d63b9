"""Why a short-lived pod, such as a benchmark's, is not created, does not start or was ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.cluster.api_errors import MAY_PASS, QUOTA_EXCEEDED
from autotune_nb.cluster.kinds import Object, name_of

#: Reasons that may pass: other pods end, and a new claim gets its volume.
UNSCHEDULABLE_NOW = re.compile(r"Insufficient |Too many pods|unbound immediate PersistentVolumeClaims", re.IGNORECASE)
#: Reasons for which a container waits that cannot start.
NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
NO_CONTAINER = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError")


@dataclass(frozen=True)
class PodError:
    """Why a pod is not created, does not start or was ended, for a reason outside its container's program.

    A ``transient`` error may pass. With ``away``, the cluster or a webhook does not respond: it concerns every pod.
    """

    text: str
    hint: str = ""
    transient: bool = False
    away: bool = False


def creation_error(warnings: Sequence[Object]) -> PodError | None:
    """Return why no pod is created for a Job, from the warnings about it, oldest first; None if none says so."""
    for event in reversed(warnings):
        message = " ".join(str(event.get("message", "")).split())
        if QUOTA_EXCEEDED in message:
            return PodError(f"waiting for quota: {message}", "raise the quota, or wait for others", transient=True)
        if event.get("reason") == "FailedCreate":
            if MAY_PASS.search(message):
                hint = "check that the webhook's controller runs" if "webhook" in message else ""
                return PodError(f"no pod could be created yet: {message}", hint, transient=True, away=True)
            return PodError(f"no pod may be created: {message}", "ask the administrator of the namespace's limits")
    return None


def pod_error(pod: Object) -> PodError | None:
    """Return what is wrong with a pod; None while it starts or runs, or if it has succeeded."""
    name, status = name_of(pod), pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = condition.get("message") or condition.get("reason") or "no node was found"
            return PodError(
                f"pod {name} is not scheduled: {message}",
                "check the claim, node selectors and tolerations (benchmark.pod), and the nodes' free resources",
                transient=bool(UNSCHEDULABLE_NOW.search(str(message))) or condition.get("reason") != "Unschedulable",
            )
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in (*NO_IMAGE, *NO_CONTAINER):
            image = "check benchmark.image, and that the nodes may pull it" if waiting["reason"] in NO_IMAGE else ""
            return PodError(f"pod {name} cannot start: {waiting['reason']}: {waiting.get('message', '')}", image)
        terminated = (one.get("state") or {}).get("terminated") or {}
        if terminated.get("reason") == "OOMKilled":
            return PodError(f"pod {name} ran out of memory", "raise resources.limits.memory in benchmark.pod")
    if status.get("phase") == "Failed" and status.get("reason"):
        return PodError(f"pod {name} was ended by the cluster: {status['reason']}: {status.get('message', '')}")
    return None


def has_ended(pod: Object) -> bool:
    """Whether all containers have ended."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def exit_code(pod: Object) -> int | None:
    """Return the exit code of the pod's only container; None while it has none."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        terminated = (one.get("state") or {}).get("terminated")
        if terminated:
            return int(terminated.get("exitCode", 0))
    return None


def has_log(pod: Object) -> bool:
    """Whether the pod's container has started."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        state = one.get("state") or {}
        if "running" in state or "terminated" in state:
            return True
    return False
