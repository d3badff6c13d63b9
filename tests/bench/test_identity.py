"""The image of a benchmark in a cluster, for the study's record."""

from __future__ import annotations

from typing import Any

from autotune_nb.bench._cluster_job import image_of


def pod(*statuses: dict[str, Any]) -> dict[str, Any]:
    containers = [{"name": "mesh", "image": "mesh:1"}, {"name": "genai-bench", "image": "bench:0.0.5"}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers}, "status": {"containerStatuses": [*statuses]}}


def test_the_image_and_its_digest_are_those_of_the_container_that_measures() -> None:
    statuses = [{"name": "mesh", "imageID": "mesh@sha256:00"}, {"name": "genai-bench", "imageID": "bench@sha256:ab"}]
    assert image_of(pod(*statuses)) == {"benchmark_image": "bench:0.0.5", "benchmark_image_id": "bench@sha256:ab"}


def test_an_unknown_digest_is_empty() -> None:
    assert image_of(pod()) == {"benchmark_image": "bench:0.0.5", "benchmark_image_id": ""}
