"""What keeps a short-lived pod, a benchmark's or a reader's, from doing its work, or from being made at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autotune_nb.cluster.api_errors import QUOTA
from autotune_nb.cluster.kinds import Object, name_of, terminating

#: What may pass: others end, and a claim that was just made gets its volume.
_NO_ROOM = re.compile(r"Insufficient |Too many pods|unbound immediate PersistentVolumeClaims", re.IGNORECASE)
_PASSING = re.compile(r"failed calling webhook|internal error|timed? ?out|too many requests|try again", re.IGNORECASE)
_CANNOT_START = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)


@dataclass(frozen=True)
class Trouble:
    """Why there is no pod, or why it does not run or ended: never for what is measured. With ``may_pass`` it is worth
    waiting for."""

    text: str
    hint: str = ""
    may_pass: bool = False


def refused(warnings: Sequence[Object]) -> Trouble | None:
    """Why nothing is made of a Job or for it, as the warnings about it say, the newest last."""
    for event in reversed(warnings):
        told = " ".join(str(event.get("message", "")).split())
        if QUOTA in told:
            return Trouble(f"waiting for quota: {told}", "raise the quota, or wait for others", may_pass=True)
        if event.get("reason") == "FailedCreate":
            passing = bool(_PASSING.search(told))
            what = "no pod could be made yet" if passing else "no pod may be made"
            return Trouble(f"{what}: {told}", "ask who keeps the namespace's limits", may_pass=passing)
    return None


def trouble(pod: Object) -> Trouble | None:
    """What is wrong with a pod; None where it is starting, runs, or has ended well."""
    name, status = name_of(pod), pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            told = condition.get("message") or condition.get("reason") or "no node was found"
            return Trouble(
                f"pod {name} is not scheduled: {told}",
                "see the claim, the node selectors and tolerations (benchmark.pod) and what is free on the nodes",
                may_pass=bool(_NO_ROOM.search(str(told))) or condition.get("reason") != "Unschedulable",
            )
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _CANNOT_START:
            image = "see benchmark.image, and whether the nodes may pull it" if "Image" in waiting["reason"] else ""
            return Trouble(f"pod {name} cannot start: {waiting['reason']}: {waiting.get('message', '')}", image)
        over = (one.get("state") or {}).get("terminated") or {}
        if over.get("reason") == "OOMKilled":
            return Trouble(f"pod {name} ran out of memory", "raise resources.limits.memory in benchmark.pod")
    if status.get("phase") == "Failed" and status.get("reason"):
        return Trouble(f"pod {name} was ended from outside: {status['reason']}: {status.get('message', '')}")
    return None


def ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def exit_code(pod: Object) -> int | None:
    """The exit code of its only container; None while that has none."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        over = (one.get("state") or {}).get("terminated")
        if over:
            return int(over.get("exitCode", 0))
    return None


def has_log(pod: Object) -> bool:
    """Whether its container has started at least once."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        state = one.get("state") or {}
        if "running" in state or "terminated" in state:
            return True
    return False


def youngest(pods: list[Object]) -> Object | None:
    """The pod that counts, where a controller has made another."""
    live = [pod for pod in pods if not terminating(pod)] or pods
    return max(live, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)
