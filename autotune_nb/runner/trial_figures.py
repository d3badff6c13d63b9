"""The figures of a level that follow from its trial: per GPU, in dollars, and its load; and the GPUs of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autotune_nb.deploy.base import Endpoint
from autotune_nb.engines.given_flags import gpus_of_trial
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.task.parameters import Value
from autotune_nb.task.task import Task
from autotune_nb.trial.cost import cost_figures
from autotune_nb.trial.measurement import MAX_CONCURRENCY, Measurement


def gpus_held(
    task: Task, params: Mapping[str, Value], fingerprint: Mapping[str, Any], endpoint: Endpoint | None = None
) -> int | None:
    """Return the number of GPUs of a configuration, also before it has an endpoint; None if it is unknown."""
    if task.deploy.kind == "replay":
        # A table without GPUs does not say that there were none.
        return (endpoint.gpu_count or None) if endpoint is not None else None
    if endpoint is not None and (endpoint.gpu_count or task.deploy.kind == "ome"):
        return endpoint.gpu_count
    without = task.deploy.gpus in (0, []) or fingerprint.get("gpus") == []
    asked = task.deploy.gpus_per_trial is not None
    if task.deploy.on_this_machine and not asked and (without or _in_container_without(task)):
        return 0
    return gpus_of_trial(task, engine_of_study(task), params)


def with_figures_of_trial(measured: Measurement, task: Task, gpus: int | None) -> Measurement:
    """Return the measurement of a level with the figures that follow from the trial's GPUs and from the task."""
    found = cost_figures(measured.figures, gpus or 0, task.price.per_hour(gpus or 0))
    if MAX_CONCURRENCY in task.goal.figures:
        found[MAX_CONCURRENCY] = float(measured.level.concurrency)
    found |= task.slo.figures({**measured.figures, **found}, task.goal.direction)
    return replace(measured, figures={**measured.figures, **found})


def _in_container_without(task: Task) -> bool:
    """Return whether trials run in containers that get no GPU."""
    return task.deploy.kind == "container" and task.deploy.gpus is None and not task.deploy.passes_gpus
