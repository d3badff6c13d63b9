"""genai-bench's command line: built once, run on the loop, its levels read as they land."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from autotune_nb.bench._helper import BenchProcess, WarmHelper, find_genai_bench, python_of, run_cold
from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.results import level_of, measurement, read_level
from autotune_nb.errors import Failure, FailureKind, MeasurementError, SetupError
from autotune_nb.measurement import Level, Measurement, Validity
from autotune_nb.task import Task
from autotune_nb.workload import BATCH_TASKS

_LOOK_S = 0.1
_RESULTS = "genai-bench"
#: A level's end takes genai-bench a second of waiting and one of counting; starting up cold takes it far longer.
_SLACK_S_PER_LEVEL, _SLACK_S = 30.0, 120.0
_SERVED_LOCALLY = "no-key"


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
        workload = task.workload
        self._validity = Validity(
            max_failed_requests=workload.max_failed_requests,
            min_completed_requests=min(workload.min_completed_requests, workload.requests_per_level),
        )

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
        workload = self._task.workload
        seconds = workload.seconds_per_level
        minutes = minutes_text(seconds) if self._python is not None else str(math.ceil(seconds / 60))
        argv = [
            "benchmark",
            *("--api-backend", self._backend),
            *("--api-base", request.url),
            *("--api-key", _SERVED_LOCALLY),
            *("--api-model-name", request.model),
            *("--model-tokenizer", request.tokenizer),
            *("--task", workload.task),
            *("--max-time-per-run", minutes),
            *("--max-requests-per-run", str(workload.requests_per_level)),
        ]
        for scenario in workload.scenarios:
            argv += ["--traffic-scenario", scenario]
        if workload.task in BATCH_TASKS:
            for size in workload.batch_sizes:
                argv += ["--batch-size", str(size)]
        else:
            for concurrency in workload.concurrency:
                argv += ["--num-concurrency", str(concurrency)]
        if workload.warmup_ratio:
            argv += ["--warmup-ratio", f"{workload.warmup_ratio:g}"]
        if workload.request_params:
            argv += ["--additional-request-params", json.dumps(workload.request_params, sort_keys=True)]
        if self._engine is not None:
            argv += ["--server-engine", self._engine]
        if request.gpu_count:
            argv += ["--server-gpu-count", str(request.gpu_count)]
        return [
            *argv,
            *("--experiment-base-dir", str(request.folder)),
            *("--experiment-folder-name", _RESULTS),
            *("--log-dir", str(request.folder)),
        ]

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        log = request.folder / "genai-bench.out.log"
        argv = self.argv(request)
        (request.folder / "genai-bench.argv.json").write_text(json.dumps(argv))
        if self._python is not None:
            await self._warm()
        async with self._quiet.measuring():
            process = await self._start(argv, log)
            try:
                async for one in self._levels(process, request.folder / _RESULTS, log):
                    yield one
            finally:
                await process.terminate()

    async def _start(self, argv: list[str], log: Path) -> BenchProcess:
        seed = self._task.strategy.seed
        if self._python is None:
            try:
                return await run_cold([self._executable, *argv], log=log, env=self._labels)
            except OSError as error:
                told = f"{self._executable!r} cannot be started: {error.strerror or error}"
                raise SetupError(told, field="benchmark.executable") from None
        try:
            assert self._helper is not None
            return await self._helper.run(argv, log=log, env={}, seed=seed)
        except ConnectionError as error:
            raise MeasurementError(
                Failure(FailureKind.INFRASTRUCTURE, "benchmark", f"genai-bench did not start: {error}")
            ) from None

    async def _levels(self, process: BenchProcess, folder: Path, log: Path) -> AsyncGenerator[Measurement, None]:
        """Every expected level's measurement as its file is whole; then the rest of the run is not waited for."""
        workload = self._task.workload
        expected = list(workload.levels)
        read: set[Path] = set()
        landed: set[Level] = set()
        deadline_s = self._task.deadlines.benchmark_s or (
            len(expected) * (workload.seconds_per_level + _SLACK_S_PER_LEVEL) + _SLACK_S
        )
        # No asyncio.timeout here: one that spans a yield would cancel whoever reads the measurements.
        deadline = asyncio.get_running_loop().time() + deadline_s
        while True:
            # Asked before looking, so that what was written just before the end is still seen.
            ended = process.exit_code is not None
            new = _new_files(folder, read)
            for file, data in new:
                read.add(file)
                level = level_of(data)
                if level in expected and level not in landed:
                    landed.add(level)
                    yield measurement(data, self._validity, generates_text=workload.generates_text)
            missing = [level for level in expected if level not in landed]
            if not missing:
                return
            if new:
                # Whoever read them took time: look once more before the clock or the process is asked.
                continue
            # Levels run one after the other: one that a later level has passed will never land.
            passed = missing if ended else [level for level in missing if _passed(level, landed, expected)]
            if passed:
                if ended and self._helper is not None and not self._helper.alive:
                    raise MeasurementError(
                        Failure(FailureKind.INFRASTRUCTURE, "benchmark", "genai-bench's helper was killed from outside")
                    )
                raise _missing(passed, process.exit_code, folder, log)
            if asyncio.get_running_loop().time() > deadline:
                raise _late(missing, deadline_s, log)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await process.wait()


