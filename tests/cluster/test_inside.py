"""In a pod: the client uses the service account's token, which is rotated."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kubernetes.aio.config import incluster_config

from autotune_nb.cluster import _credentials
from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import POD
from autotune_nb.deploy.ome.endpoint import reachable_url
from autotune_nb.errors import ClusterError
from tests.kubernetes.handle import TestCluster
from tests.stubs import in_loop


@pytest.fixture
def account(cluster: TestCluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files and variables that a pod has, and no kubeconfig; the folder of the files."""
    where = urlsplit(cluster.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(where.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(where.port))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(cluster.token)
    (tmp_path / "ca.crt").write_bytes(Path(cluster.ca).read_bytes())
    (tmp_path / "namespace").write_text(namespace)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(_credentials, "_NAMESPACE_FILE", tmp_path / "namespace")
    return tmp_path


def test_the_accounts_token_and_namespace_are_used_and_services_are_reached_by_name(
    account: Path, cluster: TestCluster, namespace: str
) -> None:
    async def scenario() -> None:
        connected = await Cluster.connect()
        try:
            assert connected.inside
            assert (connected.namespace, connected.server) == (namespace, cluster.url)
            assert (await connected.list(POD))[0] == []
            async with contextlib.AsyncExitStack() as stack:
                url = "http://at-x.tune.svc.cluster.local:8080"
                assert await reachable_url(stack, connected, lambda: "pod", 8080, url) == (url, None)
        finally:
            await connected.close()

    in_loop(scenario())


def test_a_token_that_has_run_out_is_read_anew(account: Path, cluster: TestCluster) -> None:
    (account / "token").write_text("of-yesterday")

    async def scenario() -> None:
        connected = await Cluster.connect()
        try:
            with pytest.raises(ClusterError) as refused:
                await connected.list(POD)
            assert refused.value.status == 401
            # As a kubelet replaces it.
            await asyncio.to_thread((account / "token").write_text, cluster.token)
            assert (await connected.list(POD))[0] == []
        finally:
            await connected.close()

    in_loop(scenario())
