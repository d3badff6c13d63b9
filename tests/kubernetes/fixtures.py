"""Fixtures of a real cluster, shared by all test workers. Without one, the tests that need it are skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest

from autotune_nb.cluster.kinds import INFERENCE_SERVICE, name_of
from tests.kubernetes.handle import TestCluster
from tests.kubernetes.proxy import FaultProxy
from tests.kubernetes.study_objects import KINDS, NamespaceAccess
from tests.stubs import in_loop, running, until

REPOSITORY = Path(__file__).parent.parent.parent
PROGRAM = REPOSITORY.parent / "shared" / "kubernetes" / "cluster"
_HOW = (
    "no test cluster: set AUTOTUNE_NB_TEST_CLUSTER to a program that starts etcd, kube-apiserver and "
    "kube-controller-manager with OME's CRDs and a node that runs pods as processes, and prints "
    '{"kubeconfig", "url", "token", "ca", "root", "node"} in a line (see CONTRIBUTING.md)'
)
#: Owners first, since they replace what is deleted of theirs.
_WORKLOADS = (
    *("apis/ome.io/v1beta1/inferenceservices", "apis/ome.io/v1beta1/benchmarkjobs", "apis/batch/v1beta1/cronjobs"),
    *("apis/apps/v1/deployments", "apis/batch/v1/jobs", "pods"),
)
EXTERNAL = os.environ.get("AUTOTUNE_NB_OME_CONTROLLER") == "external"
#: For tests of what only a misbehaving controller does.
needs_standin = pytest.mark.skipif(EXTERNAL, reason="needs a controller that misbehaves; OME's real one runs")


@pytest.fixture(scope="session")
def starting_cluster(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path | None:
    """The folder of the session's cluster, which is starting; None if there is no program that starts one."""
    program = Path(os.environ.get("AUTOTUNE_NB_TEST_CLUSTER") or PROGRAM)
    if not program.is_file():
        return None
    worker = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if worker else base) / "cluster"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "host.pid").is_file():
            _start(program, folder, os.getppid() if worker else os.getpid(), _model(small_model, folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _cluster_starts_early(request: pytest.FixtureRequest) -> None:
    """Start the cluster first: that takes twenty seconds, in which other tests run."""
    if any("cluster" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("starting_cluster")


@pytest.fixture(scope="session")
def cluster(starting_cluster: Path | None) -> TestCluster:
    """The running cluster."""
    if starting_cluster is None:
        pytest.skip(_HOW)
    up, pid = starting_cluster / "cluster.json", int((starting_cluster / "host.pid").read_text())
    until(lambda: up.is_file() or not running(pid), within_s=200)
    assert up.is_file(), (starting_cluster / "host.log").read_text()
    return TestCluster(**json.loads(up.read_text()))


def _model(small_model: Path, folder: Path) -> Path:
    """Return a folder with the model and its tokenizer, as on a node."""
    model = folder / "model"
    if not model.is_dir():
        shutil.copytree(small_model.parent / "tokenizer", model)
        (model / "model.gguf").hardlink_to(small_model)
    return model


def _start(program: Path, folder: Path, pid: int, model: Path) -> None:
    log = (folder / "host.log").open("wb")
    with log:
        host = subprocess.Popen(
            [sys.executable, "-m", "tests.kubernetes.host", str(folder), str(pid), str(model)],
            cwd=REPOSITORY,
            env={**os.environ, "AUTOTUNE_NB_TEST_CLUSTER": str(program)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "host.pid").write_text(str(host.pid))
    # It ends with the session by itself: no worker waits for it, and Python is not to warn that nobody does.
    host.returncode = 0


@pytest.fixture
def namespace(cluster: TestCluster) -> Iterator[str]:
    """A new namespace for the test. What may run in it at the end is deleted, without waiting."""
    name = cluster.namespace()
    yield name
    # The namespace itself stays: its deletion is over a hundred requests, and it ends with the cluster.
    for plural in _WORKLOADS:
        if cluster.list(plural, name):
            cluster.delete_all(plural, name)


@pytest.fixture
def proxy(cluster: TestCluster) -> Iterator[FaultProxy]:
    """The API server, through a proxy that injects faults."""
    with FaultProxy(cluster.url, cluster.ca) as proxy:
        yield proxy


@pytest.fixture
def kubeconfig(proxy: FaultProxy, cluster: TestCluster, namespace: str, tmp_path: Path) -> Path:
    """A kubeconfig with the administrator's rights that goes through the proxy."""
    return proxy.kubeconfig(tmp_path / "kubeconfig", token=cluster.token, namespace=namespace)


@pytest.fixture
def cluster_scoped() -> list[dict[str, Any]]:
    """Objects of the whole cluster that the test creates; ``access`` deletes them at its end."""
    return []


@pytest.fixture
def access(
    cluster: TestCluster, namespace: str, tmp_path: Path, cluster_scoped: list[dict[str, Any]]
) -> Iterator[NamespaceAccess]:
    """The test's namespace, with the administrator's rights and not through the proxy."""
    access = NamespaceAccess(Path(cluster.kubeconfig), namespace, tmp_path)

    async def end() -> None:
        async with access.connected() as api:
            for service in (await api.list(INFERENCE_SERVICE))[0]:
                # A finalizer that a test has added would keep the namespace.
                await api.patch(INFERENCE_SERVICE, name_of(service), {"metadata": {"finalizers": []}})
            for obj in cluster_scoped:
                await api.delete(KINDS[obj["kind"]], obj["metadata"]["name"], propagation="Background")

    yield access
    in_loop(end())
