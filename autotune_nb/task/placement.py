"""Fields of a task that only trials in one place have: refused where trials run in another one."""

from __future__ import annotations

from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.task.deploy_section import CONTAINER_FIELDS
from autotune_nb.task.task import Task

#: Fields without any effect on trials on this machine, by section, each with its default.
_CLUSTER_FIELDS: dict[str, dict[str, Any]] = {
    "deploy": {
        **dict.fromkeys(("namespace", "runtime", "kubeconfig", "context"), None),
        "resources": {},
        **dict.fromkeys(("clusterbasemodel", "clusterservingruntime"), None),
    },
    "benchmark": {"executor": "auto", **dict.fromkeys(("results", "results_size", "image"), None), "pod": {}},
}


def unused_fields(kind: str) -> dict[str, dict[str, Any]]:
    """Return the fields that have no effect on trials of a ``deploy.kind``, by section, each with its default."""
    if kind == "container":
        # There it is the container's runtime.
        deploy = {name: value for name, value in _CLUSTER_FIELDS["deploy"].items() if name != "runtime"}
        return {**_CLUSTER_FIELDS, "deploy": deploy}
    if kind == "local":
        return {**_CLUSTER_FIELDS, "deploy": {**_CLUSTER_FIELDS["deploy"], **CONTAINER_FIELDS}}
    return {"deploy": CONTAINER_FIELDS}


def require_cluster(task: Task) -> None:
    """Raise TaskError if trials run on this machine and the task has a field that needs a cluster."""
    if not task.deploy.on_this_machine:
        return
    for section, fields in unused_fields(task.deploy.kind).items():
        for name, default in fields.items():
            if getattr(getattr(task, section), name) != default:
                raise TaskError(
                    "this is for trials in a cluster, and the task's trials run on this machine: add deploy.kind: ome "
                    "(or --deploy ome), or remove it",
                    field=f"{section}.{name}",
                )


def without_unused(data: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a task's plain data without the fields that have no effect on trials of a ``deploy.kind``."""
    return {**data, **{section: {**data[section], **fields} for section, fields in unused_fields(kind).items()}}
