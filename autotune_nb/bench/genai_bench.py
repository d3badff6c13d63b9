"""genai-bench's command line: built once, run on the loop, its levels read as they land."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from autotune_nb.bench._arguments import RESULTS, arguments
from autotune_nb.bench._expected_levels import Levels, deadline_s, late, log_lines, never_landed
from autotune_nb.bench._fork_client import BenchProcess, WarmHelper, find_genai_bench, python_of, run_cold
from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.results import read_level
from autotune_nb.errors import Failure, FailureKind, MeasurementError, SetupError
from autotune_nb.secrets.references import resolved
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement

_LOOK_S = 0.1


class GenaiBench:
    """Measures with genai-bench: imported once a study, one forked child a trial."""

    def __init__(self, task: Task, *, backend: str, engine: str | None, labels: dict[str, str]) -> None:
        self._task = task
        self._backend = task.benchmark.backend or backend
        self._engine = engine
        self._tokenizer = ""
        self._labels = labels
        self._executable = ""
        self._python: str | None = None
        self._helper: WarmHelper | None = None
        self._quiet = QuietTime()

    def look(self) -> None:
        """Whether genai-bench is there. Raises SetupError."""
        find_genai_bench(self._task.benchmark.executable)

    async def prepare(self, tokenizer: str = "") -> None:
        is_here = await asyncio.to_thread(os.path.isdir, tokenizer)
        if is_here:
            # A tokenizer that is here is loaded without asking the hub for a newer one.
            self._labels = {**self._labels, "HF_HUB_OFFLINE": "1"}
        self._tokenizer = tokenizer
        self._executable = find_genai_bench(self._task.benchmark.executable)
        self._python = python_of(self._executable)
        if self._python is not None:
            await self._warm()

    async def _warm(self) -> WarmHelper:
        """The helper, started anew where it has ended, and never while something is being measured."""
        assert self._python is not None
        if self._helper is None or not self._helper.alive:
            async with self._quiet.alone():
                if self._helper is None or not self._helper.alive:
                    self._helper = await WarmHelper.start(self._python, self._tokenizer, labels=self._labels)
        return self._helper

    async def fingerprint(self) -> dict[str, Any]:
        return {
            "benchmark": "genai-bench",
            "benchmark_version": self._helper.version if self._helper else None,
        }

    async def close(self) -> None:
        if self._helper is not None:
            await self._helper.close()

    def argv(self, request: BenchRequest) -> list[str]:
        """genai-bench's arguments for one server, the same for every trial but for the server's address."""
        return arguments(
            self._task,
            backend=self._backend,
            engine=self._engine,
            url=request.url,
            model=request.model,
            tokenizer=request.tokenizer,
            gpu_count=request.gpu_count,
            folder=str(request.folder),
            # genai-bench as it is takes whole minutes; the helper's takes seconds.
            whole_minutes=self._python is None,
        )

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        log = request.folder / "genai-bench.out.log"
        argv = self.argv(request)
        (request.folder / "genai-bench.argv.json").write_text(json.dumps(argv))
        if self._python is not None:
            await self._warm()
        async with self._quiet.measuring():
            process = await self._start(argv, log)
            try:
                async for one in self._levels(process, request.folder / RESULTS, log):
                    yield one
            finally:
                await process.terminate()

    async def _start(self, argv: list[str], log: Path) -> BenchProcess:
        seed = self._task.strategy.seed
        if self._python is None:
            try:
                return await run_cold([self._executable, *argv], log=log, env={**self._labels, **self._key()})
            except OSError as error:
                told = f"{self._executable!r} cannot be started: {error.strerror or error}"
                raise SetupError(told, field="benchmark.executable") from None
        try:
            assert self._helper is not None
            return await self._helper.run(argv, log=log, env=self._key(), seed=seed)
        except ConnectionError as error:
            raise MeasurementError(
                Failure(FailureKind.INFRASTRUCTURE, "benchmark", f"genai-bench did not start: {error}")
            ) from None

    def _key(self) -> dict[str, str]:
        """The key by the variable that overrides the argument, which every process here can read."""
        key = self._task.benchmark.api_key
        return {"MODEL_API_KEY": resolved(key, field="benchmark.api_key")} if key else {}

    async def _levels(self, process: BenchProcess, folder: Path, log: Path) -> AsyncGenerator[Measurement, None]:
        """Every expected level's measurement as its file is whole; then the rest of the run is not waited for."""
        levels = Levels(self._task)
        read: set[Path] = set()
        within_s = deadline_s(self._task)
        # No asyncio.timeout here: one that spans a yield would cancel whoever reads the measurements.
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            # Asked before looking, so that what was written just before the end is still seen.
            ended = process.exit_code is not None
            new = _new_files(folder, read)
            for file, data in new:
                read.add(file)
                one = levels.take(data)
                if one is not None:
                    yield one
            missing = levels.missing
            if not missing:
                return
            if new:
                # Whoever read them took time: look once more before the clock or the process is asked.
                continue
            passed = missing if ended else levels.passed
            if passed:
                if ended and self._helper is not None and not self._helper.alive:
                    raise MeasurementError(
                        Failure(FailureKind.INFRASTRUCTURE, "benchmark", "genai-bench's helper was killed from outside")
                    )
                raise never_landed(passed, process.exit_code, folder, log_lines(log))
            if asyncio.get_running_loop().time() > deadline:
                raise late(missing, within_s, log_lines(log))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await process.wait()


class QuietTime:
    """Many may measure at a time; what loads the machine waits for a moment when nobody does."""

    def __init__(self) -> None:
        self._measuring = 0
        self._alone = False
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._measuring += 1
        try:
            yield
        finally:
            self._measuring -= 1
            async with self._changed:
                self._changed.notify_all()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone and not self._measuring)
            self._alone = True
        try:
            yield
        finally:
            self._alone = False
            async with self._changed:
                self._changed.notify_all()


def _new_files(folder: Path, read: set[Path]) -> list[tuple[Path, dict[str, Any]]]:
    try:
        files = sorted(f for f in folder.iterdir() if f.suffix == ".json" and f not in read)
    except OSError:
        return []
    return [(file, data) for file in files if (data := read_level(file)) is not None]
