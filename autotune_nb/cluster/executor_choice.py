"""Which executor runs a task's benchmark, and whether OME's BenchmarkJob can."""

from __future__ import annotations

import re

from autotune_nb.cluster.client import Cluster
from autotune_nb.errors import ClusterError
from autotune_nb.task.task import Task

#: What OME's webhook accepts for text-to-text.
_SCENARIO = re.compile(r"N\(\d+,\d+\)/\(\d+,\d+\)|U\(\d+,\d+\)(/\(\d+,\d+\))?|D\(\d+,\d+\)")
#: The model name in the requests of OME's BenchmarkJobs.
OME_MODEL_NAME = "vllm-model"


def benchmark_job_problem(task: Task) -> tuple[str, str] | None:
    """Return why a BenchmarkJob cannot run the task's benchmark, and the field to change; None if it can."""
    workload = task.workload
    if task.benchmark.results is None:
        return "a BenchmarkJob stores its results on a claim or in a bucket, and none is given", "benchmark.results"
    if workload.task != "text-to-text":
        return f"OME's BenchmarkJob and genai-bench disagree about {workload.task}", "workload.task"
    unsupported = [scenario for scenario in workload.scenarios if not _SCENARIO.fullmatch(scenario)]
    if unsupported:
        return f"OME's BenchmarkJob rejects the scenario {unsupported[0]!r}", "workload.scenarios"
    if workload.dataset.path is not None:
        return "OME's BenchmarkJob is given no dataset", "workload.dataset.path"
    if workload.request_params:
        return "OME's BenchmarkJob ignores request parameters", "workload.request_params"
    if workload.warmup_ratio:
        return "OME's BenchmarkJob has no warm-up ratio", "workload.warmup_ratio"
    if task.benchmark.backend not in (None, "openai"):
        return f"OME's BenchmarkJob uses the backend openai, not {task.benchmark.backend}", "benchmark.backend"
    return None


def uses_benchmark_job(task: Task) -> bool:
    """Whether a BenchmarkJob runs the task's benchmark: the task selects it, or selects ``auto`` and it can."""
    executor = task.benchmark.executor
    return executor == "benchmark_job" or (executor == "auto" and benchmark_job_problem(task) is None)


async def choose_executor(task: Task, cluster: Cluster) -> str:
    """Return the task's executor; for ``auto``, the first that the task and the account's permissions allow."""
    if uses_benchmark_job(task):
        return "benchmark_job"
    if task.benchmark.executor != "auto":
        return task.benchmark.executor
    try:
        return "job" if await cluster.is_allowed("create", "jobs", "batch") else "direct"
    except ClusterError:
        return "direct"


def backend_variable(task: Task, backend: str) -> dict[str, str]:
    """Return the variable of the engine's container from which OME takes the backend of its BenchmarkJob.

    Without it, that is genai-bench's openai, which does not send ``ignore_eos`` as the other executors do.
    """
    own = "PROTOCOL_VERSION" in task.engine.env or task.benchmark.backend is not None
    return {} if own or not uses_benchmark_job(task) else {"PROTOCOL_VERSION": backend}


def required_model_name(task: Task) -> str | None:
    """Return the name under which the engine must serve its model; None if any name works.

    A BenchmarkJob always requests the same name, and an engine that checks the name responds 404 to another.
    """
    if uses_benchmark_job(task):
        return OME_MODEL_NAME
    return task.model.served_name
