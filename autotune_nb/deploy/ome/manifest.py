"""A configuration as OME's InferenceService."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

from autotune_nb.cluster.executor_choice import required_model_name
from autotune_nb.cluster.kinds import BASE_MODEL, SERVING_RUNTIME, Kind, Object
from autotune_nb.cluster.names import slug
from autotune_nb.cluster.templates import Templates, refuse_go_templates
from autotune_nb.deploy.ome._arguments import words
from autotune_nb.engines.base import Engine
from autotune_nb.secrets.references import secret_of
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task

TEMPLATE = "inference_service.yaml.j2"
#: OME's name for the container that serves, and the port it takes where the container names none.
CONTAINER, PORT = "ome-container", 8080
#: The deadline is the study's own; the probe, which would start the engine again, comes after it.
_MARGIN_S = 60


@dataclass(frozen=True)
class Ground:
    """What a configuration stands on: the model's kind, the runtime's kind and what it runs."""

    model_kind: Kind | None = None
    runtime_kind: Kind | None = None
    runner: Mapping[str, Any] | None = None


def gpus_needed(task: Task, engine: Engine, params: Mapping[str, Value]) -> int:
    """How many GPUs a configuration is given: the task's number, or the product of the engine's parallel sizes."""
    given = task.deploy.gpus_per_trial
    return engine.gpus({**task.engine.args, **params}) if given is None else given


def inference_service(
    task: Task, engine: Engine, params: Mapping[str, Value], ground: Ground, templates: Templates, metadata: Object
) -> Object:
    """The InferenceService of one trial, as a run makes it and a dry run shows it.

    Raises TaskError for a value OME would stumble over, SetupError where a user's template dropped what a trial needs.
    """
    return templates.render_object(TEMPLATE, _values(task, engine, params, ground, metadata, required_model_name(task)))


def manifest_text(
    task: Task,
    engine: Engine,
    params: Mapping[str, Value],
    ground: Ground,
    templates: Templates,
    *,
    namespace: str,
) -> str:
    """One configuration as YAML to apply, with nothing of the study in it: the model is called as the task says."""
    metadata = {"name": slug(task.name, 40) or "tuned", "namespace": namespace}
    if not metadata["name"][0].isalpha():
        metadata["name"] = f"m-{metadata['name']}"
    found = templates.render_object(TEMPLATE, _values(task, engine, params, ground, metadata, task.model.served_name))
    return yaml.safe_dump(found, sort_keys=False, width=110, allow_unicode=True)


def _values(
    task: Task, engine: Engine, params: Mapping[str, Value], ground: Ground, metadata: Object, served_as: str | None
) -> dict[str, Any]:
    deploy, runner = task.deploy, ground.runner or {}
    refuse_go_templates(dict(task.engine.env), field="engine.env")
    refuse_go_templates(dict(deploy.resources), field="deploy.resources")
    said = words(task, engine, params, ground.runner, served_as)
    gpus = gpus_needed(task, engine, params)
    resources = {name: _quantity(value) for name, value in deploy.resources.items()}
    if gpus:
        resources[deploy.gpu_resource] = str(gpus)
    namespaced = (BASE_MODEL, SERVING_RUNTIME)
    return {
        "metadata": {"labels": None, "ownerReferences": None, **metadata},
        "model": {
            "name": task.model.id_or_path,
            "kind": ground.model_kind.name if ground.model_kind in namespaced and ground.model_kind else None,
        },
        "runtime": {
            "name": deploy.runtime,
            "kind": ground.runtime_kind.name if ground.runtime_kind in namespaced and ground.runtime_kind else None,
        }
        if deploy.runtime
        else None,
        "stop_s": math.ceil(task.deadlines.stop_s),
        "runner": {
            "name": runner.get("name") or CONTAINER,
            "command": None if said.command is None else list(said.command),
            "args": None if said.args is None else list(said.args),
            "env": [_variable(name, value) for name, value in task.engine.env.items()],
            "resources": resources,
            "startup_probe": _startup_probe(task, engine, runner),
            "readiness_probe": {"periodSeconds": 10, **_handler(engine, runner, "readinessProbe")},
        },
    }


def _variable(name: str, value: str) -> Object:
    secret = secret_of(value)
    if secret is None:
        return {"name": name, "value": value}
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret[0], "key": secret[1]}}}


def _startup_probe(task: Task, engine: Engine, runner: Mapping[str, Any]) -> Object:
    """Every second, for longer than the engine may take. A delay of 0 would be dropped where OME merges."""
    failures = math.ceil(task.deadlines.ready_s) + _MARGIN_S
    seconds = {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": failures}
    return {**seconds, **_handler(engine, runner, "startupProbe")}


def _handler(engine: Engine, runner: Mapping[str, Any], probe: str) -> Object:
    """What a probe asks, where the runtime's own has no handler to stay: one without is invalid."""
    own = runner.get(probe) or {}
    if any(handler in own for handler in ("httpGet", "tcpSocket", "exec", "grpc")):
        return {}
    ports = runner.get("ports") or ()
    port = next((int(one["containerPort"]) for one in ports if "containerPort" in one), PORT)
    return {"httpGet": {"path": engine.health_path, "port": port}, "timeoutSeconds": 5}


def _quantity(value: str | float) -> str:
    # In full: what a %g leaves of 8589934592 is another amount.
    return value if isinstance(value, str) else f"{Decimal(repr(value)).normalize():f}"
