"""Fixtures over a namespace of the test cluster."""

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
    """It fails the test where an InferenceService, or anything made for one, is left at its end."""
    ome = OmeNamespace(cluster, kubeconfig, namespace, task_data, tmp_path)
    yield ome
    until(lambda: not ome.left(), within_s=20)
