"""A namespace of its own for each test, in the cluster of the session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.cluster.kinds import INFERENCE_SERVICE, name_of
from tests.kubernetes_cleanup.place import KINDS, Place
from tests.stubs import in_loop

NAMESPACE = KINDS["Namespace"]


@pytest.fixture
def cluster_scoped() -> list[dict[str, Any]]:
    """Objects of the whole cluster that the test makes; they go with its namespace."""
    return []


@pytest.fixture
def place(cluster: Any, tmp_path: Path, cluster_scoped: list[dict[str, Any]]) -> Iterator[Place]:
    """A new namespace, looked at with every permission."""
    place = Place(Path(cluster.kubeconfig), f"cleanup-{uuid.uuid4().hex[:8]}", tmp_path)

    async def begin() -> None:
        async with place.connected() as api:
            await api.create(NAMESPACE, {"metadata": {"name": place.namespace}})

    async def end() -> None:
        async with place.connected() as api:
            for service in (await api.list(INFERENCE_SERVICE))[0]:
                # What a test held on to would hold on to the namespace.
                await api.patch(INFERENCE_SERVICE, name_of(service), {"metadata": {"finalizers": []}})
            for obj in cluster_scoped:
                await api.delete(KINDS[obj["kind"]], obj["metadata"]["name"], propagation="Background")
            await api.delete(NAMESPACE, place.namespace, propagation="Background")

    in_loop(begin())
    yield place
    in_loop(end())
