"""How other pods of the cluster reach an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClusterService:
    """A trial's InferenceService: what a benchmark's pod needs to send requests and to load the tokenizer.

    ``url`` is reachable inside the cluster. ``model_path`` is the model's folder on the nodes that ``node_selector``
    selects; empty if the model is no OME model with a path.
    """

    trial: int
    name: str
    namespace: str
    uid: str
    url: str
    model: str
    model_path: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
