"""Fixtures over a namespace of the test cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.ome_place import Place
from tests.kubernetes.handle import TestCluster
from tests.stubs import until


@pytest.fixture
def place(
    cluster: TestCluster, kubeconfig: Path, namespace: str, task_data: dict[str, Any], tmp_path: Path
) -> Iterator[Place]:
    """It fails the test where an InferenceService, or anything made for one, is left at its end."""
    place = Place(cluster, kubeconfig, namespace, task_data, tmp_path)
    yield place
    until(lambda: not place.left(), within_s=20)
