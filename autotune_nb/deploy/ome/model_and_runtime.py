"""Finds a task's model and runtime in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import (
    BASE_MODEL,
    CLUSTER_BASE_MODEL,
    CLUSTER_SERVING_RUNTIME,
    SERVING_RUNTIME,
    Kind,
    Object,
)
from autotune_nb.deploy.ome.manifest import ModelAndRuntime
from autotune_nb.errors import ClusterError
from autotune_nb.task.task import Task

_HUB = "hf://"


async def find_model_and_runtime(cluster: Cluster, task: Task) -> tuple[ModelAndRuntime, Object]:
    """Return the kinds of model and runtime with the runtime's container, and the model object. Raises ClusterError."""
    runtime = task.deploy.runtime
    model_kind, model = await _first_of(cluster, (CLUSTER_BASE_MODEL, BASE_MODEL), task.model.id_or_path or "")
    kinds = (CLUSTER_SERVING_RUNTIME, SERVING_RUNTIME)
    runtime_kind, found = await _first_of(cluster, kinds, runtime) if runtime else (None, {})
    spec = found.get("spec") or {}
    runner = (spec.get("engineConfig") or {}).get("runner") or next(iter(spec.get("containers") or ()), None)
    return ModelAndRuntime(model_kind, runtime_kind, runner), model


def several_pods(runtime: Object) -> str:
    """Return the parts of a runtime that need more than one pod, such as "a leader and a worker"; else nothing."""
    spec = runtime.get("spec") or {}
    engine = spec.get("engineConfig") or {}
    parts = [f"a {part}" for part in ("leader", "worker") if engine.get(part)]
    parts += ["a decoder"] if spec.get("decoderConfig") else []
    return " and ".join(parts)


def storage_of(model: Object) -> Mapping[str, Any]:
    """Return a model's storage: the source of its weights, and their path on the nodes."""
    return (model.get("spec") or {}).get("storage") or {}


def tokenizer_of(model: Object) -> str:
    """Return the model's hub name, or its folder on the nodes; empty if neither is known."""
    storage = storage_of(model)
    uri = str(storage.get("storageUri") or "")
    hub = uri.removeprefix(_HUB).split("@")[0] if uri.startswith(_HUB) else ""
    return hub or str(storage.get("path") or "")


async def _first_of(cluster: Cluster, kinds: Iterable[Kind], name: str) -> tuple[Kind | None, Object]:
    for kind in kinds:
        try:
            found = await cluster.get(kind, name)
        except ClusterError as error:
            # The namespaced kinds may be unreadable if only those of the cluster are used.
            if error.status == 403 and kind.namespaced:
                continue
            raise
        if found is not None:
            return kind, found
    return None, {}