def _passed(level: Level, landed: set[Level], expected: list[Level]) -> bool:
    return any(later in landed for later in expected[expected.index(level) :])


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


def minutes_text(seconds: int) -> str:
    """Seconds as genai-bench's minutes; times 60, rounded by ``_warm.py``, they are the very same seconds."""
    return str(seconds // 60) if seconds % 60 == 0 else repr(seconds / 60)


def _new_files(folder: Path, read: set[Path]) -> list[tuple[Path, dict[str, Any]]]:
    try:
        files = sorted(f for f in folder.iterdir() if f.suffix == ".json" and f not in read)
    except OSError:
        return []
    return [(file, data) for file in files if (data := read_level(file)) is not None]


def _names(levels: list[Level]) -> str:
    return ", ".join(str(level) for level in levels)


def _late(missing: list[Level], deadline_s: float, log: Path) -> MeasurementError:
    failure = Failure(
        FailureKind.TIMEOUT,
        "benchmark",
        f"genai-bench gave nothing for {_names(missing)} within {deadline_s:g} s",
        tuple(_log_lines(log)),
        "raise deadlines.benchmark_s, or give the levels fewer requests",
    )
    return MeasurementError(failure)


def _missing(missing: list[Level], code: int | None, folder: Path, log: Path) -> MeasurementError:
    torn = [file.name for file in folder.glob("*_time_*.json") if read_level(file) is None] if folder.is_dir() else []
    reason = f"; {', '.join(torn)} is cut short" if torn else ""
    ending = "went on without" if code is None else f"ended with code {code} and gave no"
    errors = _request_errors(folder)
    if errors:
        reason += f"; its requests failed: {errors}"
    failure = Failure(
        FailureKind.MEASUREMENT,
        "benchmark",
        f"genai-bench {ending} figures for {_names(missing)}{reason}",
        tuple(_log_lines(log)),
        "give the level more seconds or fewer tokens; if the server answered no request, engine.log says why",
    )
    return MeasurementError(failure)


def _request_errors(folder: Path) -> str:
    """What the requests of a level without figures were answered with, where genai-bench kept that."""
    for file in sorted(folder.glob("debug_for_run_*.json")) if folder.is_dir() else []:
        try:
            requests = json.loads(file.read_text(encoding="utf-8"))["individual_request_metrics"]
        except (OSError, ValueError, KeyError):
            continue
        told = [f"{r.get('error_code')}: {str(r.get('error_message'))[:160]}" for r in requests if r.get("error_code")]
        if told:
            return f"{len(told)} of {len(requests)}, such as {told[0]}"
    return ""


#: What genai-bench says of a run that went wrong, and not of its plots and sheets.
_TELLING = re.compile(r"^(WARNING|ERROR|CRITICAL)\b|^\w[\w.]*(Error|Exception)\b|^Error: |‼|🚨", re.IGNORECASE)
_OF_REPORTS = re.compile(r"experiment_loader|plot_report|excel_report|has NoneType value in metric|^\s*$")


def _log_lines(log: Path) -> list[str]:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = [line for line in lines if not _OF_REPORTS.search(line)]
    telling = [line for line in lines if _TELLING.search(line)]
    return [line[:300] for line in (telling or lines)[-6:]]
