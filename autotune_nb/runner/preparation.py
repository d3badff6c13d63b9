"""The preparation of a run, with what it reports and records once, and the end of what was prepared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from autotune_nb.bench.base import Benchmark
from autotune_nb.deploy.base import Deployer
from autotune_nb.runner.conditions import load_per_core
from autotune_nb.runner.cost_budget import require_spendable
from autotune_nb.study import machine_fingerprint
from autotune_nb.task.task import Task
from autotune_nb.waiting import uncancelled

#: The load average per CPU above which a machine is busy.
_BUSY = 0.7


def advice(task: Task) -> list[str]:
    """Return what the user should know about a task before its run, such as that it may not do what is intended."""
    if task.deploy.kind == "replay":
        return [f"from {task.deploy.table}: nothing is measured, and the times are simulated"]
    lines = []
    load = load_per_core()
    if task.deploy.on_this_machine and load > _BUSY:
        lines.append(
            f"this machine is busy, its load of the last minute is {load:.1f} per CPU: other work slows the engine and "
            "the benchmark, and trials cannot be compared if it changes; stop it, or repeat the study later"
        )
    if task.goal.direction == "minimize" and task.goal.level is None and len(task.workload.levels) > 1:
        lines.append(
            f"{task.goal.figure} is read at the best of {len(task.workload.levels)} levels, which for a latency is the "
            "lightest load; set objective.at to read it at another level"
        )
    return lines


async def prepare_trials(
    task: Task, deployer: Deployer, benchmark: Benchmark, notify: Callable[..., None]
) -> dict[str, Any]:
    """Prepare deployer and benchmark before anything is measured; returns the run's fingerprint."""
    notify(*advice(task))
    await require_budget(task)
    await deployer.prepare()
    if task.deploy.kind != "replay":
        notify("starting the benchmark, which takes a few seconds once per study")
    await benchmark.prepare(deployer.tokenizer)
    return await run_fingerprint(task, deployer, benchmark)


async def require_budget(task: Task) -> None:
    """Raise SetupError for a budget that trials never spend."""
    if task.budget.gpu_hours is not None or task.budget.usd is not None:
        machine = await asyncio.to_thread(machine_fingerprint) if task.deploy.on_this_machine else {}
        require_spendable(task, machine)


async def close(deployer: Deployer, benchmark: Benchmark, notify: Callable[..., None]) -> None:
    """Close the benchmark and the deployer, and report what could not be closed."""
    try:
        await uncancelled(benchmark.close())
    except Exception as error:  # noqa: BLE001 - the deployer must be closed and the results stored after any error
        notify(f"the benchmark could not be closed: {type(error).__name__}: {error}")
    finally:
        try:
            notify(*await uncancelled(deployer.close()))
        except Exception as error:  # noqa: BLE001 - see above
            notify(f"the deployer could not be closed: {type(error).__name__}: {error}")


async def run_fingerprint(task: Task, deployer: Deployer, benchmark: Benchmark) -> dict[str, Any]:
    """Return the part of the fingerprint that all trials of a run have in common."""
    machine = await asyncio.to_thread(machine_fingerprint)
    return {
        # In a cluster the engine runs on another machine, which each deployment reports.
        **(machine if task.deploy.on_this_machine else {"driver": machine}),
        **await deployer.fingerprint(),
        **await benchmark.fingerprint(),
        "seed": task.strategy.seed,
    }
