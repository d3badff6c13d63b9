"""OME's admission webhooks, served over TLS and registered with the API server; creation fails without them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.kubernetes.ome_api import Api

Json = dict[str, Any]
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SCENARIO = re.compile(r"(N\(\d+,\d+\)/\(\d+,\d+\)|U\(\d+,\d+\)(/\(\d+,\d+\))?|D\(\d+,\d+\))")
_STORAGE = re.compile(r"(pvc://[^/]+/.+|(s3|gs|oci)://.+)")


class Webhooks:
    """Sets defaults and rejects objects as OME does. ``models`` and ``runtimes`` are those that exist, by name."""

    def __init__(self, models: Callable[[], dict[str, Json]], runtimes: Callable[[], dict[str, Json]]) -> None:
        self._models, self._runtimes = models, runtimes

    async def serve(self, folder: Path) -> tuple[web.AppRunner, str, bytes]:
        """The running server, its address and the certificate to trust."""
        key, crt = folder / "webhook.key", folder / "webhook.crt"
        openssl = await asyncio.create_subprocess_exec(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(crt)),
            *("-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert await openssl.wait() == 0
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(crt, key)
        app = web.Application()
        for path, answer in (
            ("/mutate-isvc", self._default),
            ("/validate-isvc", self._validate),
            ("/validate-benchmark", self._validate_benchmark),
        ):
            app.router.add_post(path, _review(answer))
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        return runner, f"https://127.0.0.1:{runner.addresses[0][1]}", crt.read_bytes()

    async def register(self, api: Api, url: str, ca: bytes) -> None:
        bundle = base64.b64encode(ca).decode()

        def hook(name: str, path: str, plural: str) -> Json:
            return {
                "name": name,
                "clientConfig": {"url": url + path, "caBundle": bundle},
                "rules": [
                    {
                        "apiGroups": ["ome.io"],
                        "apiVersions": ["v1beta1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": [plural],
                    }
                ],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 10,
            }

        isvc = "inferenceservice.ome-webhook-server"
        for kind, hooks in (
            ("mutating", [hook(f"{isvc}.defaulter", "/mutate-isvc", "inferenceservices")]),
            ("validating", [
                hook(f"{isvc}.validator", "/validate-isvc", "inferenceservices"),
                hook("benchmarkjob.ome-webhook-server.validator", "/validate-benchmark", "benchmarkjobs"),
            ]),
        ):  # fmt: skip
            path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations"
            await api.call("DELETE", f"{path}/ome-standin")
            status, told = await api.call("POST", path, {"metadata": {"name": "ome-standin"}, "webhooks": hooks})
            assert status == 201, told

    def _default(self, obj: Json) -> list[Json] | str:
        spec, patch = obj["spec"], []
        for name, kind in (("model", "ClusterBaseModel"), ("runtime", "ClusterServingRuntime")):
            if name in spec:
                for key, value in (("kind", kind), ("apiGroup", "ome.io")):
                    if key not in spec[name]:
                        patch.append({"op": "add", "path": f"/spec/{name}/{key}", "value": value})
        if "predictor" not in spec:
            patch.append({"op": "add", "path": "/spec/predictor", "value": {}})
        if "engine" in spec and "maxReplicas" not in spec["engine"]:
            patch.append({"op": "add", "path": "/spec/engine/maxReplicas", "value": 3})
        mode, key = "RawDeployment", "ome.io~1deploymentMode"
        if obj["metadata"].get("annotations"):
            patch.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": mode})
        else:
            patch.append({"op": "add", "path": "/metadata/annotations", "value": {"ome.io/deploymentMode": mode}})
        return patch

    def _validate(self, obj: Json) -> list[Json] | str:
        name, space = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
        if not _NAME.fullmatch(name):
            return f'invalid InferenceService name "{name}", must match "[a-z]([-a-z0-9]*[a-z0-9])?"'
        model = (obj["spec"].get("model") or {}).get("name")
        if model and model not in self._models() and "deletionTimestamp" not in obj["metadata"]:
            return (
                f'referenced model "{model}" not found in namespace "{space}": ensure a BaseModel exists in this '
                "namespace or a ClusterBaseModel exists cluster-wide with this name"
            )
        if model and "runtime" not in obj["spec"] and not any(
            fits(self._models()[model], runtime) is None for runtime in self._runtimes().values()
        ):  # fmt: skip
            return (
                f"no supporting runtime found for model {model} and engine does not have complete runner "
                "configuration: no runtime found to support it"
            )
        return []

    def _validate_benchmark(self, obj: Json) -> list[Json] | str:
        spec = obj["spec"]
        given = [key for key in ("endpoint", "inferenceService") if spec["endpoint"].get(key)]
        if len(given) != 1:
            return "invalid endpoint: exactly one of endpoint or InferenceService must be specified"
        for scenario in spec.get("trafficScenarios") or []:
            if spec["task"] == "text-to-text" and not _SCENARIO.fullmatch(scenario):
                return (
                    f"invalid traffic scenarios: failed to validate scenario '{scenario}': invalid scenario format "
                    f"for task 'text-to-text': {scenario}"
                )
        if not _STORAGE.fullmatch(spec["outputLocation"]["storageUri"]):
            return f"invalid storage: error parsing storage URI: {spec['outputLocation']['storageUri']}"
        return []


def fits(model: Json, runtime: Json) -> str | None:
    """Return why a runtime does not support a model; None if it does."""
    wanted = (model["spec"].get("modelFormat") or {}).get("name")
    if not wanted:
        return "invalid model specification: modelFormat.name: model format name is required"
    known = [one.get("modelFormat", {}).get("name") for one in runtime["spec"].get("supportedModelFormats") or []]
    if wanted in known:
        return None
    return f"model format 'mt:{wanted}' not in supported formats {known}"


def _review(answer: Callable[[Json], list[Json] | str]) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        asked = (await request.json())["request"]
        response: Json = {"uid": asked["uid"], "allowed": True}
        # An object on its way out only loses its finalizers.
        leaving = "deletionTimestamp" in (asked.get("object") or {}).get("metadata", {})
        told = [] if leaving else answer(asked["object"])
        if isinstance(told, str):
            response |= {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": told}}
        elif told:
            patch = base64.b64encode(json.dumps(told).encode()).decode()
            response |= {"patchType": "JSONPatch", "patch": patch}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    return handle
