"""Renders a configuration as an InferenceService."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from autotune_nb.cluster.executor_choice import backend_variable, required_model_name
from autotune_nb.cluster.kinds import BASE_MODEL, SERVING_RUNTIME, Kind, Object
from autotune_nb.cluster.names import slug
from autotune_nb.cluster.templates import Templates, refuse_go_templates
from autotune_nb.deploy.caches import MOUNT, CompileCaches
from autotune_nb.deploy.ome._arguments import runner_command, runtime_flags
from autotune_nb.engines.base import Engine
from autotune_nb.engines.given_flags import all_flags, gpus_of_trial
from autotune_nb.engines.values import number
from autotune_nb.secrets.references import secret_of
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task

TEMPLATE = "inference_service.yaml.j2"
#: OME's name of the engine's container, and its default port.
CONTAINER, PORT = "ome-container", 8080
_CACHES = "autotune-nb-caches"
#: The startup probe, which would restart the engine, fails only after the study's own deadline.
_MARGIN_S = 60


@dataclass(frozen=True)
class ModelAndRuntime:
    """The kinds of the model and the runtime, and the runtime's container."""

    model_kind: Kind | None = None
    runtime_kind: Kind | None = None
    runner: Mapping[str, Any] | None = None


def gpus_needed(
    task: Task, engine: Engine, params: Mapping[str, Value], runner: Mapping[str, Any] | None = None
) -> int:
    """Return a configuration's number of GPUs: the task's, or the product of the engine's parallel sizes.

    Sizes that the task does not set are those of the runtime; without any, the runtime's resources count.
    """
    own = all_flags(task, engine, params)
    if task.deploy.gpus_per_trial is None and not any(own.get(name) for name in engine.parallel_sizes):
        resources = (runner or {}).get("resources") or {}
        for kind in ("limits", "requests"):
            amount = number((resources.get(kind) or {}).get(task.deploy.gpu_resource))
            if amount is not None:
                return int(amount)
    return gpus_of_trial(task, engine, params, runtime_flags(engine, runner))


def inference_service(
    task: Task,
    engine: Engine,
    params: Mapping[str, Value],
    model_and_runtime: ModelAndRuntime,
    templates: Templates,
    metadata: Object,
) -> Object:
    """Return the InferenceService of one trial.

    Raises TaskError for a value that OME cannot process, SetupError if a user's template lacks a required field.
    """
    return templates.render_object(
        TEMPLATE,
        _values(
            task,
            engine,
            params,
            model_and_runtime,
            metadata,
            required_model_name(task),
            backend_variable(task, engine.backend),
        ),
    )


def manifest_text(
    task: Task,
    engine: Engine,
    params: Mapping[str, Value],
    model_and_runtime: ModelAndRuntime,
    templates: Templates,
    *,
    namespace: str,
) -> str:
    """Return one configuration as YAML to apply, without the study's labels and with the task's model name."""
    metadata = {"name": slug(task.name, 40) or "tuned", "namespace": namespace}
    if not metadata["name"][0].isalpha():
        metadata["name"] = f"m-{metadata['name']}"
    service = templates.render_object(
        TEMPLATE, _values(task, engine, params, model_and_runtime, metadata, task.model.served_name)
    )
    return yaml.safe_dump(service, sort_keys=False, width=110, allow_unicode=True)


def _values(
    task: Task,
    engine: Engine,
    params: Mapping[str, Value],
    model_and_runtime: ModelAndRuntime,
    metadata: Object,
    served_as: str | None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    deploy, runner = task.deploy, model_and_runtime.runner or {}
    refuse_go_templates(dict(task.engine.env), field="engine.env")
    refuse_go_templates(dict(deploy.resources), field="deploy.resources")
    ours = runner_command(task, engine, params, model_and_runtime.runner, served_as)
    gpus = gpus_needed(task, engine, params, model_and_runtime.runner)
    resources = {name: _quantity(value) for name, value in deploy.resources.items()}
    if gpus:
        resources[deploy.gpu_resource] = str(gpus)
    namespaced = (BASE_MODEL, SERVING_RUNTIME)
    caches = CompileCaches(task, engine, Path())
    return {
        "metadata": {"labels": None, "ownerReferences": None, **metadata},
        "model": {
            "name": task.model.id_or_path,
            "kind": model_and_runtime.model_kind.name
            if model_and_runtime.model_kind in namespaced and model_and_runtime.model_kind
            else None,
        },
        "runtime": {
            "name": deploy.runtime,
            "kind": model_and_runtime.runtime_kind.name
            if model_and_runtime.runtime_kind in namespaced and model_and_runtime.runtime_kind
            else None,
        }
        if deploy.runtime
        else None,
        "caches": _mounted(caches) if caches.kept else None,
        "stop_s": math.ceil(task.deadlines.stop_s),
        "runner": {
            "name": runner.get("name") or CONTAINER,
            "command": None if ours.command is None else list(ours.command),
            "args": None if ours.args is None else list(ours.args),
            "env": [
                _variable(name, value)
                for name, value in {**caches.variables(MOUNT), **task.engine.env, **variables}.items()
            ],
            "resources": resources,
            "startup_probe": _startup_probe(task, engine, runner),
            "readiness_probe": {"periodSeconds": 10, **_handler(engine, runner, "readinessProbe")},
        },
    }


def _mounted(caches: CompileCaches) -> Object:
    """Return the volume of the engine's caches and where it is mounted."""
    return {
        "volume": {"name": _CACHES, "persistentVolumeClaim": {"claimName": caches.claim}},
        "mount": {"name": _CACHES, "mountPath": MOUNT, "subPath": caches.sub_path},
    }


def _variable(name: str, value: str) -> Object:
    secret = secret_of(value)
    if secret is None:
        return {"name": name, "value": value}
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret[0], "key": secret[1]}}}


def _startup_probe(task: Task, engine: Engine, runner: Mapping[str, Any]) -> Object:
    """Return a probe that runs every second until after the deadline. OME would drop a delay of 0."""
    failures = math.ceil(task.deadlines.ready_s) + _MARGIN_S
    seconds = {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": failures}
    return {**seconds, **_handler(engine, runner, "startupProbe")}


def _handler(engine: Engine, runner: Mapping[str, Any], probe: str) -> Object:
    """Return a probe's handler, unless the runtime's own probe has one."""
    own = runner.get(probe) or {}
    if any(handler in own for handler in ("httpGet", "tcpSocket", "exec", "grpc")):
        return {}
    ports = runner.get("ports") or ()
    port = next((int(one["containerPort"]) for one in ports if "containerPort" in one), PORT)
    return {"httpGet": {"path": engine.health_fallback or engine.health_path, "port": port}, "timeoutSeconds": 5}


def _quantity(value: str | float) -> str:
    # Not %g, which would round 8589934592.
    return value if isinstance(value, str) else f"{Decimal(repr(value)).normalize():f}"
