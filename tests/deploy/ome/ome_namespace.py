"""A namespace of the test cluster with deployers of the stub engine, and helpers for tests of trials."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from autotune_nb.cluster.names import trial_labels, trial_name
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy import DeployRequest
from autotune_nb.deploy.ome.deployer import OmeDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import Failure, TrialError
from autotune_nb.task.task import Task
from tests.kubernetes.handle import TestCluster
from tests.stubs import HANGS_S, deploy_request, in_loop

_OME = "/apis/ome.io/v1beta1"


class _Bare(OmeDeployer):
    """Without the preflight, which has tests of its own."""

    async def _preflight(self) -> None:
        pass


class OmeNamespace:
    """A namespace of the test cluster, deployers of the stub engine, and their notices."""

    def __init__(self, cluster: TestCluster, kubeconfig: Path, namespace: str, data: dict[str, Any], folder: Path):
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder
        self.study = uuid.uuid4().hex[:12]
        self.notices: list[str] = []
        self.phases: list[str] = []
        self.kubeconfig = kubeconfig
        self._data = data

    def task(self, *words: str, **changes: Any) -> Task:
        deploy = {
            "kind": "ome",
            "runtime": "stub",
            "kubeconfig": str(self.kubeconfig),
            "namespace": self.namespace,
            "gpus_per_trial": 0,
            **changes.pop("deploy", {}),
        }
        # The cluster's seconds are tenths: its startup probe allows six of ours, on a busy machine too.
        deadlines = {"ready_s": 60, "pending_s": 20, "stop_s": 3, **changes.pop("deadlines", {})}
        engine = {"kind": "llama_cpp", "raw_args": list(words)}
        made = {"model": "tiny", "engine": engine, "deploy": deploy, "deadlines": deadlines}
        return Task.parse({**self._data, **made, **changes})

    def deployer(self, *words: str, checked: bool = False, **changes: Any) -> OmeDeployer:
        task = self.task(*words, **changes)
        session = ClusterSession(task, study_label=self.study)
        return (OmeDeployer if checked else _Bare)(task, engine_for(task), session, folder=self.folder)

    def name(self, trial: int = 0) -> str:
        return trial_name(self._data["name"], self.study, trial)

    def request(self, trial: int = 0, **params: Any) -> DeployRequest:
        made = deploy_request(self.folder / uuid.uuid4().hex, trial=trial, params=params)
        return replace(made, on_notice=self.notices.append, on_phase=self.phases.append)

    def left(self) -> list[str]:
        """Whatever of InferenceServices and what is made for them is there."""
        kinds = ("apis/apps/v1/deployments", "apis/apps/v1/replicasets", "pods")
        there = [*self.cluster.services(self.namespace)]
        for kind in kinds:
            there += self.cluster.list(kind, self.namespace)
        return [obj["metadata"]["name"] for obj in there]

    def path(self, trial: int = 0) -> str:
        return f"{_OME}/namespaces/{self.namespace}/inferenceservices/{self.name(trial)}"

    def pod_path(self, deployment: Any) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{deployment.pod['metadata']['name']}"

    def kill(self, deployment: Any) -> None:
        """Kill the engine's process; its pod's folder is its working directory."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if Path(process.cwd()).name == deployment.pod["metadata"]["uid"]:
                    os.kill(process.pid, signal.SIGKILL)

    def hold_back(self, trial: int) -> None:
        """Let a trial's InferenceService stay Terminating, as if nobody took OME's finalizer away."""
        kept = self.cluster.get(self.path(trial))["metadata"].get("finalizers") or []
        status, told = self.cluster.call(
            "PATCH", self.path(trial), {"metadata": {"finalizers": [*kept, "test.example.com/held"]}}
        )
        assert status == 200, told

    def let_go(self, trial: int) -> None:
        self.cluster.call("PATCH", self.path(trial), {"metadata": {"finalizers": None}})

    def leave_behind(self, trial: int = 7, *words: str, **changes: Any) -> None:
        """An InferenceService as an earlier process of the study would leave it."""
        found = yaml.safe_load(self.deployer(*words, **changes).manifest({}) or "")
        found["metadata"] = {
            "name": self.name(trial),
            "namespace": self.namespace,
            "labels": trial_labels(self.study, trial),
        }
        self.cluster.create(found)

    def told(self, *words: str) -> bool:
        return any(all(word in notice for word in words) for notice in self.notices)


@contextlib.asynccontextmanager
async def prepared(deployer: OmeDeployer) -> AsyncIterator[OmeDeployer]:
    await deployer.prepare()
    try:
        yield deployer
    finally:
        await deployer.close()


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return in_loop(work())


async def failure_of(deployer: OmeDeployer, request: DeployRequest) -> Failure:
    """The failure that deploying raises, or what ends it."""
    with pytest.raises(TrialError) as caught:
        async with deployer.deploy(request) as deployment:
            await asyncio.wait_for(deployment.died(), HANGS_S)
    return caught.value.failure


async def gone_wrong(deployer: OmeDeployer, request: DeployRequest, then: Callable[[Any], object]) -> Failure:
    """The failure that something done to a running engine raises."""
    with pytest.raises(TrialError) as caught:
        async with deployer.deploy(request) as deployment:
            await asyncio.to_thread(then, deployment)
            await asyncio.wait_for(deployment.died(), HANGS_S)
    return caught.value.failure


async def in_and_out(deployer: OmeDeployer, request: DeployRequest) -> None:
    async with deployer.deploy(request):
        pass
