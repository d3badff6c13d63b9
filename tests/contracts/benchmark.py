"""The contract of every benchmark. Subclass ``BenchmarkContract`` and define the fixture ``subject``."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, Protocol

import pytest

from autotune_nb.bench import Benchmark, BenchRequest
from autotune_nb.errors import MeasurementError
from autotune_nb.trial.measurement import Measurement
from tests.stubs import in_loop, until_async


class Subject(Protocol):
    """A benchmark under test, with two levels."""

    #: Whether a level is yielded when it ends; otherwise all are yielded when the last has ended.
    stepwise: bool
    #: Its second level ends only after ``release``; a stepwise one then continues with work that is not needed.
    gated: Benchmark
    #: It ends without its second level.
    missing: Benchmark
    #: Every second request of its levels fails.
    failing: Benchmark

    def request(self) -> BenchRequest: ...

    def release(self) -> None: ...

    def loading(self) -> bool:
        """Whether the benchmark still loads the server."""


def _run(subject: Subject, work: Coroutine[Any, Any, None]) -> None:
    """Run a scenario and close the benchmarks, which may hold connections of its loop."""

    async def scenario() -> None:
        try:
            await work
        finally:
            for benchmark in (subject.gated, subject.missing, subject.failing):
                await benchmark.close()

    in_loop(scenario())


class BenchmarkContract:
    """Behaviours of the protocol in ``autotune_nb.bench.base``."""

    #: The loads of the subject's two levels.
    loads = ("concurrency 1", "concurrency 2")

    def test_measurements_arrive_level_by_level(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.gated.prepare()
            async with aclosing(subject.gated.measure(subject.request())) as levels:
                measured = [await anext(levels)] if subject.stepwise else []
                rest = asyncio.ensure_future(anext(levels))
                await until_async(subject.loading)
                await asyncio.wait((rest,), timeout=0.3)
                assert not rest.done()
                subject.release()
                measured.append(await rest)
                if not subject.stepwise:
                    measured.append(await anext(levels))
                assert [one.level.load for one in measured] == list(self.loads)
                assert all(one.valid for one in measured)
                with pytest.raises(StopAsyncIteration):
                    await anext(levels)
            await until_async(lambda: not subject.loading())

        _run(subject, scenario())

    def test_closing_the_iterator_ends_the_load(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.gated.prepare()
            async with aclosing(subject.gated.measure(subject.request())) as levels:
                if not subject.stepwise:
                    subject.release()
                await anext(levels)
                assert subject.loading() is subject.stepwise
            await until_async(lambda: not subject.loading())

        _run(subject, scenario())

    def test_cancelling_the_consumer_ends_the_load(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.gated.prepare()
            seen: list[Measurement] = []

            async def read() -> None:
                async with aclosing(subject.gated.measure(subject.request())) as levels:
                    async for one in levels:
                        seen.append(one)

            reading = asyncio.ensure_future(read())
            await until_async(lambda: seen if subject.stepwise else subject.loading())
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert reading.cancelled()
            await until_async(lambda: not subject.loading())

        _run(subject, scenario())

    def test_a_missing_level_is_named_in_an_error_after_the_other_levels(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.missing.prepare()
            seen: list[Measurement] = []
            with pytest.raises(MeasurementError, match=self.loads[1]):
                async with aclosing(subject.missing.measure(subject.request())) as levels:
                    async for one in levels:
                        seen.append(one)
            assert [one.level.load for one in seen] == [self.loads[0]]

        _run(subject, scenario())

    def test_failed_requests_make_a_measurement_invalid_and_are_counted(self, subject: Subject) -> None:
        async def scenario() -> None:
            await subject.failing.prepare()
            async with aclosing(subject.failing.measure(subject.request())) as levels:
                async for one in levels:
                    assert not one.valid
                    assert one.num_failed_requests == one.num_completed_requests > 0
                    assert any("requests failed" in problem for problem in one.problems)

        _run(subject, scenario())

    def test_close_without_prepare_does_nothing(self, subject: Subject) -> None:
        in_loop(subject.gated.close())
