"""The executors that measure in a cluster are benchmarks as any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune_nb.bench import BenchRequest
from tests.bench.in_cluster import Executor, Ground
from tests.contracts.benchmark import BenchmarkContract
from tests.stubs import level_data, level_file


class ExecutorSubject:
    """One executor over three fakes of genai-bench."""

    def __init__(self, ground: Ground, name: str, folder: Path) -> None:
        self._gate = folder / "gate"
        self.stepwise = name == "job"
        first = level_file(1)
        self.gated, self.missing, self.failing = (Executor(ground, name, folder / str(n)) for n in range(3))
        self.gated.writes(
            self.gated.fake.both(),
            before=f'cp "$levels/{first}" "$out/"; while [ ! -e "{self._gate}" ]; do sleep 0.02; done',
            # OME's own job is over when genai-bench has ended, and not before.
            after="sleep 600" if self.stepwise else "",
        )
        self.missing.writes({first: level_data()})
        self.failing.writes(self.failing.fake.both(completed=5, failed=5))

    def request(self) -> BenchRequest:
        return self.gated.request()

    def release(self) -> None:
        self._gate.touch()

    def loading(self) -> bool:
        return self.gated.loading()


class OfACluster(BenchmarkContract):
    name = ""

    @pytest.fixture
    def subject(self, ground: Ground, tmp_path: Path) -> Iterator[ExecutorSubject]:
        yield ExecutorSubject(ground, self.name, tmp_path)
        assert not ground.made()


class TestJobBenchmark(OfACluster):
    name = "job"


class TestOmeBenchmark(OfACluster):
    name = "benchmark_job"
