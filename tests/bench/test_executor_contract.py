"""The executors that measure in a cluster fulfil the contract of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune_nb.bench import BenchRequest
from tests.bench.in_cluster import BenchNamespace, Executor
from tests.contracts.benchmark import BenchmarkContract
from tests.stubs import level_data, level_file


class ExecutorSubject:
    """One executor with three fakes of genai-bench."""

    def __init__(self, bench_namespace: BenchNamespace, name: str, folder: Path) -> None:
        self._gate = folder / "gate"
        self.stepwise = name == "job"
        first = level_file(1)
        self.gated, self.missing, self.failing = (Executor(bench_namespace, name, folder / str(n)) for n in range(3))
        self.gated.writes(
            self.gated.fake.both_levels(),
            before=f'cp "$levels/{first}" "$out/"; while [ ! -e "{self._gate}" ]; do sleep 0.02; done',
            # OME's BenchmarkJob ends only when genai-bench has ended.
            after="sleep 600" if self.stepwise else "",
        )
        self.missing.writes({first: level_data()})
        self.failing.writes(self.failing.fake.both_levels(completed=5, failed=5))

    def request(self) -> BenchRequest:
        return self.gated.request()

    def release(self) -> None:
        self._gate.touch()

    def loading(self) -> bool:
        return self.gated.loading()


class ClusterBenchmarkContract(BenchmarkContract):
    name = ""

    @pytest.fixture
    def subject(self, bench_namespace: BenchNamespace, tmp_path: Path) -> Iterator[ExecutorSubject]:
        yield ExecutorSubject(bench_namespace, self.name, tmp_path)
        assert not bench_namespace.benchmark_objects()


class TestJobBenchmark(ClusterBenchmarkContract):
    name = "job"


class TestOmeBenchmark(ClusterBenchmarkContract):
    name = "benchmark_job"
