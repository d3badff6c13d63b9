"""The objects of studies in a namespace: their study, the GPUs they hold, and whether a run holds the lease."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import (
    BENCHMARK_JOB,
    CONFIG_MAP,
    INFERENCE_SERVICE,
    JOB,
    LEASE,
    POD,
    Kind,
    Object,
    labels_of,
    name_of,
)
from autotune_nb.cluster.names import STUDY_LABEL
from autotune_nb.cluster.session import expired
from autotune_nb.errors import ClusterError

#: The kinds of objects that a study creates; its anchor is a ConfigMap.
STUDY_KINDS = (INFERENCE_SERVICE, BENCHMARK_JOB, JOB, POD, CONFIG_MAP)
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class ClusterObject:
    """An object and its kind."""

    kind: Kind
    body: Object

    @property
    def name(self) -> str:
        """The name in messages, such as ``InferenceService tune/at-chat-t0007-…``."""
        return f"{self.kind.name} {self.body['metadata'].get('namespace', '')}/{name_of(self.body)}"

    @property
    def created_by_controller(self) -> bool:
        """Whether a controller created it for another object, and would create it again if it were deleted alone."""
        return any(owner.get("controller") for owner in self.body["metadata"].get("ownerReferences") or ())

    @property
    def anchor_or_lease(self) -> bool:
        """Whether it is the study's anchor or lease."""
        if self.kind is CONFIG_MAP:
            return (self.body.get("data") or {}).get("study") == labels_of(self.body).get(STUDY_LABEL)
        return self.kind is LEASE


@dataclass(frozen=True)
class StudyObjects:
    """The objects of one study in a namespace."""

    label: str
    objects: tuple[ClusterObject, ...]

    @property
    def anchor(self) -> Object | None:
        """The ConfigMap that owns the study's other objects; None if it is gone."""
        return next((one.body for one in self.objects if one.kind is CONFIG_MAP and one.anchor_or_lease), None)

    @property
    def lease(self) -> Object | None:
        """The study's Lease; None if there is none."""
        return next((one.body for one in self.objects if one.kind is LEASE), None)

    @property
    def name(self) -> str:
        """The anchor's name, or the study's label if the anchor is gone."""
        return name_of(self.anchor) if self.anchor else self.label

    @property
    def task(self) -> str:
        """The task's name; empty if the anchor is gone."""
        return str((self.anchor or {}).get("data", {}).get("task", ""))

    @property
    def holder(self) -> str:
        """The current or last holder of the lease; empty if there is none."""
        return str((self.lease or {}).get("spec", {}).get("holderIdentity", "") or "")

    @property
    def held(self) -> bool:
        """Whether its lease is valid and its holder is no process of this machine that has ended."""
        return self.lease is not None and not expired(self.lease["spec"]) and not _ended_here(self.holder)

    @property
    def lease_status(self) -> str:
        """The lease's state for a message."""
        if self.lease is None:
            return "no lease"
        age_s, duration_s = _age_s(self.lease["spec"]), self.lease["spec"].get("leaseDurationSeconds") or 0
        if age_s is None:
            return f"lease of {self.holder or 'nobody'}, never renewed"
        if expired(self.lease["spec"]):
            return f"lease of {self.holder}, expired {age_s - duration_s:.0f} s ago"
        if not self.held:
            return f"lease of {self.holder}, which has ended"
        return f"held by {self.holder}, renewed {max(age_s, 0):.0f} s ago"

    @property
    def counts(self) -> dict[str, int]:
        """The number of objects of each kind."""
        return dict(Counter(one.kind.name for one in self.objects))

    @property
    def gpus(self) -> int:
        """The number of GPUs its pods hold; a pod that is not scheduled holds none."""
        pods = (one.body for one in self.objects if one.kind is POD)
        return sum(
            _gpus(pod)
            for pod in pods
            if pod["spec"].get("nodeName") and (pod.get("status") or {}).get("phase") not in _ENDED
        )

    def lines(self) -> list[str]:
        """What a deletion would delete: a line for the study, then one for each object that no controller created."""
        about = ", ".join(filter(None, (f"task {self.task!r}" if self.task else "", self.lease_status)))
        gpus = f", {self.gpus} GPUs held" if self.gpus else ""
        counts = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        head = f"study {self.name} ({about}): {counts}{gpus}"
        return [head, *(f"  {one.name}" for one in self.objects if not one.created_by_controller)]

    def to_dict(self) -> dict[str, Any]:
        """The study as a JSON object."""
        return {
            "study": self.label,
            "name": self.name,
            "task": self.task,
            "holder": self.holder,
            "held": self.held,
            "lease": self.lease_status,
            "objects": self.counts,
            "gpus": self.gpus,
        }


async def find_studies(cluster: Cluster, namespace: str | None = None) -> list[StudyObjects]:
    """Return every study that has objects in a namespace, with or without an anchor. Raises ClusterError."""
    by_label: defaultdict[str, list[ClusterObject]] = defaultdict(list)
    for one in await list_objects(cluster, STUDY_LABEL, namespace):
        by_label[labels_of(one.body)[STUDY_LABEL]].append(one)
    return sorted((StudyObjects(label, tuple(objects)) for label, objects in by_label.items()), key=lambda s: s.name)


async def list_objects(
    cluster: Cluster, selector: str, namespace: str | None = None, kinds: Iterable[Kind] = (*STUDY_KINDS, LEASE)
) -> list[ClusterObject]:
    """Return the objects that match a label selector, kind by kind. Raises ClusterError."""

    async def of_kind(kind: Kind) -> list[ClusterObject]:
        try:
            found, _ = await cluster.list(kind, selector=selector, namespace=namespace)
        except ClusterError as error:
            # A cluster without OME does not serve its kinds.
            if error.status == 404:
                return []
            raise
        return [ClusterObject(kind, obj) for obj in found]

    return [one for some in await asyncio.gather(*map(of_kind, kinds)) for one in some]


def _ended_here(holder: str) -> bool:
    """Whether the holder is a process of this machine that has ended."""
    host, _, rest = holder.partition("/")
    pid = rest.partition("/")[0]
    return (
        host == socket.gethostname() and pid.isdigit() and int(pid) != os.getpid() and not psutil.pid_exists(int(pid))
    )


def _age_s(spec: Object) -> float | None:
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]).replace("Z", "+00:00"))
        return (datetime.now(UTC) - renewed).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None


def _gpus(pod: Object) -> int:
    total = 0
    for container in pod["spec"].get("containers") or ():
        for resource, count in ((container.get("resources") or {}).get("requests") or {}).items():
            if "/" in resource and ("gpu" in resource or "/mig-" in resource) and str(count).isdigit():
                total += int(count)
    return total
