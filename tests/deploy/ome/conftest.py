"""Fixtures of deployers in a namespace of the test cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.ome.ome_namespace import OmeNamespace
from tests.kubernetes.handle import TestCluster
from tests.stubs import until


@pytest.fixture
def ome(
    cluster: TestCluster, kubeconfig: Path, namespace: str, task_data: dict[str, Any], tmp_path: Path
) -> Iterator[OmeNamespace]:
    """Deployers in a namespace. Fails the test if an InferenceService or an object created for one remains."""
    ome = OmeNamespace(cluster, kubeconfig, namespace, task_data, tmp_path)
    yield ome
    until(lambda: not ome.left())
