"""A stand-in for OME's controller that behaves as observed, including the errors it does not report.

    python -m tests.kubernetes.ome_controller --kubeconfig FILE [--no-pods] [--ready-after 0.2]

Prints a line when its webhooks answer, and ends when its standard input closes. With ``--no-pods`` a service is Ready
after a moment and its pod is one that no node runs. A ConfigMap ``ome-standin`` makes it misbehave in its namespace:
``mute`` writes no status, ``override`` (JSON) changes containers as AcceleratorClasses may.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.kubernetes import ome_merge as merge
from tests.kubernetes.ome_api import Api
from tests.kubernetes.ome_webhooks import Webhooks, fits

Json = dict[str, Any]
_OME = "/apis/ome.io/v1beta1"
_FINALIZER, _BENCHMARK_FINALIZER = "inferenceservice.finalizers", "benchmarkjob.finalizers"
_MODEL_LABEL = "models.ome.io/clusterbasemodel."


class Controller:
    """Reconciles the objects of all namespaces: one task for each object, repeated when it changes."""

    def __init__(self, api: Api, options: argparse.Namespace) -> None:
        self.api = api
        self.options = options
        self.kept: dict[str, dict[str, Json]] = {}
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._written: dict[str, Json] = {}
        self._told: set[tuple[str, str]] = set()
        self._backoff: dict[str, float] = {}

    async def run(self) -> None:
        plurals = {
            "inferenceservices": f"{_OME}/inferenceservices",
            "benchmarkjobs": f"{_OME}/benchmarkjobs",
            "models": f"{_OME}/clusterbasemodels",
            "runtimes": f"{_OME}/clusterservingruntimes",
            "deployments": "/apis/apps/v1/deployments",
            "jobs": "/apis/batch/v1/jobs",
            "misbehave": "/api/v1/configmaps?fieldSelector=metadata.name%3Dome-standin",
        }
        if self.options.no_pods:
            plurals = {k: v for k, v in plurals.items() if k not in ("deployments", "jobs", "benchmarkjobs")}
        self.kept = {name: {} for name in (*plurals, "deployments", "jobs", "benchmarkjobs")}
        await asyncio.gather(*(self._follow(name, path) for name, path in plurals.items()))

    async def _follow(self, name: str, path: str) -> None:
        async for change, obj in self.api.watch(path):
            key = _key(obj)
            if change == "DELETED":
                self.kept[name].pop(key, None)
            else:
                self.kept[name][key] = obj
            if name == "inferenceservices" and change != "DELETED":
                self.work(f"isvc {key}")
            elif name == "benchmarkjobs" and change != "DELETED":
                self.work(f"bench {key}")
            elif name == "models" and change == "ADDED":
                self._spawn(self._model(obj))
            elif name in ("deployments", "jobs"):
                for owner in obj["metadata"].get("ownerReferences") or []:
                    kind = {"InferenceService": "isvc", "BenchmarkJob": "bench"}.get(owner["kind"])
                    if kind:
                        self.work(f"{kind} {obj['metadata']['namespace']}/{owner['name']}")

    def work(self, key: str) -> None:
        if key in self._busy:
            self._again.add(key)
            return
        self._busy.add(key)
        self._spawn(self._work(key))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, key: str) -> None:
        kind, _, name = key.partition(" ")
        try:
            while True:
                self._again.discard(key)
                found = self.kept["inferenceservices" if kind == "isvc" else "benchmarkjobs"].get(name)
                if found is not None:
                    await (self._isvc(found) if kind == "isvc" else self._benchmark(found))
                if key not in self._again:
                    return
        finally:
            self._busy.discard(key)

    async def later(self, key: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.work(key)

    def misbehaves(self, obj: Json, how: str) -> Any:
        found = self.kept["misbehave"].get(f"{obj['metadata']['namespace']}/ome-standin")
        return ((found or {}).get("data") or {}).get(how)

    async def _model(self, model: Json) -> None:
        """Act as the model agent: nodes with the model's label have the model."""
        name = model["metadata"]["name"]
        nodes = (await self.api.get("/api/v1/nodes") or {"items": []})["items"]
        ready = [
            node["metadata"]["name"]
            for node in nodes
            if node["metadata"].get("labels", {}).get(_MODEL_LABEL + name) == "Ready"
        ]
        status = {"state": "Ready" if ready else "In_Transit", "nodesReady": ready}
        await self.api.patch(f"{_OME}/clusterbasemodels/{name}/status", {"status": status})

    # --- InferenceService

    async def _isvc(self, isvc: Json) -> None:
        meta = isvc["metadata"]
        path = f"{_OME}/namespaces/{meta['namespace']}/inferenceservices/{meta['name']}"
        if "deletionTimestamp" in meta:
            await self._let_go(isvc, path, _FINALIZER)
            return
        if _FINALIZER not in (meta.get("finalizers") or []):
            finalizers = [*(meta.get("finalizers") or []), _FINALIZER]
            status, _ = await self.api.patch(path, {"metadata": {"finalizers": finalizers, "uid": meta["uid"]}})
            if status >= 300:
                return
        if self.options.no_pods:
            if "status" not in isvc:
                await self._pretend(isvc, path)
            return
        await self._deploy(isvc, path)

    async def _pretend(self, isvc: Json, path: str) -> None:
        """Create a pod without a node, which becomes Ready soon."""
        name, space = isvc["metadata"]["name"], isvc["metadata"]["namespace"]
        labels = {**(isvc["metadata"].get("labels") or {}), "ome.io/inferenceservice": name}
        about = {"name": f"{name}-engine", "labels": labels, "ownerReferences": [merge.owner(isvc)]}
        runner = isvc["spec"]["engine"]["runner"]
        container = {**{k: runner[k] for k in ("name", "args", "command", "resources") if k in runner}, "image": "none"}
        spec = {"nodeName": "nowhere", "terminationGracePeriodSeconds": 0, "containers": [container]}
        pods = f"/api/v1/namespaces/{space}/pods"
        await self.api.call("POST", pods, {"metadata": about, "spec": spec})
        await asyncio.sleep(self.options.ready_after)
        ready = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]
        await self.api.patch(f"{pods}/{name}-engine/status", {"status": {"phase": "Running", "conditions": ready}})
        await self.api.patch(f"{path}/status", {"status": _status(isvc, True)})

    async def _deploy(self, isvc: Json, path: str) -> None:
        meta, spec = isvc["metadata"], isvc["spec"]
        space, name, key = meta["namespace"], meta["name"], f"isvc {_key(isvc)}"
        if "engine" not in spec:
            await self.event(isvc, "Warning", "DeploymentModeError", "engine component is required")
            return
        model = self.kept["models"].get(spec["model"]["name"])
        runtime = self._runtime(spec, model)
        if spec["model"].get("kind") != "ClusterBaseModel" or model is None:
            return
        named = (spec.get("runtime") or {}).get("name", "")
        problem = (
            fits(model, runtime)
            if runtime is not None
            else f"runtime {named} not found in namespace {space} or at cluster scope"
        )
        if problem is not None:
            text = f"Runtime {named} does not support model {spec['model']['name']}: {problem}"
            await self.event(isvc, "Warning", "RuntimeValidationError", text)
            pause = self._backoff[key] = min(self._backoff.get(key, 0.25) * 2, 60)
            self._spawn(self.later(key, pause))
            return
        assert runtime is not None
        try:
            override = json.loads(self.misbehaves(isvc, "override") or "{}")
            built = merge.deployment(isvc, runtime, model, override)
        except merge.SilentError:
            return
        apps, core = f"/apis/apps/v1/namespaces/{space}/deployments", f"/api/v1/namespaces/{space}/services"
        there = self.kept["deployments"].get(f"{space}/{name}-engine")
        port = merge.port_of(built)
        if there is None:
            about = {"ome.io/inferenceservice": name}
            await self.api.call("POST", f"/api/v1/namespaces/{space}/configmaps", {
                "metadata": {"name": f"modelconfig-{name[-20:]}", "labels": about,
                             "ownerReferences": [merge.owner(isvc)]},
                "data": {"models.json": "[]"},
            })  # fmt: skip
            await self.api.call("POST", apps, built)
            await self.api.call("POST", core, merge.service_of(isvc, f"{name}-engine", {"app": f"{name}-engine"}, port))
            # Every healthy start-up has these.
            await self.event(isvc, "Warning", "InternalError", f'Service "{name}" not found')
            await self.event(isvc, "Warning", "UpdateFailed", "the object has been modified")
        elif not _same_labels(there, built):
            await self.api.patch(f"{apps}/{name}-engine", {"spec": {"template": built["spec"]["template"]}})
        selector = {"ome.io/inferenceservice": name, "component": "engine"}
        mine = merge.service_of(isvc, name, selector, port)
        service = await self.api.get(f"{core}/{name}")
        if service is None:
            await self.api.call("POST", core, mine)
        elif meta["uid"] not in [one["uid"] for one in service["metadata"].get("ownerReferences") or []]:
            return
        if self.misbehaves(isvc, "mute"):
            return
        there = self.kept["deployments"].get(f"{space}/{name}-engine")
        ready = there is not None and any(
            one["type"] == "Available" and one["status"] == "True"
            for one in (there.get("status") or {}).get("conditions") or []
        )
        await self._write(path, isvc, _status(isvc, ready))

    def _runtime(self, spec: Json, model: Json | None) -> Json | None:
        if "runtime" in spec:
            return self.kept["runtimes"].get(spec["runtime"]["name"])
        fitting = [one for one in self.kept["runtimes"].values() if model is not None and fits(model, one) is None]
        return fitting[0] if fitting else None

    # --- BenchmarkJob

    async def _benchmark(self, job: Json) -> None:
        meta, spec = job["metadata"], job["spec"]
        space, name, key = meta["namespace"], meta["name"], f"bench {_key(job)}"
        path = f"{_OME}/namespaces/{space}/benchmarkjobs/{name}"
        if "deletionTimestamp" in meta:
            await self._let_go(job, path, _BENCHMARK_FINALIZER)
            return
        if _BENCHMARK_FINALIZER not in (meta.get("finalizers") or []):
            await self.api.patch(path, {"metadata": {"finalizers": [_BENCHMARK_FINALIZER]}})
        target = (spec["endpoint"].get("inferenceService") or {}).get("name")
        isvc = self.kept["inferenceservices"].get(f"{space}/{target}")
        model = self.kept["models"].get(isvc["spec"]["model"]["name"]) if isvc else None
        made = self.kept["jobs"].get(f"{space}/{name}")
        if made is None:
            claim = spec["outputLocation"]["storageUri"].removeprefix("pvc://").split("/")[0]
            missing = spec["outputLocation"]["storageUri"].startswith("pvc://") and not await self.api.get(
                f"/api/v1/namespaces/{space}/persistentvolumeclaims/{claim}"
            )
            await self._write(path, job, {"state": "Pending", "lastReconcileTime": _now()})
            if isvc is None or model is None or missing or not _is_ready(isvc):
                self._spawn(self.later(key, 6.0))
                return
            env = ((isvc["spec"].get("engine") or {}).get("runner") or {}).get("env") or []
            backend = next((one["value"] for one in env if one["name"] == "PROTOCOL_VERSION"), "openai")
            await self.api.call(
                "POST",
                f"/apis/batch/v1/namespaces/{space}/jobs",
                merge.benchmark(job, model, self.options.image, backend),
            )
            return
        told = made.get("status") or {}
        state = {"Complete": "Completed", "Failed": "Failed"}.get(
            next((c["type"] for c in told.get("conditions") or [] if c["status"] == "True"), ""), "Running"
        )
        status = {"state": state, "lastReconcileTime": _now()}
        if state == "Failed":
            status["failureMessage"] = "Job has reached the specified backoff limit"
        await self._write(path, job, status)

    # --- what both need

    async def _let_go(self, obj: Json, path: str, finalizer: str) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        if finalizer in finalizers:
            rest = [one for one in finalizers if one != finalizer]
            version = obj["metadata"]["resourceVersion"]
            await self.api.patch(path, {"metadata": {"finalizers": rest, "resourceVersion": version}})

    async def _write(self, path: str, obj: Json, status: Json) -> None:
        """Write a status if it changes."""
        kept = {k: v for k, v in (obj.get("status") or {}).items() if k != "lastReconcileTime"}
        if {k: v for k, v in status.items() if k != "lastReconcileTime"} != kept:
            await self.api.patch(f"{path}/status", {"status": status})

    async def event(self, obj: Json, kind: str, reason: str, message: str) -> None:
        meta = obj["metadata"]
        if (meta["uid"], reason) in self._told:
            return
        self._told.add((meta["uid"], reason))
        about = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "name": meta["name"], "uid": meta["uid"]}
        await self.api.call("POST", f"/api/v1/namespaces/{meta['namespace']}/events", {
            "metadata": {"generateName": f"{meta['name']}."}, "type": kind, "reason": reason, "message": message,
            "involvedObject": {**about, "namespace": meta["namespace"]}, "count": 1,
            "firstTimestamp": _now(), "lastTimestamp": _now(), "source": {"component": "v1beta1Controllers"},
        })  # fmt: skip


