"""Creates the model, the runtime and the claim for results of a task if they are missing."""

from __future__ import annotations

import asyncio
from typing import Any

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CLAIM, CLUSTER_BASE_MODEL, CLUSTER_SERVING_RUNTIME, Kind, Object
from autotune_nb.cluster.names import MANAGED_BY, MANAGED_LABEL
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError, SetupError
from autotune_nb.task.task import Task

_POLL_S = 2.0


async def provision(session: ClusterSession, task: Task) -> None:
    """Create the task's model, runtime and claim unless they exist. They remain after the study.

    Raises SetupError if they cannot be created, or if the model is not ready within ``deadlines.pending_s``.
    """
    cluster, deploy = session.cluster, task.deploy
    for kind, name, spec, field in (
        (CLUSTER_BASE_MODEL, task.model.id_or_path, deploy.clusterbasemodel, "deploy.clusterbasemodel"),
        (CLUSTER_SERVING_RUNTIME, deploy.runtime, deploy.clusterservingruntime, "deploy.clusterservingruntime"),
    ):
        if spec is None:
            continue
        if name is None:
            raise SetupError("is given without deploy.runtime, the name of the runtime to create", field=field)
        if await _create_missing(session, kind, name, {"spec": spec}, field) and kind is CLUSTER_BASE_MODEL:
            await _wait_until_ready(cluster, name, task.deadlines.pending_s)
    results, size = task.benchmark.results or "", task.benchmark.results_size
    if size is not None and results.startswith("pvc://"):
        claim = results.removeprefix("pvc://").split("/")[0]
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        await _create_missing(session, CLAIM, claim, {"spec": spec}, "benchmark.results_size")


async def _create_missing(session: ClusterSession, kind: Kind, name: str, body: Object, field: str) -> bool:
    """Create an object unless it exists. Returns whether it was created."""
    cluster = session.cluster
    try:
        found = await cluster.get(kind, name)
        if found is None:
            labels = {MANAGED_LABEL: MANAGED_BY}
            await cluster.create(kind, {"metadata": {"name": name, "labels": labels}, **body})
            session.notify(f"{kind.name} {name} was created; it remains after the study")
            return True
    except ClusterError as error:
        if error.status == 409:
            return False
        raise SetupError(f"{kind.name} {name} could not be created: {error}", field=field) from None
    if not _includes(found.get("spec"), body["spec"]):
        session.notify(f"{kind.name} {name} exists and differs from {field}; it is used unchanged")
    return False


async def _wait_until_ready(cluster: Cluster, name: str, within_s: float) -> None:
    """Wait until OME's model agent has stored the weights on a node."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        status = ((await cluster.get(CLUSTER_BASE_MODEL, name)) or {}).get("status") or {}
        if status.get("state") == "Ready" and status.get("nodesReady"):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise SetupError(
                f"model {name} was created and is ready on no node after {within_s:g} s (state "
                f"{status.get('state') or 'unknown'}); start again when it is ready, or raise deadlines.pending_s",
                field="deploy.clusterbasemodel",
            )
        await asyncio.sleep(_POLL_S)


def _includes(found: Any, requested: Any) -> bool:
    """Whether ``found`` includes ``requested``; the server may have added defaults."""
    if isinstance(requested, dict):
        return isinstance(found, dict) and all(
            key in found and _includes(found[key], requested[key]) for key in requested
        )
    if isinstance(requested, list):
        return isinstance(found, list) and len(found) == len(requested) and all(map(_includes, found, requested))
    return bool(found == requested)
