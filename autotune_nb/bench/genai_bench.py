"""genai-bench as local processes, whose level files are read as they are written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from autotune_nb.bench._arguments import RESULTS, arguments, backend_of, level_plan, run_order, trusts_tokenizer
from autotune_nb.bench._expected_levels import (
    ExpectedLevels,
    deadline_s,
    log_lines,
    missing_levels_error,
    timeout_error,
)
from autotune_nb.bench._fork_client import BenchProcess, ForkClient, find_genai_bench, python_of, start_command
from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.dataset import dataset_arguments, dataset_fingerprint, is_on_hub
from autotune_nb.bench.results import read_level
from autotune_nb.errors import (
    Failure,
    FailureKind,
    MeasurementError,
    SetupError,
    failed_to_write,
    lacks_resources,
)
from autotune_nb.secrets.references import resolved
from autotune_nb.task.task import Task
from autotune_nb.task.workload import MAX_LOAD
from autotune_nb.trial.measurement import Level, Measurement

_POLL_S = 0.1
_LOG = "genai-bench.out.log"
_SEED_STEP = 1_000_003


class GenaiBench:
    """Measures with genai-bench, imported once per study and forked once per trial, or per level if it may ask."""

    yields_at_end = False

    def __init__(
        self, task: Task, *, backend: str, engine: str | None, labels: dict[str, str], folder: Path | None = None
    ) -> None:
        # The study's, for the prompts of a dataset.
        self._folder = folder
        self._dataset: list[str] = []
        self._task = task
        self._backend = backend
        self._engine = engine
        self._tokenizer = ""
        self._labels = labels
        self._executable = ""
        self._python: str | None = None
        self._client: ForkClient | None = None
        self._lock = MeasurementLock()

    def look(self) -> None:
        """Raise SetupError if genai-bench is not installed."""
        find_genai_bench(self._task.benchmark.executable)

    async def check(self, tokenizer: str) -> None:
        """Raise SetupError if genai-bench cannot be imported or cannot load the tokenizer."""
        try:
            await self.prepare(tokenizer)
        finally:
            await self.close()

    async def prepare(self, tokenizer: str = "") -> None:
        is_here = await asyncio.to_thread(os.path.isdir, tokenizer)
        if self._folder is not None:
            self._dataset = await asyncio.to_thread(
                dataset_arguments, self._task.workload, self._folder / "artifacts", self._task.strategy.seed
            )
        if is_here and not is_on_hub(self._task.workload.dataset):
            # Do not query the hub for a newer version of a local tokenizer.
            self._labels = {**self._labels, "HF_HUB_OFFLINE": "1"}
        self._tokenizer = tokenizer
        self._executable = find_genai_bench(self._task.benchmark.executable)
        self._python = python_of(self._executable)
        if self._python is not None:
            await self._running_client()

    async def _running_client(self) -> ForkClient:
        """Return the fork client, restarted if it has ended, but never during a measurement."""
        assert self._python is not None
        if self._client is None or not self._client.alive:
            async with self._lock.exclusive():
                if self._client is None or not self._client.alive:
                    self._client = await ForkClient.start(
                        self._python, self._tokenizer, labels=self._labels, trusted=trusts_tokenizer(self._task)
                    )
        return self._client

    async def fingerprint(self) -> dict[str, Any]:
        return {
            "benchmark": "genai-bench",
            "benchmark_version": self._client.version if self._client else None,
            **await asyncio.to_thread(dataset_fingerprint, self._dataset),
        }

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def argv(self, request: BenchRequest, levels: Sequence[Level] = ()) -> list[str]:
        """Return genai-bench's arguments for one server and these levels, by default those of the request."""
        return arguments(
            self._task,
            backend=backend_of(self._task, self._backend, request.accepts_ignore_eos),
            engine=self._engine,
            url=request.url,
            model=request.model,
            tokenizer=request.tokenizer,
            gpu_count=request.gpu_count,
            folder=str(request.folder),
            # genai-bench's own command takes whole minutes; the fork server takes seconds.
            whole_minutes=self._python is None,
            levels=levels or request.levels,
            dataset=self._dataset,
        )

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        (request.folder / "genai-bench.argv.json").write_text(json.dumps(self.argv(request)))
        if self._python is not None:
            await self._running_client()
        deadline = asyncio.get_running_loop().time() + deadline_s(self._task)
        async with self._lock.measuring():
            runs: Counter[Level] = Counter()
            for levels in self._runs(request):
                again = runs.total() if levels[0] in runs else 0
                previous = await asyncio.to_thread(_files_of_runs, request.folder / RESULTS, again)
                process = await self._start(request, levels, runs[levels[0]])
                runs.update(levels[:1])
                try:
                    async for one in self._levels(process, request.folder, levels, deadline, previous):
                        yield one
                finally:
                    await process.terminate()

    def _runs(self, request: BenchRequest) -> Iterator[tuple[Level, ...]]:
        """Yield the levels of each process: one level, or all of them where a start takes seconds."""
        if request.next_level is None or self._python is None:
            yield run_order(request.levels or self._task.workload.levels)
            return
        while (level := request.next_level()) is not None:
            yield (level,)

    def _seed(self, levels: tuple[Level, ...], run: int = 0) -> int:
        """Return the seed of the prompts: that of the task in its first level, and another one in each other level.

        Otherwise a prefix cache would answer a level with the prompts of the one before. ``run`` is how often the level
        was measured already.
        """
        known, one = self._task.workload.levels, levels[0]
        if self._task.workload.load_search.high is not None:
            place = (one.concurrency - known[0].concurrency) + run * MAX_LOAD
        else:
            place = known.index(one) if len(levels) == 1 else 0
        seed = self._task.strategy.seed
        return (seed + place * _SEED_STEP) % 2**32 if place else seed

    async def _start(self, request: BenchRequest, levels: tuple[Level, ...], run: int) -> BenchProcess:
        argv, log = self.argv(request, levels), request.folder / _LOG
        if self._python is None:
            try:
                return await start_command([self._executable, *argv], log=log, env={**self._labels, **self._key()})
            except OSError as error:
                if lacks_resources(error) or failed_to_write(log.parent, error):
                    raise
                message = f"{self._executable!r} cannot be started: {error.strerror or error}"
                raise SetupError(message, field="benchmark.executable") from None
        try:
            assert self._client is not None
            return await self._client.run(
                argv, log=log, env=self._key(), seed=self._seed(levels, run), plan=level_plan(self._task)
            )
        except ConnectionError as error:
            raise MeasurementError(
                Failure(FailureKind.INFRASTRUCTURE, "benchmark", f"genai-bench did not start: {error}")
            ) from None

    def _key(self) -> dict[str, str]:
        """Return the API key as an environment variable: every process on the machine could read an argument."""
        key = self._task.benchmark.api_key
        return {"MODEL_API_KEY": resolved(key, field="benchmark.api_key")} if key else {}

    async def _levels(
        self,
        process: BenchProcess,
        trial_folder: Path,
        run: tuple[Level, ...],
        deadline: float,
        previous: set[Path],
    ) -> AsyncGenerator[Measurement, None]:
        """Yield each expected level's measurement once its file is complete; stops after the last one.

        ``previous`` are the files of other runs.
        """
        levels, folder, log = ExpectedLevels(self._task, run), trial_folder / RESULTS, trial_folder / _LOG
        read = set(previous)
        # No asyncio.timeout here: one that spans a yield would cancel the reader of the measurements.
        while True:
            # Read before the files, so that a file written just before the end is not missed.
            ended = process.exit_code is not None
            new = _new_files(folder, read)
            for file, data in new:
                read.add(file)
                one = levels.receive(data)
                if one is not None:
                    yield one
            missing = levels.missing
            if not missing:
                return
            if new:
                # The reader took time: read the files once more before checking the clock and the process.
                continue
            passed = missing if ended else levels.skipped
            if passed:
                if ended and self._client is not None and not self._client.alive:
                    raise MeasurementError(
                        Failure(FailureKind.INFRASTRUCTURE, "benchmark", "genai-bench was killed from outside")
                    )
                raise missing_levels_error(
                    passed, process.exit_code, folder, log_lines(log), field="benchmark.executable"
                )
            if asyncio.get_running_loop().time() > deadline:
                raise timeout_error(missing, deadline_s(self._task), log_lines(log))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await process.wait()


class MeasurementLock:
    """A lock that many measurements share and that start-up work holds exclusively, since it loads the machine."""

    def __init__(self) -> None:
        self._measuring = 0
        self._exclusive = False
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._exclusive)
            self._measuring += 1
        try:
            yield
        finally:
            self._measuring -= 1
            async with self._changed:
                self._changed.notify_all()

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._exclusive and not self._measuring)
            self._exclusive = True
        try:
            yield
        finally:
            self._exclusive = False
            async with self._changed:
                self._changed.notify_all()


def _files_of_runs(folder: Path, runs: int) -> set[Path]:
    """Return the files that are there; after so many ``runs`` renamed, since a next file may have the same name."""
    files = list(folder.glob("*.json")) if folder.is_dir() else []
    if runs:
        files = [
            file if file.name.startswith("run-") else file.rename(file.with_name(f"run-{runs}-{file.name}"))
            for file in files
        ]
    return set(files)


def _new_files(folder: Path, read: set[Path]) -> list[tuple[Path, dict[str, Any]]]:
    try:
        files = sorted(f for f in folder.iterdir() if f.suffix == ".json" and f not in read)
    except OSError:
        return []
    return [(file, data) for file in files if (data := read_level(file)) is not None]
