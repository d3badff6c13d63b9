"""Which executor measures a task, whether OME's BenchmarkJob can, and what that asks of the engine."""

from __future__ import annotations

import re

from autotune_nb.cluster.client import Cluster
from autotune_nb.errors import ClusterError
from autotune_nb.task.task import Task

#: What OME's webhook accepts for text-to-text.
_SCENARIO = re.compile(r"N\(\d+,\d+\)/\(\d+,\d+\)|U\(\d+,\d+\)(/\(\d+,\d+\))?|D\(\d+,\d+\)")
#: The name that OME has genai-bench ask for.
OME_MODEL_NAME = "vllm-model"


def benchmark_job_problem(task: Task) -> tuple[str, str] | None:
    """Why a BenchmarkJob cannot measure this task, with the field to change; None where it can."""
    workload = task.workload
    if task.benchmark.results is None:
        return "a BenchmarkJob keeps its files on a claim or in a bucket, and none is named", "benchmark.results"
    if workload.task != "text-to-text":
        return f"OME's BenchmarkJob and genai-bench disagree about {workload.task}", "workload.task"
    strange = [scenario for scenario in workload.scenarios if not _SCENARIO.fullmatch(scenario)]
    if strange:
        return f"OME's BenchmarkJob refuses the scenario {strange[0]!r}", "workload.scenarios"
    if workload.request_params:
        return "OME's BenchmarkJob ignores request parameters", "workload.request_params"
    if workload.warmup_ratio:
        return "OME's BenchmarkJob knows no warm-up ratio", "workload.warmup_ratio"
    if task.benchmark.backend not in (None, "openai"):
        return f"OME's BenchmarkJob uses the backend openai, not {task.benchmark.backend}", "benchmark.backend"
    return None


def by_benchmark_job(task: Task) -> bool:
    """Whether a BenchmarkJob measures the task: asked for, or possible where the choice is free."""
    executor = task.benchmark.executor
    return executor == "benchmark_job" or (executor == "auto" and benchmark_job_problem(task) is None)


async def chosen_executor(task: Task, cluster: Cluster) -> str:
    """The executor a task asks for; where the choice is free, the first that it and the account's rights allow."""
    if by_benchmark_job(task):
        return "benchmark_job"
    if task.benchmark.executor != "auto":
        return task.benchmark.executor
    try:
        return "job" if await cluster.may("create", "jobs", "batch") else "direct"
    except ClusterError:
        return "direct"


def served_name(task: Task) -> str | None:
    """The name the engine has to serve its model under; None where any will do.

    A BenchmarkJob asks for one name whatever the model is called; an engine that checks it answers 404 to another.
    """
    if by_benchmark_job(task):
        return OME_MODEL_NAME
    return task.model.served_name
