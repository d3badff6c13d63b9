"""Runs the tests' cluster until the test session ends: ``python -m tests.kubernetes.host FOLDER PID MODEL``.

Starts the cluster's program and, unless OME's real controller runs in it, the stand-in; makes the models and runtimes
that every test may use; writes ``cluster.json`` into the folder; ends with the process of that PID.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.kubernetes.handle import TestCluster

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
_TINY = "/apis/ome.io/v1beta1/clusterbasemodels/tiny"
MODELS = ("tiny", "absent")
#: One that is not made here, and whose weights are on a node all the same.
BROUGHT = "brought"
#: Images the node knows; any other is missing.
IMAGES = [
    {"image": "ghcr.io/sgl-project/genai-bench:*", "env": {"HF_HUB_OFFLINE": "1"}},
    {"image": "engine/*"},
    {"image": "autotune-nb/*"},
]
_MODEL_LABEL = "models.ome.io/clusterbasemodel."
_SLOW_PROBE = {"httpGet": {"path": "/health", "port": 8080}, "timeoutSeconds": 5}


def _runtime(name: str, command: list[str], args: list[str] | None = None) -> dict[str, Any]:
    """Return a runtime like OME's own: its probes start after a minute."""
    runner: dict[str, Any] = {
        "name": "ome-container",
        "image": "engine/test:1",
        "ports": [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}],
        "command": command,
        "startupProbe": {**_SLOW_PROBE, "initialDelaySeconds": 60, "periodSeconds": 6, "failureThreshold": 150},
        "readinessProbe": {**_SLOW_PROBE, "periodSeconds": 60, "failureThreshold": 3},
    }
    if args is not None:
        runner["args"] = args
    formats = {
        "modelFormat": {"name": "gguf", "version": "1"},
        "modelFramework": {"name": "llamacpp", "version": "1"},
        "modelArchitecture": "LlamaForCausalLM",
        "autoSelect": name == "llama-cpp",
        "priority": 1,
    }
    return {
        "apiVersion": "ome.io/v1beta1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": name},
        "spec": {
            "supportedModelFormats": [formats],
            "protocolVersions": ["openAI"],
            "engineConfig": {"runner": runner},
        },
    }


def runtimes() -> list[dict[str, Any]]:
    python, stub = sys.executable, str(HERE / "stub_engine.py")
    llama = [python, "-m", "autotune_nb.engines.llama_server", "--model", "$(MODEL_PATH)/model.gguf", "--alias", "tiny"]
    llama += ["--host", "0.0.0.0", "--port", "8080", "--ctx-size", "2048"]
    missing = _runtime("no-image", [python, stub])
    missing["spec"]["engineConfig"]["runner"]["image"] = "docker.io/missing/engine:1"
    return [
        _runtime("llama-cpp", llama),
        _runtime("stub", [python, stub, "--host", "0.0.0.0", "--port", "8080"]),
        _runtime("stub-args", [python, stub], ["--port", "8080", "--threads", "1"]),
        _runtime("stub-shell", ["/bin/bash", "-c", f"exec {python} {stub} --port 8080 --threads 1"]),
        missing,
    ]


def models(folder: str) -> list[dict[str, Any]]:
    made = []
    for name in MODELS:
        spec: dict[str, Any] = {
            "modelFormat": {"name": "gguf", "version": "1"},
            "modelFramework": {"name": "llamacpp", "version": "1"},
            "modelArchitecture": "LlamaForCausalLM",
            "modelParameterSize": "7B",
            "storage": {"storageUri": f"hf://test/{name}", "path": folder},
        }
        made.append(
            {"apiVersion": "ome.io/v1beta1", "kind": "ClusterBaseModel", "metadata": {"name": name}, "spec": spec}
        )
    return made


def play_model_agent(handle: TestCluster) -> None:
    """Record a node's models in a ConfigMap for OME's controller, as OME's model agent does."""
    handle.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ome"}})
    for node in handle.get("/api/v1/nodes")["items"]:
        names = [name for name in MODELS if f"{_MODEL_LABEL}{name}" in node["metadata"].get("labels", {})]
        about = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": node["metadata"]["name"], "labels": {"models.ome/basemodel-status": "true"}},
            "data": {f"clusterbasemodel.{name}": json.dumps({"name": name, "status": "Ready"}) for name in names},
        }
        handle.create(about, "ome")


def main(folder: Path, pid: int, model: str) -> None:
    images = folder / "images.yaml"
    images.write_text(yaml.safe_dump(IMAGES))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(REPOSITORY)
    options = ["--gpus", "8", "--hurry", "0.1", "--images", str(images)]
    # The weights of one are there before it is made.
    options += [word for name in ("tiny", BROUGHT) for word in ("--label", f"{_MODEL_LABEL}{name}=Ready")]
    program = os.environ["AUTOTUNE_NB_TEST_CLUSTER"]
    parts: list[subprocess.Popen[str]] = []
    try:
        for root in ("root", "root-again", "root-at-last"):
            # On a machine that is busy enough it gives up on itself.
            cluster = subprocess.Popen(
                [sys.executable, program, "--root", str(folder / root), "--namespace", "tune", "--", *options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )  # fmt: skip
            parts = [cluster]
            assert cluster.stdout is not None
            if line := cluster.stdout.readline():
                break
            cluster.wait(15)
        told = json.loads(line)
        external = os.environ.get("AUTOTUNE_NB_OME_CONTROLLER") == "external"
        if not external:
            standin = subprocess.Popen(
                [sys.executable, "-m", "tests.kubernetes.ome_controller", "--kubeconfig", told["kubeconfig"]],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY,
                stderr=(folder / "ome.log").open("wb"),
            )  # fmt: skip
            parts.append(standin)
            assert standin.stdout is not None
            assert standin.stdout.readline(), (folder / "ome.log").read_text()
        handle = TestCluster(**told)
        for obj in (*models(model), *runtimes()):
            handle.create(obj)
        if external:
            play_model_agent(handle)
            handle.until(lambda: (handle.get(_TINY).get("status") or {}).get("state") == "Ready", within_s=60)
        ready = folder / "cluster.json.new"
        ready.write_text(json.dumps(told))
        ready.rename(folder / "cluster.json")
        while psutil.pid_exists(pid) and all(part.poll() is None for part in parts):
            time.sleep(0.3)
    finally:
        for part in reversed(parts):
            assert part.stdin is not None
            part.stdin.close()
            try:
                part.wait(15)
            except subprocess.TimeoutExpired:
                part.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
