"""Every right that a study needs in its namespace, asked one by one before anything is made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CLAIM, CLUSTER_BASE_MODEL, CLUSTER_SERVING_RUNTIME
from autotune_nb.task.task import Task

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
    def name(self) -> str:
        """What it is a right on: ``jobs.batch``, ``pods/log``."""
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return name + (f"/{self.subresource}" if self.subresource else "")

    @property
    def text(self) -> str:
        return f"{self.verb} {self.name}"


def _rights(group: str, resource: str, verbs: str, subresource: str = "", *, everywhere: bool = False) -> list[Right]:
    return [Right(verb, resource, group, subresource, everywhere) for verb in verbs.split()]


def needed(executor: str, *, inside: bool, claim: bool = False, creates: Iterable[str] = ()) -> list[Right]:
    """What a study with this executor asks of the API server.

    ``claim``: results go to one. ``creates``: plurals of the kinds that the task brings along.
    """
    rights = [
        *_rights("ome.io", "inferenceservices", "get list watch create delete"),
        *_rights("", "pods", "get list watch delete"),
        *_rights("", "pods", "get", "log"),
        *_rights("", "events", "list watch"),
        *_rights("", "services", "list watch"),
        *_rights("", "configmaps", "get list create delete"),
        *_rights("", "resourcequotas", "list"),
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
        rights += _rights("ome.io", "benchmarkjobs", "get create delete")
    if executor == "benchmark_job" and claim:
        # The pod that reads the results back.
        rights += _rights("", "pods", "create")
    if executor == "job":
        rights += _rights("batch", "jobs", "get create delete")
    if claim:
        rights += _rights("", CLAIM.plural, "get")
    for resource in creates:
        if resource == CLAIM.plural:
            rights += _rights("", resource, "create")
        else:
            rights += _rights("ome.io", resource, "create", everywhere=True)
    return rights


def needed_by(task: Task, executor: str, *, inside: bool) -> list[Right]:
    """What a study of this task asks of the API server."""
    deploy, benchmark = task.deploy, task.benchmark
    claim = (benchmark.results or "").startswith("pvc://")
    brought = (
        (CLUSTER_BASE_MODEL, deploy.clusterbasemodel),
        (CLUSTER_SERVING_RUNTIME, deploy.clusterservingruntime),
        (CLAIM, benchmark.results_size if claim else None),
    )
    creates = [kind.plural for kind, spec in brought if spec is not None]
    # Beside this process a claim is of no use, and left alone unless it is to be made.
    used = claim and (executor != "direct" or CLAIM.plural in creates)
    return needed(executor, inside=inside, claim=used, creates=creates)


async def missing(cluster: Cluster, rights: Iterable[Right]) -> list[Right]:
    """Those of the rights that this account lacks. Raises ClusterError where it may not even ask."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def lacks(right: Right) -> bool:
        async with room:
            return not await cluster.is_allowed(
                right.verb, right.resource, right.group, right.subresource, cluster_wide=right.everywhere
            )

    asked = list(rights)
    lacking = await asyncio.gather(*map(lacks, asked))
    return [right for right, lack in zip(asked, lacking, strict=True) if lack]
