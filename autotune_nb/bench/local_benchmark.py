"""Selects the benchmark that runs beside autotune_nb, by the task's kind."""

from __future__ import annotations

from pathlib import Path

from autotune_nb.bench.aiperf import AiperfBench
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.engines.base import Engine
from autotune_nb.task.task import Task


def local_benchmark(
    task: Task, engine: Engine, *, labels: dict[str, str], folder: Path | None = None
) -> AiperfBench | GenaiBench:
    """Return the benchmark of a task, whose processes have ``labels`` in their environment.

    ``folder`` is the study's; without one nothing can be measured, only checked.
    """
    if task.benchmark.kind == "aiperf":
        return AiperfBench(task, labels=labels)
    return GenaiBench(task, backend=engine.backend, engine=engine.metrics_engine, labels=labels, folder=folder)
