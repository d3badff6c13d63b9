"""Merges a runtime and an InferenceService into a pod, as observed of OME."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

Json = dict[str, Any]
_MODEL_LABEL = "models.ome.io/clusterbasemodel."
_TEMPLATE = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


class SilentError(Exception):
    """An error that OME reports only in its log."""


def deep(under: Any, over: Any) -> Any:
    """Merge objects and replace other values; a zero delay counts as missing."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return copy.deepcopy(over)
    merged = copy.deepcopy(under)
    for key, value in over.items():
        if key == "initialDelaySeconds" and value == 0:
            continue
        merged[key] = deep(merged[key], value) if key in merged else copy.deepcopy(value)
    return merged


def by_key(under: list[Json] | None, over: list[Json] | None, key: str) -> list[Json]:
    merged = {one[key]: one for one in under or []}
    for one in over or []:
        merged[one[key]] = deep(merged.get(one[key], {}), one)
    return list(merged.values())


def container(runtime: Json, runner: Json, *, service: Json, model_path: str, override: Json) -> Json:
    """Return the engine's container. Raises SilentError where OME reports nothing."""
    merged = deep(runtime, {k: v for k, v in runner.items() if k not in ("args", "command", "env", "ports")})
    for words in ("args", "command"):
        if words in runner:
            merged[words] = list(runner[words])
    merged["ports"] = by_key(runtime.get("ports"), runner.get("ports"), "containerPort")
    merged["env"] = by_key(runtime.get("env"), runner.get("env"), "name")
    merged["volumeMounts"] = by_key(runtime.get("volumeMounts"), runner.get("volumeMounts"), "mountPath")
    if not merged.get("name") or ("name" not in runner and runner):
        raise SilentError("the runner has no name")
    names = {one["name"] for one in merged["env"]}
    if "MODEL_PATH" not in names and model_path:
        merged["env"].append({"name": "MODEL_PATH", "value": model_path})
    gpus = (merged.get("resources") or {}).get("limits", {}).get("nvidia.com/gpu")
    if gpus is not None and "PARALLELISM_SIZE" not in names:
        merged["env"].append({"name": "PARALLELISM_SIZE", "value": str(gpus)})
    # What an AcceleratorClass changes after the fact.
    merged = deep(merged, override)
    return _go_template(merged, service)


def _go_template(merged: Json, service: Json) -> Json:
    text = json.dumps(merged)
    names = {"Name": service["metadata"]["name"], "Namespace": service["metadata"]["namespace"]}

    def filled(found: re.Match[str]) -> str:
        if found[1] not in names:
            raise SilentError(f"no field {found[1]}")
        return names[found[1]]

    text = _TEMPLATE.sub(filled, text)
    if "{{" in text:
        raise SilentError("the template does not parse")
    result: Json = json.loads(text)
    return result


def deployment(service: Json, runtime: Json, model: Json, override: Json) -> Json:
    """Return the Deployment of an InferenceService's engine. Raises SilentError."""
    name = service["metadata"]["name"]
    engine = service["spec"]["engine"]
    under = ((runtime.get("spec") or {}).get("engineConfig") or {}).get("runner") or {}
    path = ((model.get("spec") or {}).get("storage") or {}).get("path") or ""
    serving = container(under, engine.get("runner") or {}, service=service, model_path=path, override=override)
    model_name = service["spec"]["model"]["name"]
    labels = {
        **(service["metadata"].get("labels") or {}),
        "app": f"{name}-engine",
        "component": "engine",
        "ome.io/inferenceservice": name,
        "base-model-name": model_name,
        "serving-runtime": runtime["metadata"]["name"],
    }
    pod: Json = {"containers": [serving], "nodeSelector": {f"{_MODEL_LABEL}{model_name}": "Ready"}}
    if "terminationGracePeriodSeconds" in engine:
        pod["terminationGracePeriodSeconds"] = engine["terminationGracePeriodSeconds"]
    if path:
        pod["volumes"] = [*(engine.get("volumes") or []), {"name": model_name, "hostPath": {"path": path}}]
        serving.setdefault("volumeMounts", []).append({"name": model_name, "mountPath": path, "readOnly": True})
    annotations = {
        k: v for k, v in (service["metadata"].get("annotations") or {}).items() if not k.startswith("kubectl.")
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-engine", "labels": labels, "ownerReferences": [owner(service)]},
        "spec": {
            "replicas": engine.get("minReplicas", 1),
            "selector": {"matchLabels": {"app": f"{name}-engine"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def owner(obj: Json) -> Json:
    """Return the controller's owner reference."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def service_of(isvc: Json, name: str, selector: Json, port: int) -> Json:
    labels = {"ome.io/inferenceservice": isvc["metadata"]["name"]}
    return {
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner(isvc)]},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": port, "targetPort": port}]},
    }


def port_of(built: Json) -> int:
    ports = built["spec"]["template"]["spec"]["containers"][0].get("ports") or [{"containerPort": 8080}]
    return int(ports[0]["containerPort"])


def benchmark(job: Json, model: Json, image: str, backend: str) -> Json:
    """Return the Job of a BenchmarkJob."""
    spec, name = job["spec"], job["metadata"]["name"]
    target = spec["endpoint"]["inferenceService"]
    path = ((model.get("spec") or {}).get("storage") or {}).get("path") or ""
    url = f"http://{target['name']}.{target['namespace']}.svc.cluster.local:8080"
    args = ["benchmark", "--api-backend", backend, "--api-base", url, "--api-model-name", "vllm-model"]
    args += ["--task", spec["task"], "--max-time-per-run", str(spec["maxTimePerIteration"])]
    args += ["--max-requests-per-run", str(spec["maxRequestsPerIteration"])]
    args += ["--api-key", "sample-key", "--model-tokenizer", path]
    for scenario in spec.get("trafficScenarios") or []:
        args += ["--traffic-scenario", scenario]
    for concurrency in spec.get("numConcurrency") or []:
        args += ["--num-concurrency", str(concurrency)]
    if spec.get("resultFolderName"):
        args += ["--experiment-folder-name", spec["resultFolderName"]]
    volumes: list[Json] = [{"name": "model", "hostPath": {"path": path}}]
    mounts: list[Json] = [{"name": "model", "mountPath": path, "readOnly": True}]
    found = re.fullmatch(r"pvc://([^/]+)/(.+)", spec["outputLocation"]["storageUri"])
    if found:
        args += ["--experiment-base-dir", f"/{found[2]}"]
        volumes.append({"name": "benchmark-output-storage", "persistentVolumeClaim": {"claimName": found[1]}})
        mounts.append({"name": "benchmark-output-storage", "mountPath": f"/{found[2]}", "subPath": found[2]})
    override = spec.get("podOverride") or {}
    main: Json = {
        "name": "genai-bench" if override else name,
        "image": override.get("image") or image,
        "command": ["genai-bench"],
        "args": args,
        "env": by_key([{"name": "ENABLE_UI", "value": "false"}], override.get("env"), "name"),
        "resources": deep({"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
                          override.get("resources") or {}),
        "volumeMounts": by_key(mounts, override.get("volumeMounts"), "mountPath"),
    }  # fmt: skip
    pod: Json = {
        "restartPolicy": "Never",
        "containers": [main],
        "volumes": by_key(volumes, override.get("volumes"), "name"),
        "nodeSelector": {f"{_MODEL_LABEL}{model['metadata']['name']}": "Ready", **(override.get("nodeSelector") or {})},
    }
    return {
        "metadata": {"name": name, "labels": {"benchmark": name}, "ownerReferences": [owner(job)]},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": {"benchmark": name}}, "spec": pod},
        },
    }
