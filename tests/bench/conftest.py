"""A namespace with an engine and a claim, for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.in_cluster import Ground
from tests.kubernetes.handle import TestCluster


@pytest.fixture(scope="module")
def ground(cluster: TestCluster) -> Iterator[Ground]:
    ground = Ground(cluster)
    yield ground
    cluster.delete(f"/api/v1/namespaces/{ground.namespace}")
