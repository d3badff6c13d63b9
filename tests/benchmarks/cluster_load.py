"""400 trials, 40 at the same time, against a real API server: requests, CPU time and objects that are left.

The tests' stub replaces OME's controller: its services are Ready after 0.2 s, and no node runs their pods. So the
benchmark measures this package alone, with a real API server.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from autotune_nb.cluster.kinds import CONFIG_MAP, INFERENCE_SERVICE, LEASE, POD, labels_of
from autotune_nb.cluster.names import STUDY_LABEL
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.deploy import DeployRequest
from autotune_nb.deploy.ome.deployer import OmeDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.task.task import Task
from tests.benchmarks.figure import Figure
from tests.kubernetes.fixtures import PROGRAM, REPOSITORY
from tests.kubernetes.handle import TestCluster
from tests.kubernetes.host import models, runtimes

_TRIALS, _AT_ONCE = 400, 40
_READY_S, _HELD_S = 0.2, 6.0
_POLL_S = 0.02


def cluster_load() -> list[Figure]:
    """Return requests and CPU time per trial, the wall time ratio, concurrent pods and objects left."""
    program = Path(os.environ.get("AUTOTUNE_NB_TEST_CLUSTER") or PROGRAM)
    if not program.is_file():
        click.echo("cluster: skipped, there is no test cluster (AUTOTUNE_NB_TEST_CLUSTER, see CONTRIBUTING.md)")
        return []
    with tempfile.TemporaryDirectory(prefix="at-load-") as folder, _running(program, Path(folder)) as cluster:
        return asyncio.run(_load(cluster, Path(folder)))


@contextmanager
def _running(program: Path, folder: Path) -> Iterator[TestCluster]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    node = ["--", "--label", "models.ome.io/clusterbasemodel.tiny=Ready"]
    cluster = subprocess.Popen([sys.executable, str(program), "--namespace", "load", *node], text=True, **pipes)
    parts = [cluster]
    try:
        assert cluster.stdout is not None
        handle = TestCluster(**json.loads(cluster.stdout.readline()))
        command = [sys.executable, "-m", "tests.kubernetes.ome_controller", "--kubeconfig", handle.kubeconfig]
        standin = subprocess.Popen([*command, "--no-pods", "--ready-after", str(_READY_S)], cwd=REPOSITORY, **pipes)
        parts.append(standin)
        assert standin.stdout is not None
        assert standin.stdout.readline()
        for obj in (*models(str(folder)), *runtimes()):
            handle.create(obj)
        yield handle
    finally:
        for part in reversed(parts):
            assert part.stdin is not None
            part.stdin.close()
            part.wait(30)
            assert part.stdout is not None
            part.stdout.close()


async def _load(cluster: TestCluster, folder: Path) -> list[Figure]:
    task = Task.parse(
        {
            "name": "load",
            "model": {"id_or_path": "tiny", "served_name": "tiny"},
            "engine": "llama_cpp",
            "parameters": {"threads": [1, 2]},
            "workload": {"scenarios": ["D(16,8)"], "concurrency": [1], "seconds_per_level": 1, "requests_per_level": 1},
            "objective": "maximize output_tokens_per_s",
            "deadlines": {"ready_s": 120, "stop_s": 20},
            "deploy": {
                "kind": "ome",
                "runtime": "stub",
                "namespace": "load",
                "kubeconfig": cluster.kubeconfig,
                "gpus": _AT_ONCE,
                "gpus_per_trial": 1,
                "parallel": _AT_ONCE,
            },
        }
    )
    session = ClusterSession(task, study_label="load-0")
    deployer = OmeDeployer(task, engine_for(task), session, folder=folder)
    await deployer.prepare()
    return await _measured(session, deployer, folder)


async def _measured(session: ClusterSession, deployer: OmeDeployer, folder: Path) -> list[Figure]:
    cluster, watches = session.cluster, session.watches
    before = sum(cluster.requests.values())
    numbers = iter(range(_TRIALS))
    most = 0

    async def worker() -> None:
        for trial in numbers:
            request = DeployRequest(trial, {"threads": 1}, folder)
            async with deployer.deploy(request):
                await asyncio.sleep(_HELD_S)

    async def count() -> None:
        """Count the pods, terminating ones included, since they still hold their GPUs."""
        nonlocal most
        while True:
            most = max(most, len(watches.objects(POD)))
            await asyncio.sleep(_POLL_S)

    counting = asyncio.ensure_future(count())
    began, cpu = time.monotonic(), _cpu_s()
    await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
    wall_s, cpu_s = time.monotonic() - began, _cpu_s() - cpu
    counting.cancel()
    requests = sum(cluster.requests.values()) - before
    await deployer.close()
    left = await _left(session)
    ideal_s = _TRIALS * (_READY_S + _HELD_S) / _AT_ONCE
    note = f"{_TRIALS} trials of {_READY_S + _HELD_S:g} s, {_AT_ONCE} at once: {wall_s:.1f} s, ideal {ideal_s:.1f} s"
    return [
        Figure("cluster_requests_per_trial", requests / _TRIALS, 10, "API requests, including watches"),
        Figure("cluster_cpu_ms_per_trial", 1000 * cpu_s / _TRIALS, 40, "CPU time of this process"),
        Figure("cluster_wall_ratio", wall_s / ideal_s, 1.3, note),
        Figure("cluster_held_at_once", most, _AT_ONCE, "pods at the same time, including terminating ones"),
        Figure("cluster_objects_left", left, 0, "objects of the study after its end"),
    ]


async def _left(session: ClusterSession) -> int:
    await session.open()
    try:
        count = 0
        for kind in (INFERENCE_SERVICE, POD, CONFIG_MAP, LEASE):
            found, _ = await session.cluster.list(kind)
            count += sum(1 for one in found if labels_of(one).get(STUDY_LABEL) == session.study_label)
        return count
    finally:
        await session.close()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
