"""The executors that measure in a cluster, with a fake genai-bench in real Jobs and pods."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.benchmark_job import OmeBenchmark
from autotune_nb.bench.job import JobBenchmark
from autotune_nb.cluster.names import trial_name
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement
from tests.kubernetes.handle import TestCluster
from tests.stubs import IN_CLUSTER_LOAD, FakeBench, running

IMAGE_HERE = "ghcr.io/sgl-project/genai-bench:test"
CLAIM = "pvc://results/some/folder"
BASE: dict[str, Any] = {
    "name": "bench",
    "model": {"id_or_path": "tiny"},
    "engine": {"kind": "llama_cpp"},
    "parameters": {"threads": [1, 2]},
    "workload": IN_CLUSTER_LOAD,
    "objective": "maximize output_tokens_per_s",
    "deadlines": {"ready_s": 40, "stop_s": 5, "pending_s": 8},
    "deploy": {"kind": "ome", "runtime": "stub", "gpus_per_trial": 0},
}
#: What ``python3 -c`` of the in-pod script imports; it passes its command line to the fake.
_MODULE = """
import subprocess, sys

class benchmark:
    params = ()

class cli:
    @staticmethod
    def main(args, prog_name):
        sys.exit(subprocess.call([{script!r}, *args]))
"""


def task_of(
    *,
    workload: dict[str, Any] | None = None,
    deploy: dict[str, Any] | None = None,
    deadlines: dict[str, Any] | None = None,
    **benchmark: Any,
) -> Task:
    return Task.parse(
        {
            **BASE,
            "workload": {**BASE["workload"], **(workload or {})},
            "deploy": {**BASE["deploy"], **(deploy or {})},
            "deadlines": {**BASE["deadlines"], **(deadlines or {})},
            "benchmark": benchmark,
        }
    )


class BenchNamespace:
    """A namespace with an InferenceService that is Ready and a claim."""

    def __init__(self, cluster: TestCluster) -> None:
        self.cluster = cluster
        self.namespace = cluster.namespace()
        self.claim = cluster.claim(self.namespace, "results")
        probes = {
            "startupProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 500},
            "readinessProbe": {"periodSeconds": 10},
        }
        engine = {"minReplicas": 1, "maxReplicas": 1, "runner": {"name": "ome-container", **probes}}
        service = cluster.create(
            {
                "apiVersion": "ome.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {"name": "engine", "namespace": self.namespace},
                "spec": {"model": {"name": "tiny"}, "runtime": {"name": "stub"}, "engine": engine},
            }
        )
        self.uid = str(service["metadata"]["uid"])
        cluster.until(self._ready)

    def _ready(self) -> bool:
        (service,) = self.cluster.services(self.namespace)
        conditions = (service.get("status") or {}).get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def path(self, plural: str, name: str = "") -> str:
        """The API path of a plural such as ``pods`` or ``apis/batch/v1/jobs`` in this namespace."""
        group, _, last = plural.rpartition("/")
        return f"/{group or 'api/v1'}/namespaces/{self.namespace}/{last}" + (f"/{name}" if name else "")

    def benchmark_objects(self) -> list[str]:
        """The names of the BenchmarkJobs, Jobs and pods of benchmarks that exist."""
        found = [*self.cluster.list("apis/ome.io/v1beta1/benchmarkjobs", self.namespace)]
        found += self.cluster.list("apis/batch/v1/jobs", self.namespace)
        pods = self.cluster.list("pods", self.namespace)
        found += [pod for pod in pods if "ome.io/inferenceservice" not in pod["metadata"].get("labels", {})]
        return [str(one["metadata"]["name"]) for one in found]


class Executor:
    """One executor with its own session, which ``prepare`` opens; it fulfils the protocol ``Benchmark``."""

    def __init__(
        self,
        bench_namespace: BenchNamespace,
        executor: str,
        folder: Path,
        *,
        kubeconfig: Path | None = None,
        **options: Any,
    ) -> None:
        self.bench_namespace = bench_namespace
        self.folder = folder / "trial"
        self.folder.mkdir(parents=True)
        self.fake = FakeBench(folder / "fake")
        self.notices: list[str] = []
        python = folder / "python"
        (python / "genai_bench" / "cli").mkdir(parents=True)
        for package in (python / "genai_bench", python / "genai_bench" / "cli"):
            # Otherwise the real package would be found first.
            (package / "__init__.py").touch()
        (python / "genai_bench" / "cli" / "cli.py").write_text(_MODULE.format(script=str(self.fake.script)))
        (self.fake.script.parent / "genai-bench").symlink_to(self.fake.script)
        path = f"{self.fake.script.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
        env = [{"name": "PATH", "value": path}, {"name": "PYTHONPATH", "value": str(python)}]
        deploy = {
            "kubeconfig": str(kubeconfig or bench_namespace.cluster.kubeconfig),
            "namespace": bench_namespace.namespace,
        }
        pod = {"env": env, **options.pop("pod", {})}
        self.task = task_of(
            executor=executor, deploy=deploy, **{"image": IMAGE_HERE, "results": CLAIM, "pod": pod, **options}
        )
        self.session = ClusterSession(self.task, study_label=uuid.uuid4().hex[:12])
        self.session.notify = self.notices.append
        self.inner = (
            OmeBenchmark(self.task, self.session)
            if executor == "benchmark_job"
            else JobBenchmark(self.task, self.session, backend="openai", engine=None)
        )

    def writes(self, levels: Mapping[str, dict[str, Any] | str], **shell: str) -> Executor:
        """Make the fake genai-bench write these level files."""
        self.fake.write(levels, **shell)
        return self

    @property
    def name(self) -> str:
        return trial_name(self.task.name, self.session.study_label, 0)

    @property
    def service(self) -> ClusterService:
        url = f"http://engine.{self.bench_namespace.namespace}.svc.cluster.local:8080"
        return ClusterService(0, "engine", self.bench_namespace.namespace, uuid.uuid4().hex, url, "tiny", "", {})

    def request(self) -> BenchRequest:
        return BenchRequest(
            "http://127.0.0.1:1", "tiny", "tok", self.folder, 0, self.service, on_notice=self.notices.append
        )

    def loading(self) -> bool:
        return any(map(running, self.fake.pids))

    async def prepare(self, tokenizer: str = "") -> None:
        await self.session.open()
        await self.session.acquire()
        await self.session.follow()
        await self.inner.prepare(tokenizer)

    def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        return self.inner.measure(request)

    async def fingerprint(self) -> dict[str, Any]:
        return await self.inner.fingerprint()

    async def close(self) -> None:
        await self.inner.close()
        await self.session.close()

    async def measured(self, levels: list[Measurement] | None = None) -> list[Measurement]:
        """Prepare, measure all levels and close. Measurements before an error are in ``levels``."""
        levels = [] if levels is None else levels
        await self.prepare()
        try:
            async with aclosing(self.measure(self.request())) as measuring:
                async for one in measuring:
                    levels.append(one)
        finally:
            await self.close()
        return levels

    async def disturbed(self, disturb: Any) -> list[Measurement]:
        """``measured``, with a call of ``disturb`` in a thread once the fake genai-bench runs."""

        async def once_it_runs() -> None:
            while not self.loading():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await asyncio.to_thread(disturb)

        disturbing = asyncio.ensure_future(once_it_runs())
        try:
            return await self.measured()
        finally:
            disturbing.cancel()
