"""Reaching a Ready engine, and reading its port, command line and model name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import Object
from autotune_nb.cluster.port_forward import PortForward
from autotune_nb.deploy.ome.manifest import CONTAINER, PORT
from autotune_nb.errors import DeployError, Failure, FailureKind

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
#: The time limit for a Ready engine to list its models.
_MODELS_S = 30.0


def engine_container(pod: Object, name: str = CONTAINER) -> Mapping[str, Any]:
    """Return the engine's container among the pod's containers, which may include sidecars."""
    containers: list[Mapping[str, Any]] = pod["spec"]["containers"]
    return next((one for one in containers if one["name"] == name), containers[0])


def port_of(container: Mapping[str, Any]) -> int:
    """Return a container's port, or OME's default."""
    return next((int(one["containerPort"]) for one in container.get("ports") or ()), PORT)


def argv_of(container: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a container's command and arguments."""
    return (*(container.get("command") or ()), *(container.get("args") or ()))


def pod_fingerprint(pod: Object, container: Mapping[str, Any]) -> dict[str, Any]:
    """Return the image, its digest, the node, the GPUs and other resources of a running pod."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    given = (container.get("resources") or {}).get("limits") or {}
    kind = _gpu_kind(pod["spec"])
    return {
        "image": container.get("image", ""),
        "image_id": next((one.get("imageID", "") for one in statuses if one["name"] == container["name"]), ""),
        "node": pod["spec"].get("nodeName", ""),
        "gpus": [f"{count} x {name}{kind}" for name, count in given.items() if _is_device(name) and str(count) != "0"],
        "resources": {name: str(amount) for name, amount in given.items() if not _is_device(name)},
    }


def _is_device(resource: str) -> bool:
    """Whether a resource is an extended one, such as GPUs: their names start with a domain."""
    return "/" in resource and not resource.startswith("hugepages")


def _gpu_kind(spec: Mapping[str, Any]) -> str:
    """Return the GPU kind that a pod selects by node labels; a namespaced Role cannot read the node's own."""
    labels = dict(spec.get("nodeSelector") or {})
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    terms: Sequence[Mapping[str, Any]] = affinity.get("nodeSelectorTerms") or []
    # With several terms it is unknown which one the node matches.
    for one in (terms[0].get("matchExpressions") or ()) if len(terms) == 1 else ():
        if one.get("operator") == "In":
            labels[one["key"]] = " or ".join(one["values"])
    kinds = [f"{key}: {value}" for key, value in labels.items() if any(word in key for word in ("gpu", "accelerator"))]
    return f" ({', '.join(kinds)})" if kinds else ""


async def reachable_url(
    stack: contextlib.AsyncExitStack, cluster: Cluster, pod: Callable[[], str | None], port: int, inside: str
) -> tuple[str, PortForward | None]:
    """Return the Service's URL inside the cluster; else that of a port-forward, which closes with the stack."""
    if cluster.inside:
        return inside, None
    forward = await stack.enter_async_context(PortForward(cluster, pod, port))
    return forward.url, forward


async def first_model(url: str, within_s: float) -> str:
    """Return the first model that the engine lists. Raises DeployError if it lists none in time."""
    within_s, status = min(within_s, _MODELS_S), "no response"
    limit = aiohttp.ClientTimeout(total=5)
    try:
        async with asyncio.timeout(within_s), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{url}/v1/models", timeout=limit) as reply:
                        status = f"HTTP {reply.status}"
                        if reply.status == 200:
                            return str((await reply.json(content_type=None))["data"][0]["id"])
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError) as error:
                    status = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.2)
    except TimeoutError:
        message = f"the engine is Ready, but {url}/v1/models lists no model within {within_s:g} s ({status})"
        hint = "set model.served_name"
        raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint)) from None
