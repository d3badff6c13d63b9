"""Selects the executor that measures a trial in a cluster."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from autotune_nb.bench._mounted_dataset import mounted_dataset_arguments
from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.benchmark_job import OmeBenchmark
from autotune_nb.bench.job import JobBenchmark
from autotune_nb.bench.local_benchmark import local_benchmark
from autotune_nb.cluster.executor_choice import benchmark_job_problem, choose_executor
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.engines.base import Engine
from autotune_nb.errors import SetupError
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement

#: What the other executors make genai-bench do, which in a BenchmarkJob runs as OME has it.
_UNCHECKED = (
    "; it also scores the requests with which a level begins, which an engine may answer slowly; not checked by "
    "benchmark_job: streams that are cut off or compressed, and replies whose usage has more tokens than their text"
)


async def select_executor(task: Task, session: ClusterSession) -> tuple[str, str]:
    """Return the executor's name and the reason for it.

    Raises SetupError if the requested executor cannot measure the task.
    """
    asked, problem = task.benchmark.executor, benchmark_job_problem(task)
    if asked == "benchmark_job" and problem is not None:
        why, field = problem
        raise SetupError(f"{why}; use executor job or auto", field=field)
    seconds = task.workload.seconds_per_level
    whole_s = math.ceil(seconds / 60) * 60
    minutes = f"; it runs whole minutes, so {seconds} s per level become {whole_s} s" if whole_s != seconds else ""
    chosen = await choose_executor(task, session.cluster)
    if asked != "auto":
        why = "the task requests it"
    elif chosen == "benchmark_job":
        why = f"results go to {task.benchmark.results}, and OME's own job can express the workload"
    elif chosen == "job":
        reason = f"; not a BenchmarkJob: {problem[0]}" if problem and task.benchmark.results else ""
        why = f"the load comes from inside the cluster and needs no claim{reason}"
    else:
        how = "by the Service's name" if session.cluster.inside else "through a port-forward"
        why = f"no Job may be created in namespace {session.cluster.namespace}; it goes {how}"
    if chosen == "job":
        mounted_dataset_arguments(task)
    if chosen != "direct" and task.workload.load_search.high is not None:
        why += f"; it cannot be asked for each load, so that it measures {', '.join(map(str, task.workload.loads))}"
    return chosen, why + (minutes + _UNCHECKED if chosen == "benchmark_job" else "")


class ClusterBenchmark:
    """Measures with the executor that ``prepare`` selects."""

    def __init__(self, task: Task, engine: Engine, session: ClusterSession, folder: Path) -> None:
        self._task, self._folder = task, folder
        self._engine = engine
        self._session = session
        self._chosen: Benchmark | None = None

    async def prepare(self, tokenizer: str = "") -> None:
        name, why = await select_executor(self._task, self._session)
        self._session.notify(f"benchmarks run as {name}: {why}")
        self._chosen = self._executor(name)
        if name == "direct":
            self._require_tokenizer(tokenizer)
        await self._chosen.prepare(tokenizer)

    @property
    def yields_at_end(self) -> bool:
        return self._chosen is not None and self._chosen.yields_at_end

    def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        assert self._chosen is not None, "prepare comes first"
        return self._chosen.measure(request)

    async def fingerprint(self) -> dict[str, Any]:
        return {} if self._chosen is None else await self._chosen.fingerprint()

    async def close(self) -> None:
        if self._chosen is not None:
            await self._chosen.close()

    def _executor(self, name: str) -> Benchmark:
        task, engine, session = self._task, self._engine, self._session
        if name == "benchmark_job":
            return OmeBenchmark(task, session)
        if name == "job":
            return JobBenchmark(task, session, backend=engine.backend, engine=engine.metrics_engine)
        benchmark = local_benchmark(task, engine, labels={}, folder=self._folder)
        benchmark.look()
        return benchmark

    def _require_tokenizer(self, tokenizer: str) -> None:
        """Raise SetupError if the tokenizer is a path on the cluster's nodes."""
        if self._task.model.tokenizer is None and (not tokenizer or tokenizer.startswith("/")):
            raise SetupError(
                f"the tokenizer is on the cluster's nodes ({tokenizer or 'no path known'}), and executor direct "
                "counts tokens here; name a local folder or a hub name",
                field="model.tokenizer",
            )


def cluster_benchmark(task: Task, engine: Engine, session: ClusterSession, *, folder: Path) -> Benchmark:
    """Return the benchmark of a task's trials in a cluster; ``folder`` is the study's."""
    return ClusterBenchmark(task, engine, session, folder)
