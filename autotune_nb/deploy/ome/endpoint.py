"""How a Ready engine is reached from here, and what it says of itself."""

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
#: An engine that is Ready tells its models' names within that time.
_ANSWER_S = 30.0


def engine_container(pod: Object, name: str = CONTAINER) -> Mapping[str, Any]:
    """The container that serves, among those a mesh or a sidecar may have added."""
    containers: list[Mapping[str, Any]] = pod["spec"]["containers"]
    return next((one for one in containers if one["name"] == name), containers[0])


def port_of(container: Mapping[str, Any]) -> int:
    """The port a container serves on; OME's own choice where it names none."""
    return next((int(one["containerPort"]) for one in container.get("ports") or ()), PORT)


def argv_of(container: Mapping[str, Any]) -> tuple[str, ...]:
    """A container's command line, as far as its manifest has it."""
    return (*(container.get("command") or ()), *(container.get("args") or ()))


def identity(pod: Object, container: Mapping[str, Any]) -> dict[str, Any]:
    """What a deployment alone knows of where it runs: image and digest, node, GPUs and other resources it was given."""
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
    """Whether a resource is an extended one, as GPUs are: those have a domain before their name."""
    return "/" in resource and not resource.startswith("hugepages")


def _gpu_kind(spec: Mapping[str, Any]) -> str:
    """The kind of GPU that a pod asked for, as a node's labels, which no Role of a namespace may read, have it."""
    asked = dict(spec.get("nodeSelector") or {})
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    terms: Sequence[Mapping[str, Any]] = affinity.get("nodeSelectorTerms") or []
    # Of several terms any one may have been met.
    for one in (terms[0].get("matchExpressions") or ()) if len(terms) == 1 else ():
        if one.get("operator") == "In":
            asked[one["key"]] = " or ".join(one["values"])
    told = [f"{key}: {value}" for key, value in asked.items() if any(word in key for word in ("gpu", "accelerator"))]
    return f" ({', '.join(told)})" if told else ""


async def url_from_here(
    stack: contextlib.AsyncExitStack, cluster: Cluster, pod: Callable[[], str | None], port: int, inside: str
) -> tuple[str, PortForward | None]:
    """The Service's URL inside the cluster; elsewhere that of a port-forward, which is open as long as the stack."""
    if cluster.inside:
        return inside, None
    forward = await stack.enter_async_context(PortForward(cluster, pod, port))
    return forward.url, forward


async def served_name(url: str, within_s: float) -> str:
    """The first model the engine says it serves. Raises DeployError where it does not say so in time."""
    within_s, told = min(within_s, _ANSWER_S), "no answer"
    limit = aiohttp.ClientTimeout(total=5)
    try:
        async with asyncio.timeout(within_s), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{url}/v1/models", timeout=limit) as reply:
                        told = f"HTTP {reply.status}"
                        if reply.status == 200:
                            return str((await reply.json(content_type=None))["data"][0]["id"])
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError) as error:
                    told = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.2)
    except TimeoutError:
        message = f"the engine is Ready, but {url}/v1/models names no model within {within_s:g} s ({told})"
        hint = "give model.served_name"
        raise DeployError(Failure(FailureKind.INFRASTRUCTURE, "deploy", message, hint=hint)) from None
