"""The permissions that a study needs, and those that an account lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CLAIM, CLUSTER_BASE_MODEL, CLUSTER_SERVING_RUNTIME
from autotune_nb.task.task import Task

_PARALLEL_REVIEWS = 8


@dataclass(frozen=True)
class Permission:
    """A verb on a resource, in the namespace or in the whole cluster."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    cluster_wide: bool = False

    @property
    def name(self) -> str:
        """The resource, such as ``jobs.batch`` or ``pods/log``."""
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return name + (f"/{self.subresource}" if self.subresource else "")

    @property
    def text(self) -> str:
        """The verb and the resource, such as ``get pods/log``."""
        return f"{self.verb} {self.name}"


def _permissions(
    group: str, resource: str, verbs: str, subresource: str = "", *, cluster_wide: bool = False
) -> list[Permission]:
    return [Permission(verb, resource, group, subresource, cluster_wide) for verb in verbs.split()]


def required(executor: str, *, inside: bool, claim: bool = False, creates: Iterable[str] = ()) -> list[Permission]:
    """Return the permissions that a study with this executor needs.

    ``claim`` is whether results are stored on a claim, ``creates`` the plurals of the kinds that the task creates.
    """
    permissions = [
        *_permissions("ome.io", "inferenceservices", "get list watch create delete"),
        *_permissions("", "pods", "get list watch delete"),
        *_permissions("", "pods", "get", "log"),
        *_permissions("", "events", "list watch"),
        *_permissions("", "services", "list watch"),
        *_permissions("", "configmaps", "get list create delete"),
        *_permissions("", "resourcequotas", "list"),
        *_permissions("apps", "deployments", "list watch"),
        *_permissions("apps", "replicasets", "list watch"),
        *_permissions("batch", "jobs", "list watch"),
        *_permissions("ome.io", "benchmarkjobs", "list watch"),
        *_permissions("coordination.k8s.io", "leases", "get list create update delete"),
        *_permissions("ome.io", "clusterbasemodels", "get", cluster_wide=True),
        *_permissions("ome.io", "clusterservingruntimes", "get", cluster_wide=True),
    ]
    if not inside:
        permissions += _permissions("", "pods", "get create", "portforward")
    if executor == "benchmark_job":
        permissions += _permissions("ome.io", "benchmarkjobs", "get create delete")
    if executor == "benchmark_job" and claim:
        # The pod that reads the results.
        permissions += _permissions("", "pods", "create")
    if executor == "job":
        permissions += _permissions("batch", "jobs", "get create delete")
    if claim:
        permissions += _permissions("", CLAIM.plural, "get")
    for resource in creates:
        if resource == CLAIM.plural:
            permissions += _permissions("", resource, "create")
        else:
            permissions += _permissions("ome.io", resource, "create", cluster_wide=True)
    return permissions


def required_by(task: Task, executor: str, *, inside: bool) -> list[Permission]:
    """Return the permissions that a study of this task needs."""
    deploy, benchmark = task.deploy, task.benchmark
    claim = (benchmark.results or "").startswith("pvc://")
    created = (
        (CLUSTER_BASE_MODEL, deploy.clusterbasemodel),
        (CLUSTER_SERVING_RUNTIME, deploy.clusterservingruntime),
        (CLAIM, benchmark.results_size if claim else None),
    )
    creates = [kind.plural for kind, spec in created if spec is not None]
    # The executor direct does not use the claim, but creates it if the task says so.
    used = claim and (executor != "direct" or CLAIM.plural in creates)
    found = required(executor, inside=inside, claim=used, creates=creates)
    reads = Permission("get", CLAIM.plural)
    return [*found, reads] if isinstance(deploy.caches, str) and reads not in found else found


async def missing_permissions(cluster: Cluster, permissions: Iterable[Permission]) -> list[Permission]:
    """Return the permissions that this account lacks. Raises ClusterError if it may not create access reviews."""
    slots = asyncio.Semaphore(_PARALLEL_REVIEWS)

    async def lacks(permission: Permission) -> bool:
        async with slots:
            return not await cluster.is_allowed(
                permission.verb,
                permission.resource,
                permission.group,
                permission.subresource,
                cluster_wide=permission.cluster_wide,
            )

    listed = list(permissions)
    lacking = await asyncio.gather(*map(lacks, listed))
    return [permission for permission, lack in zip(listed, lacking, strict=True) if lack]
