"""What a run reports and records once, before its first trial."""

from __future__ import annotations

import asyncio
from typing import Any

from autotune_nb.bench.base import Benchmark
from autotune_nb.deploy.base import Deployer
from autotune_nb.study import machine_fingerprint
from autotune_nb.task.task import Task


def advice(task: Task) -> list[str]:
    """Return what the user should know about a task before its run, such as that it may not do what is intended."""
    if task.deploy.kind == "replay":
        return [f"from {task.deploy.table}: nothing is measured, and the times are simulated"]
    if task.goal.direction == "minimize" and task.goal.level is None and len(task.workload.levels) > 1:
        return [
            f"{task.goal.figure} is read at the best of {len(task.workload.levels)} levels, which for a latency is the "
            "lightest load; set objective.at to read it at another level"
        ]
    return []


async def run_fingerprint(task: Task, deployer: Deployer, benchmark: Benchmark) -> dict[str, Any]:
    """Return the part of the fingerprint that all trials of a run have in common."""
    machine = await asyncio.to_thread(machine_fingerprint)
    return {
        # In a cluster the engine runs on another machine, which each deployment reports.
        **(machine if task.deploy.kind == "local" else {"driver": machine}),
        **await deployer.fingerprint(),
        **await benchmark.fingerprint(),
        "seed": task.strategy.seed,
    }
