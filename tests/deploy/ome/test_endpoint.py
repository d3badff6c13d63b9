"""The fingerprint of a running pod."""

from __future__ import annotations

from typing import Any

from autotune_nb.deploy.ome.endpoint import pod_fingerprint

_ENGINE: dict[str, Any] = {
    "name": "ome-container",
    "image": "engine:1",
    "args": ["--tp-size", "2"],
    "resources": {"limits": {"cpu": "16", "nvidia.com/gpu": "2"}, "requests": {"cpu": "16", "nvidia.com/gpu": "2"}},
}


def pod(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    statuses = [
        {"name": "mesh", "imageID": "mesh@sha256:00"},
        {"name": container["name"], "imageID": "engine@sha256:ab"},
    ]
    spec = {"nodeName": "node-7", "containers": [{"name": "mesh"}, container], **spec}
    return {"metadata": {"name": "pod"}, "spec": spec, "status": {"containerStatuses": statuses}}


def test_a_pod_tells_its_image_its_node_and_what_it_was_given() -> None:
    wanted = {"nvidia.com/gpu.product": "H100", "models.ome.io/clusterbasemodel.x": "Ready"}
    # Its arguments are the trial's, not what it ran on.
    assert pod_fingerprint(pod(_ENGINE, nodeSelector=wanted), _ENGINE) == {
        "image": "engine:1",
        "image_id": "engine@sha256:ab",
        "node": "node-7",
        "gpus": ["2 x nvidia.com/gpu (nvidia.com/gpu.product: H100)"],
        "resources": {"cpu": "16"},
    }


def test_the_kind_of_gpu_may_be_asked_for_by_affinity() -> None:
    asked = [{"key": "cloud.example/accelerator", "operator": "In", "values": ["a100", "h100"]}]
    terms = {"nodeSelectorTerms": [{"matchExpressions": [*asked, {"key": "zone", "operator": "Exists"}]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    told = pod_fingerprint(pod(_ENGINE, affinity={"nodeAffinity": required}), _ENGINE)
    assert told["gpus"] == ["2 x nvidia.com/gpu (cloud.example/accelerator: a100 or h100)"]


def test_a_pod_without_gpus_says_that_it_has_none() -> None:
    told = pod_fingerprint(pod({**_ENGINE, "resources": {}}), {**_ENGINE, "resources": {}})
    assert (told["gpus"], told["resources"]) == ([], {})
