"""What a task brings along: its model, its runtime and the claim for its results, made where they are missing."""

from __future__ import annotations

import asyncio
from typing import Any

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CLAIM, CLUSTER_BASE_MODEL, CLUSTER_SERVING_RUNTIME, Kind, Object
from autotune_nb.cluster.names import MANAGED_BY, MANAGED_LABEL
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError, SetupError
from autotune_nb.task.task import Task

_LOOK_S = 2.0


async def provision(session: ClusterSession, task: Task) -> None:
    """Make what is missing; what is there stays as it is, and so does what is made: the next study needs it too.

    Raises SetupError where it may not be made, or where the model does not get ready in ``deadlines.pending_s``.
    """
    cluster, deploy = session.cluster, task.deploy
    for kind, name, spec, field in (
        (CLUSTER_BASE_MODEL, task.model.id_or_path, deploy.clusterbasemodel, "deploy.clusterbasemodel"),
        (CLUSTER_SERVING_RUNTIME, deploy.runtime, deploy.clusterservingruntime, "deploy.clusterservingruntime"),
    ):
        if spec is None:
            continue
        if name is None:
            raise SetupError("is given, and deploy.runtime names no runtime to make of it", field=field)
        if await _make(session, kind, name, {"spec": spec}, field) and kind is CLUSTER_BASE_MODEL:
            await _until_ready(cluster, name, task.deadlines.pending_s)
    results, size = task.benchmark.results or "", task.benchmark.results_size
    if size is not None and results.startswith("pvc://"):
        claim = results.removeprefix("pvc://").split("/")[0]
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        await _make(session, CLAIM, claim, {"spec": spec}, "benchmark.results_size")


async def _make(session: ClusterSession, kind: Kind, name: str, body: Object, field: str) -> bool:
    """Whether it was made; False where it was there."""
    cluster = session.cluster
    try:
        found = await cluster.get(kind, name)
        if found is None:
            labels = {MANAGED_LABEL: MANAGED_BY}
            await cluster.create(kind, {"metadata": {"name": name, "labels": labels}, **body})
            session.notify(f"{kind.name} {name} was made, and stays")
            return True
    except ClusterError as error:
        if error.status == 409:
            return False
        raise SetupError(f"{kind.name} {name} could not be made: {error}", field=field) from None
    if not _says(found.get("spec"), body["spec"]):
        session.notify(f"{kind.name} {name} is there and differs from {field}; it is used as it is")
    return False


async def _until_ready(cluster: Cluster, name: str, within_s: float) -> None:
    """Wait until the model agent has the weights on a node."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        status = ((await cluster.get(CLUSTER_BASE_MODEL, name)) or {}).get("status") or {}
        if status.get("state") == "Ready" and status.get("nodesReady"):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise SetupError(
                f"model {name} was made and is ready on no node after {within_s:g} s (state "
                f"{status.get('state') or 'unknown'}); start again once it is, or raise deadlines.pending_s",
                field="deploy.clusterbasemodel",
            )
        await asyncio.sleep(_LOOK_S)


def _says(found: Any, asked: Any) -> bool:
    """Whether what was asked stands in what is there; defaults that were added do not count."""
    if isinstance(asked, dict):
        return isinstance(found, dict) and all(key in found and _says(found[key], asked[key]) for key in asked)
    if isinstance(asked, list):
        return isinstance(found, list) and len(found) == len(asked) and all(map(_says, found, asked))
    return bool(found == asked)
