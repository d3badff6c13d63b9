"""Which executor measures a trial in a cluster, and why."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Any

from autotune_nb.bench._fork_client import find_genai_bench
from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.benchmark_job import OmeBenchmark
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.bench.job import JobBenchmark
from autotune_nb.cluster.executor_choice import benchmark_job_problem, choose_executor
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.engines.base import Engine
from autotune_nb.errors import SetupError
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement


async def pick(task: Task, session: ClusterSession) -> tuple[str, str]:
    """The executor's name, and why it is that one, in a few words.

    Raises SetupError where the one that is asked for cannot measure the task.
    """
    asked, problem = task.benchmark.executor, benchmark_job_problem(task)
    if asked == "benchmark_job" and problem is not None:
        why, field = problem
        raise SetupError(f"{why}; executor job can, and auto picks it", field=field)
    seconds = task.workload.seconds_per_level
    whole_s = math.ceil(seconds / 60) * 60
    minutes = f"; it counts whole minutes: {seconds} s a level become {whole_s} s" if whole_s != seconds else ""
    chosen = await choose_executor(task, session.cluster)
    if asked != "auto":
        why = "it was asked for"
    elif chosen == "benchmark_job":
        why = f"results go to {task.benchmark.results}, and OME's own job can express the workload"
    elif chosen == "job":
        reason = f"; not a BenchmarkJob: {problem[0]}" if problem and task.benchmark.results else ""
        why = f"the load comes from inside the cluster and needs no claim{reason}"
    else:
        how = "by the Service's name" if session.cluster.inside else "through a port-forward"
        why = f"no Job may be created in namespace {session.cluster.namespace}; it goes {how}"
    return chosen, why + (minutes if chosen == "benchmark_job" else "")


class ClusterBenchmark:
    """Measures with the executor that ``prepare`` picks."""

    def __init__(self, task: Task, engine: Engine, session: ClusterSession) -> None:
        self._task = task
        self._engine = engine
        self._session = session
        self._chosen: Benchmark | None = None

    async def prepare(self, tokenizer: str = "") -> None:
        name, why = await pick(self._task, self._session)
        self._session.notify(f"benchmarks run as {name}: {why}")
        self._chosen = self._made(name)
        if name == "direct":
            self._need_tokenizer(tokenizer)
        await self._chosen.prepare(tokenizer)

    def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        assert self._chosen is not None, "prepare comes first"
        return self._chosen.measure(request)

    async def fingerprint(self) -> dict[str, Any]:
        return {} if self._chosen is None else await self._chosen.fingerprint()

    async def close(self) -> None:
        if self._chosen is not None:
            await self._chosen.close()

    def _made(self, name: str) -> Benchmark:
        task, engine, session = self._task, self._engine, self._session
        if name == "benchmark_job":
            return OmeBenchmark(task, session)
        if name == "job":
            return JobBenchmark(task, session, backend=engine.backend, engine=engine.metrics_engine)
        find_genai_bench(task.benchmark.executable)
        return GenaiBench(task, backend=engine.backend, engine=engine.metrics_engine, labels={})

    def _need_tokenizer(self, tokenizer: str) -> None:
        """A path of the nodes is no path of this machine."""
        if self._task.model.tokenizer is None and (not tokenizer or tokenizer.startswith("/")):
            raise SetupError(
                f"the tokenizer lies on the cluster's nodes ({tokenizer or 'no path known'}), and executor direct "
                "counts tokens here; name a folder here or a hub's name",
                field="model.tokenizer",
            )


def cluster_benchmark(task: Task, engine: Engine, session: ClusterSession) -> Benchmark:
    """What measures a task's trials in a cluster."""
    return ClusterBenchmark(task, engine, session)
