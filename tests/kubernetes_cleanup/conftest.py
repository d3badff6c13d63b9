"""A namespace of its own for each test, in the cluster of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.cluster.kinds import INFERENCE_SERVICE, name_of
from tests.kubernetes.handle import TestCluster
from tests.kubernetes_cleanup.place import KINDS, Place
from tests.stubs import in_loop


@pytest.fixture
def cluster_scoped() -> list[dict[str, Any]]:
    """Objects of the whole cluster that the test makes; they go with its namespace."""
    return []


@pytest.fixture
def place(
    cluster: TestCluster, namespace: str, tmp_path: Path, cluster_scoped: list[dict[str, Any]]
) -> Iterator[Place]:
    """A new namespace, looked at with every permission."""
    place = Place(Path(cluster.kubeconfig), namespace, tmp_path)

    async def end() -> None:
        async with place.connected() as api:
            for service in (await api.list(INFERENCE_SERVICE))[0]:
                # What a test held on to would hold on to the namespace.
                await api.patch(INFERENCE_SERVICE, name_of(service), {"metadata": {"finalizers": []}})
            for obj in cluster_scoped:
                await api.delete(KINDS[obj["kind"]], obj["metadata"]["name"], propagation="Background")

    yield place
    in_loop(end())
