"""An engine as the other pods of its cluster see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClusterService:
    """A trial's InferenceService: what a benchmark's pod needs to reach it and to count its tokens.

    ``url`` is the Service's inside the cluster. ``model_path`` is the folder on the nodes that hold the model, which
    ``node_selector`` picks; empty where the model is no OME model with a path.
    """

    trial: int
    name: str
    namespace: str
    uid: str
    url: str
    model: str
    model_path: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
