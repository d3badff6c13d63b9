"""Every right that a study needs in its namespace, asked one by one before anything is made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from autotune_nb.cluster.client import Cluster

_AT_ONCE = 8


@dataclass(frozen=True)
class Right:
    """A verb on a resource, in the namespace or in the whole cluster."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    everywhere: bool = False

    @property
    def text(self) -> str:
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {name}" + (f"/{self.subresource}" if self.subresource else "")


def _rights(group: str, resource: str, verbs: str, subresource: str = "", *, everywhere: bool = False) -> list[Right]:
    return [Right(verb, resource, group, subresource, everywhere) for verb in verbs.split()]


def needed(executor: str, *, inside: bool, creates: Iterable[str] = ()) -> list[Right]:
    """What a study with this executor asks of the API server. ``creates`` are kinds of OME's the task brings along."""
    rights = [
        *_rights("ome.io", "inferenceservices", "get list watch create delete"),
        *_rights("", "pods", "get list watch delete"),
        *_rights("", "pods", "get", "log"),
        *_rights("", "events", "list watch"),
        *_rights("", "services", "list watch"),
        *_rights("", "configmaps", "get list create delete"),
        *_rights("apps", "deployments", "list watch"),
        *_rights("apps", "replicasets", "list watch"),
        *_rights("batch", "jobs", "list watch"),
        *_rights("ome.io", "benchmarkjobs", "list watch"),
        *_rights("coordination.k8s.io", "leases", "get list create update delete"),
        *_rights("ome.io", "clusterbasemodels", "get", everywhere=True),
        *_rights("ome.io", "clusterservingruntimes", "get", everywhere=True),
    ]
    if not inside:
        rights += _rights("", "pods", "get create", "portforward")
    if executor == "benchmark_job":
        rights += [*_rights("ome.io", "benchmarkjobs", "get create delete"), *_rights("", "pods", "create")]
    if executor == "job":
        rights += _rights("batch", "jobs", "get create delete")
    for resource in creates:
        rights += _rights("ome.io", resource, "create", everywhere=True)
    return rights


async def missing(cluster: Cluster, rights: Iterable[Right]) -> list[Right]:
    """Those of the rights that this account lacks. Raises ClusterError where it may not even ask."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def lacks(right: Right) -> bool:
        async with room:
            return not await cluster.may(
                right.verb, right.resource, right.group, right.subresource, everywhere=right.everywhere
            )

    asked = list(rights)
    lacking = await asyncio.gather(*map(lacks, asked))
    return [right for right, lack in zip(asked, lacking, strict=True) if lack]
