"""Manifests that run a configuration in replicas: with an autoscaler, or beside another one as a canary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from autotune_nb.engines.metrics import GAUGES
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.results.capacity import Capacity
from autotune_nb.task.task import Task

Autoscaler = Literal["hpa", "keda"]
#: Where OME looks for Prometheus unless it is told otherwise.
PROMETHEUS = "http://prometheus-operated.monitoring.svc.cluster.local:9090"
#: The prefix of an engine's metrics.
_PREFIXES = {"vllm": "vllm:", "sglang": "sglang:", "llama_cpp": "llamacpp:"}
_TEMPLATES: dict[Autoscaler, str] = {"hpa": "autoscaler_hpa.yaml.j2", "keda": "autoscaler_keda.yaml.j2"}
_ROUTE, _DISRUPTIONS = "canary_route.yaml.j2", "pod_disruption_budget.yaml.j2"
#: The port of an engine's Service in OME unless its runtime has another one.
_PORT = 8080


@dataclass(frozen=True)
class Canary:
    """How a canary gets its share of the requests.

    ``traffic`` is in percent. By ``gateway`` (``NAMESPACE/NAME``) a route of the Gateway API splits the requests
    between two InferenceServices; without it, Knative splits them between two revisions of one, in OME's and KServe's
    serverless mode.
    """

    traffic: int = 10
    gateway: str | None = None

    def __post_init__(self) -> None:
        """Raises TaskError for a share that is none, or a gateway without a namespace."""
        if not 1 <= self.traffic <= 99:
            raise TaskError(f"expected a share in percent from 1 to 99, not {self.traffic!r}", field="traffic")
        if self.gateway is not None and (self.gateway.count("/") != 1 or not all(self.gateway.split("/"))):
            raise TaskError(f"expected NAMESPACE/NAME of a Gateway, not {self.gateway!r}", field="gateway")


def autoscaled(
    task: Task,
    manifest: str | None,
    capacity: Capacity,
    form: Autoscaler,
    *,
    name: str,
    min_replicas: int = 1,
    prometheus: str = PROMETHEUS,
) -> str:
    """Return a configuration's InferenceService with an autoscaler, as YAML.

    OME makes the PodDisruptionBudget of an InferenceService itself, from its ``maxUnavailable``; a second one for the
    same pods would make every eviction fail. Without a manifest, it is the autoscaler and the budget of a Deployment
    ``name`` whose pods have the label ``app: name``.

    Raises TaskError for a wrong number of replicas, SetupError if the metrics of the engine are unknown.
    """
    from autotune_nb.cluster.templates import Templates

    if not 1 <= min_replicas <= capacity.replicas:
        raise TaskError(
            f"expected 1 to {capacity.replicas}, the replicas that carry the load, not {min_replicas}",
            field="min_replicas",
        )
    service: Mapping[str, Any] | None = None if manifest is None else yaml.safe_load(manifest)
    namespace = task.deploy.namespace or "default"
    if service is not None:
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    deployment = name if service is None else f"{name}-engine"
    running, waiting = _metrics(task)
    pods = f'{{namespace="{namespace}",pod=~"{deployment}-.+"}}'
    values = {
        # OME deletes an autoscaler of the Deployment's name if another one is in charge.
        "name": f"{name}-load",
        "namespace": namespace,
        "deployment": deployment,
        "min_replicas": min_replicas,
        "max_replicas": capacity.replicas,
        "target": _quantity(capacity.target_in_flight) if form == "hpa" else f"{capacity.target_in_flight:g}",
        "query": f"sum({running}{pods} + {waiting}{pods})",
        "pod_query": f"sum by (pod) ({running} + {waiting})",
        "prometheus": prometheus,
    }
    templates = Templates(task.deploy.templates)
    objects = templates.render_objects(_TEMPLATES[form], values)
    if service is None:
        objects += templates.render_objects(_DISRUPTIONS, {**values, "app": name})
    else:
        objects.insert(0, _scaled(service, min_replicas, capacity.replicas))
    header = "".join(f"# {line}\n" for line in str(capacity).splitlines())
    return header + _yaml(objects)


def canary(task: Task, stable: str, new: str, split: Canary) -> str:
    """Return the manifests that send a share of the requests to a new configuration, as YAML."""
    from autotune_nb.cluster.templates import Templates

    old_service, service = yaml.safe_load(stable), yaml.safe_load(new)
    if split.gateway is None:
        service["metadata"].setdefault("annotations", {})["ome.io/deploymentMode"] = "Serverless"
        service["spec"]["engine"]["canaryTrafficPercent"] = split.traffic
        return (
            "# A new revision of an InferenceService that serves in serverless mode (Knative) already; elsewhere\n"
            "# canaryTrafficPercent has no effect, and the new configuration would replace the old one at once.\n"
            "# To promote it, remove canaryTrafficPercent; to go back, set it to 0.\n"
        ) + _yaml([service])
    name = old_service["metadata"]["name"]
    service["metadata"]["name"] = f"{name}-canary"
    namespace, gateway = split.gateway.split("/")
    values = {
        "name": f"{name}-canary",
        "namespace": service["metadata"]["namespace"],
        "gateway": gateway,
        "gateway_namespace": namespace,
        "port": _PORT,
        "stable": f"{name}-engine",
        "canary": f"{name}-canary-engine",
        "traffic": split.traffic,
    }
    route = Templates(task.deploy.templates).render_objects(_ROUTE, values)
    return _yaml([old_service, service, *route])


def _scaled(service: Mapping[str, Any], low: int, high: int) -> dict[str, Any]:
    """Return an InferenceService with replicas, whose autoscaler is not OME's own."""
    metadata = dict(service["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), "ome.io/autoscalerClass": "external"}
    engine = {**service["spec"]["engine"], "minReplicas": low, "maxReplicas": high, "maxUnavailable": 1}
    return {**service, "metadata": metadata, "spec": {**service["spec"], "engine": engine}}


def _metrics(task: Task) -> tuple[str, str]:
    """Return the metrics of running and of waiting requests of a task's engine."""
    prefix = _PREFIXES.get(task.engine.kind)
    found = [
        name
        for figure in ("running_requests", "waiting_requests")
        for metric in GAUGES
        if metric.figure == figure
        for name in metric.names
        if prefix is not None and name.startswith(prefix)
    ]
    if len(found) != 2:
        raise SetupError(
            f"the metrics of engine {task.engine.kind} are unknown, so that there is nothing to scale by; take the "
            "target from autotune-nb capacity"
        )
    return found[0], found[1]


def _yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    dumped = (yaml.safe_dump(dict(one), sort_keys=False, width=110, allow_unicode=True) for one in objects)
    return "---\n".join(dumped)


def _quantity(number: float) -> str:
    """Return a number as Kubernetes writes it: of 1.6, 1600m."""
    return f"{number:.0f}" if number == int(number) else f"{number * 1000:.0f}m"
