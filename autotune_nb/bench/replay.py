"""Replays the recorded levels of a configuration in simulated time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from autotune_nb.bench.base import BenchRequest
from autotune_nb.errors import Failure, FailureKind, MeasurementError
from autotune_nb.recorded.replay import Replay
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement


class ReplayBenchmark:
    """Yields the recorded measurements of a deployment of ``ReplayDeployer``."""

    yields_at_end = False

    def __init__(self, task: Task, replay: Replay) -> None:
        self._levels = task.workload.levels
        self._replay = replay

    async def prepare(self, tokenizer: str = "") -> None:
        """Do nothing: there is no load to prepare."""

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        start = self._replay.find(request.url)
        failure = start.configuration.failure
        order = iter(request.levels or self._levels)
        next_level = request.next_level or (lambda: next(order, None))
        while (level := next_level()) is not None:
            one = start.measurement(level)
            if one is None:
                if failure is None:
                    message = f"{self._replay.table.name} has no {level} of this configuration"
                    failure = Failure(FailureKind.MEASUREMENT, "benchmark", message)
                break
            await self._replay.clock.sleep(one.duration_s)
            yield one
        if failure is not None:
            raise MeasurementError(failure)

    async def fingerprint(self) -> dict[str, Any]:
        return {"benchmark": f"REPLAYED from {self._replay.table.name}"}

    async def close(self) -> None:
        """Do nothing: nothing was started."""
