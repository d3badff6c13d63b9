"""The studies that have something in a namespace: whose they are, what they hold, whether somebody works on them."""

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

#: What a study makes, its anchor among the last of them.
MADE = (INFERENCE_SERVICE, BENCHMARK_JOB, JOB, POD, CONFIG_MAP)
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Thing:
    """One object and its kind."""

    kind: Kind
    object: Object

    @property
    def name(self) -> str:
        """As messages have it: ``InferenceService tune/at-chat-t0007-…``."""
        return f"{self.kind.name} {self.object['metadata'].get('namespace', '')}/{name_of(self.object)}"

    @property
    def derived(self) -> bool:
        """Whether a controller made it for another object, and would make it again were it alone deleted."""
        return any(owner.get("controller") for owner in self.object["metadata"].get("ownerReferences") or ())

    @property
    def of_study(self) -> bool:
        """Whether it is the study's own anchor or lease."""
        if self.kind is CONFIG_MAP:
            return (self.object.get("data") or {}).get("study") == labels_of(self.object).get(STUDY_LABEL)
        return self.kind is LEASE


@dataclass(frozen=True)
class FoundStudy:
    """One study's objects in a namespace."""

    label: str
    things: tuple[Thing, ...]

    @property
    def anchor(self) -> Object | None:
        return next((t.object for t in self.things if t.kind is CONFIG_MAP and t.of_study), None)

    @property
    def lease(self) -> Object | None:
        return next((t.object for t in self.things if t.kind is LEASE), None)

    @property
    def name(self) -> str:
        """The anchor's name; the label where the anchor is gone."""
        return name_of(self.anchor) if self.anchor else self.label

    @property
    def task(self) -> str:
        """The task's name, as far as that is known."""
        return str((self.anchor or {}).get("data", {}).get("task", ""))

    @property
    def holder(self) -> str:
        """Who has the lease or had it last."""
        return str((self.lease or {}).get("spec", {}).get("holderIdentity", "") or "")

    @property
    def held(self) -> bool:
        """Whether its lease is renewed; not by a process of this machine that is gone."""
        return self.lease is not None and not expired(self.lease["spec"]) and not _died_here(self.holder)

    @property
    def standing(self) -> str:
        """The lease in words."""
        if self.lease is None:
            return "no lease"
        age_s, lasts_s = _age_s(self.lease["spec"]), self.lease["spec"].get("leaseDurationSeconds") or 0
        if age_s is None:
            return f"a lease of {self.holder or 'nobody'} that was never renewed"
        if expired(self.lease["spec"]):
            return f"its lease ran out {age_s - lasts_s:.0f} s ago; {self.holder} had it"
        if not self.held:
            return f"its lease is of {self.holder}, which runs no more"
        return f"held by {self.holder}, renewed {max(age_s, 0):.0f} s ago"

    @property
    def counts(self) -> dict[str, int]:
        """How many objects of each kind."""
        return dict(Counter(thing.kind.name for thing in self.things))

    @property
    def gpus(self) -> int:
        """How many GPUs its pods hold; one that waits for a node holds none."""
        pods = (t.object for t in self.things if t.kind is POD)
        return sum(
            _gpus(pod)
            for pod in pods
            if pod["spec"].get("nodeName") and (pod.get("status") or {}).get("phase") not in _ENDED
        )

    def lines(self) -> list[str]:
        """What deleting the study would delete: a line for the study, and one an object; pods go with their owners."""
        known = ", ".join(filter(None, (f"task {self.task!r}" if self.task else "", self.standing)))
        gpus = f", {self.gpus} GPUs held" if self.gpus else ""
        there = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        head = f"study {self.name} ({known}): {there}{gpus}"
        return [head, *(f"  {thing.name}" for thing in self.things if not thing.derived)]

    def to_dict(self) -> dict[str, Any]:
        return {
            "study": self.label,
            "name": self.name,
            "task": self.task,
            "holder": self.holder,
            "held": self.held,
            "lease": self.standing,
            "objects": self.counts,
            "gpus": self.gpus,
        }


async def find_studies(cluster: Cluster, namespace: str | None = None) -> list[FoundStudy]:
    """Every study that has something in a namespace, those without an anchor too. Raises ClusterError."""
    by_label: defaultdict[str, list[Thing]] = defaultdict(list)
    for thing in await things(cluster, STUDY_LABEL, namespace):
        by_label[labels_of(thing.object)[STUDY_LABEL]].append(thing)
    return sorted((FoundStudy(label, tuple(found)) for label, found in by_label.items()), key=lambda s: s.name)


async def things(
    cluster: Cluster, selector: str, namespace: str | None = None, kinds: Iterable[Kind] = (*MADE, LEASE)
) -> list[Thing]:
    """The objects a label selector leaves, kind by kind. Raises ClusterError."""

    async def of(kind: Kind) -> list[Thing]:
        try:
            found, _ = await cluster.list(kind, selector=selector, namespace=namespace)
        except ClusterError as error:
            # A cluster without OME has none of its kinds.
            if error.status == 404:
                return []
            raise
        return [Thing(kind, obj) for obj in found]

    return [thing for some in await asyncio.gather(*map(of, kinds)) for thing in some]


def _died_here(holder: str) -> bool:
    """Whether the holder is a process of this machine that runs no more."""
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
