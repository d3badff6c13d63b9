"""How many GPUs a trial holds, for the figures per GPU and what the trial costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_nb.deploy.base import Endpoint
from autotune_nb.engines.given_flags import gpus_of_trial
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task


def gpus_held(
    task: Task, params: Mapping[str, Value], fingerprint: Mapping[str, Any], endpoint: Endpoint | None = None
) -> int | None:
    """Return the number of GPUs of a configuration, also before it has an endpoint; None if it is unknown."""
    if task.deploy.kind == "replay":
        # A table without GPUs does not say that there were none.
        return (endpoint.gpu_count or None) if endpoint is not None else None
    if endpoint is not None and (endpoint.gpu_count or task.deploy.kind == "ome"):
        return endpoint.gpu_count
    if task.deploy.kind == "local" and (task.deploy.gpus in (0, []) or fingerprint.get("gpus") == []):
        return 0
    return gpus_of_trial(task, engine_of_study(task), params)
