"""A namespace with an engine and a claim, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.in_cluster import BenchNamespace
from tests.kubernetes.handle import TestCluster


@pytest.fixture(scope="module")
def bench_namespace(cluster: TestCluster) -> Iterator[BenchNamespace]:
    bench_namespace = BenchNamespace(cluster)
    yield bench_namespace
    cluster.delete(f"/api/v1/namespaces/{bench_namespace.namespace}")