def _key(obj: Json) -> str:
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def _is_ready(isvc: Json) -> bool:
    conditions = (isvc.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _same_labels(there: Json, built: Json) -> bool:
    old, new = there["spec"]["template"]["metadata"], built["spec"]["template"]["metadata"]
    return old.get("labels") == new["labels"] and (old.get("annotations") or {}) == new["annotations"]


def _status(isvc: Json, ready: bool) -> Json:
    name, space = isvc["metadata"]["name"], isvc["metadata"]["namespace"]
    flag = "True" if ready else "False"
    told = {} if ready else {"reason": "Initializing", "message": "engine component initializing"}
    old = {one["type"]: one for one in (isvc.get("status") or {}).get("conditions") or []}

    def since(kind: str, status: str) -> str:
        same = kind in old and old[kind]["status"] == status
        return str(old[kind]["lastTransitionTime"]) if same else _now()

    conditions = [
        {"type": "EngineReady", "status": flag, "lastTransitionTime": since("EngineReady", flag), **told},
        {"type": "IngressReady", "status": "True", "lastTransitionTime": since("IngressReady", "True")},
        {"type": "Ready", "status": flag, "lastTransitionTime": since("Ready", flag), **told},
    ]
    states = {"activeModelState": "Loaded" if ready else "", "targetModelState": "Loaded" if ready else "Pending"}
    return {
        "url": f"http://{name}.{space}.svc.cluster.local:8080",
        "conditions": conditions,
        "modelStatus": {
            "modelRevisionStates": states,
            "transitionStatus": "UpToDate" if ready else "InProgress",
        },
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def serve(options: argparse.Namespace) -> None:
    async with Api(options.kubeconfig) as api:
        controller = Controller(api, options)
        hooks = Webhooks(lambda: controller.kept["models"], lambda: controller.kept["runtimes"])
        with tempfile.TemporaryDirectory() as folder:
            runner, url, ca = await hooks.serve(Path(folder))
            running = asyncio.ensure_future(controller.run())
            await hooks.register(api, url, ca)
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
            closed = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
            await asyncio.wait((running, closed), return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--no-pods", action="store_true")
    parser.add_argument("--ready-after", type=float, default=0.2)
    parser.add_argument("--image", default="ghcr.io/sgl-project/genai-bench:test")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
