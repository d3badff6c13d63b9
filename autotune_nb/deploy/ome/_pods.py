"""What a pod says of its containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autotune_nb.cluster.kinds import Object, name_of

_OOM_EXIT = 137


@dataclass(frozen=True)
class Crash:
    """A container that ended: its log says why."""

    pod: str
    container: str
    exit_code: int
    reason: str
    init: bool = False

    @property
    def out_of_memory(self) -> bool:
        return self.reason == "OOMKilled" or self.exit_code == _OOM_EXIT

    @property
    def told(self) -> str:
        who = f"init container {self.container}" if self.init else "the engine"
        reason = f" ({self.reason})" if self.reason not in ("", "Error") else ""
        return f"{who} ended with exit code {self.exit_code}{reason}"


def crash_of(pod: Object) -> Crash | None:
    """The container of a pod that ended and should not have; None where all run or have not started."""
    for status, init in _statuses(pod):
        for state in ("state", "lastState"):
            over = (status.get(state) or {}).get("terminated")
            if over and not (init and over.get("exitCode") == 0):
                code, reason = int(over.get("exitCode", 0)), str(over.get("reason") or "")
                return Crash(name_of(pod), status["name"], code, reason, init)
    return None


def restarts_of(pod: Object) -> int:
    """How often containers of a pod were started again."""
    return sum(int(status.get("restartCount", 0)) for status, _ in _statuses(pod))


def ended_now(pod: Object) -> bool:
    return any((status.get("state") or {}).get("terminated") for status, init in _statuses(pod) if not init)


def waiting_in(pod: Object) -> Iterator[Mapping[str, Any]]:
    for status, _ in _statuses(pod):
        waiting = (status.get("state") or {}).get("waiting")
        if waiting:
            yield waiting


def _statuses(pod: Object) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Each container's status, and whether it is one that has to end before the others start."""
    status = pod.get("status") or {}
    for one in status.get("initContainerStatuses") or ():
        yield one, True
    for one in status.get("containerStatuses") or ():
        yield one, False


def ended(pod: Object) -> bool:
    """Whether a pod is over for good, and holds nothing any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_true(obj: Object, name: str) -> bool:
    return condition(obj, name).get("status") == "True"


def conditions(obj: Object) -> Iterable[Mapping[str, Any]]:
    return (obj.get("status") or {}).get("conditions") or ()


def condition(obj: Object, name: str) -> Mapping[str, Any]:
    return next((one for one in conditions(obj) if one["type"] == name), {})


def owners(obj: Object) -> set[str]:
    return {str(owner.get("uid")) for owner in obj["metadata"].get("ownerReferences") or ()}
