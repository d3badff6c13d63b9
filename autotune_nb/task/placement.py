"""Fields of a task that only trials in a cluster have: refused where trials run on this machine."""

from __future__ import annotations

from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task

#: Fields without any effect on local trials, by section, each with its default.
CLUSTER_FIELDS: dict[str, dict[str, Any]] = {
    "deploy": {
        **dict.fromkeys(("namespace", "runtime", "kubeconfig", "context"), None),
        "resources": {},
        **dict.fromkeys(("clusterbasemodel", "clusterservingruntime"), None),
    },
    "benchmark": {"executor": "auto", **dict.fromkeys(("results", "results_size", "image"), None), "pod": {}},
}


def require_cluster(task: Task) -> None:
    """Raise TaskError if trials run on this machine and the task has a field that needs a cluster."""
    if task.deploy.kind != "local":
        return
    for section, fields in CLUSTER_FIELDS.items():
        for name, default in fields.items():
            if getattr(getattr(task, section), name) != default:
                raise TaskError(
                    "this is for trials in a cluster, and the task's trials run on this machine: add deploy.kind: ome "
                    "(or --deploy ome), or remove it",
                    field=f"{section}.{name}",
                )


def without_cluster(data: dict[str, Any]) -> dict[str, Any]:
    """Return a task's plain data without the fields that need a cluster."""
    return {**data, **{section: {**data[section], **fields} for section, fields in CLUSTER_FIELDS.items()}}
