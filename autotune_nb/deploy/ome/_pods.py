"""Reading a pod's status and its containers'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autotune_nb.cluster.kinds import Object, name_of

_OOM_EXIT = 137


@dataclass(frozen=True)
class Crash:
    """A container that ended unexpectedly."""

    pod: str
    container: str
    exit_code: int
    reason: str
    init: bool = False

    @property
    def out_of_memory(self) -> bool:
        return self.reason == "OOMKilled" or self.exit_code == _OOM_EXIT

    @property
    def text(self) -> str:
        subject = f"init container {self.container}" if self.init else "the engine"
        reason = f" ({self.reason})" if self.reason not in ("", "Error") else ""
        return f"{subject} ended with exit code {self.exit_code}{reason}"


def crash_of(pod: Object) -> Crash | None:
    """Return the first container that ended unexpectedly; None if there is none."""
    for status, init in _statuses(pod):
        for state in ("state", "lastState"):
            terminated = (status.get(state) or {}).get("terminated")
            if terminated and not (init and terminated.get("exitCode") == 0):
                code, reason = int(terminated.get("exitCode", 0)), str(terminated.get("reason") or "")
                return Crash(name_of(pod), status["name"], code, reason, init)
    return None


def restarts_of(pod: Object) -> int:
    """Return the total number of restarts of a pod's containers."""
    return sum(int(status.get("restartCount", 0)) for status, _ in _statuses(pod))


def ended_now(pod: Object) -> bool:
    """Whether a container of a pod has ended and is not restarted yet."""
    return any((status.get("state") or {}).get("terminated") for status, init in _statuses(pod) if not init)


def waiting_in(pod: Object) -> Iterator[Mapping[str, Any]]:
    """Yield the waiting state of each container that has not started."""
    for status, _ in _statuses(pod):
        waiting = (status.get("state") or {}).get("waiting")
        if waiting:
            yield waiting


def _statuses(pod: Object) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield each container's status, and whether it is an init container."""
    status = pod.get("status") or {}
    for one in status.get("initContainerStatuses") or ():
        yield one, True
    for one in status.get("containerStatuses") or ():
        yield one, False


def is_true(obj: Object, name: str) -> bool:
    """Whether an object's condition has status True."""
    return condition(obj, name).get("status") == "True"


def conditions(obj: Object) -> Iterable[Mapping[str, Any]]:
    return (obj.get("status") or {}).get("conditions") or ()


def condition(obj: Object, name: str) -> Mapping[str, Any]:
    return next((one for one in conditions(obj) if one["type"] == name), {})


def owners(obj: Object) -> set[str]:
    """Return the uids of an object's owners."""
    return {str(owner.get("uid")) for owner in obj["metadata"].get("ownerReferences") or ()}
