"""aiperf as local processes, one per level: requests that arrive at a rate, answered or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune_nb.bench._aiperf_records import READY, RECORDS, level_data, rate_problems, read_records
from autotune_nb.bench._bench_log import relevant_lines
from autotune_nb.bench._expected_levels import ExpectedLevels, deadline_s, log_lines
from autotune_nb.bench._fork_client import BenchProcess, start_command
from autotune_nb.bench._program import find_program
from autotune_nb.bench.base import BenchRequest
from autotune_nb.errors import Failure, FailureKind, MeasurementError, SetupError, failed_to_write, lacks_resources
from autotune_nb.task.scenario import scenario_parts, without_prefix
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement

_LOG = "aiperf.out.log"
_VERSION_S, _POLL_S = 120.0, 0.2
#: For how long replies to the last requests are awaited.
_GRACE_S = 30
_SEED_STEP = 1_000_003
_SIZES = re.compile(r"D\((\d+),(\d+)\)|N\((\d+),(\d+)\)/\((\d+),(\d+)\)")


def find_aiperf(program: str) -> str:
    """Return the program's path. Raises SetupError if there is none."""
    return find_program(
        program, "pip install 'autotune_nb[rate]', or install aiperf in its own environment and set its path"
    )


class AiperfBench:
    """Measures with aiperf, which is started for each level."""

    yields_at_end = False

    def __init__(self, task: Task, *, labels: dict[str, str]) -> None:
        self._task = task
        self._labels = labels
        self._executable = ""
        self._version: str | None = None

    def look(self) -> None:
        """Raise SetupError if aiperf is not installed, or cannot send a scenario of the task."""
        find_aiperf(self._task.benchmark.program)
        for scenario in self._task.workload.scenarios:
            _size_options(scenario)

    async def check(self, tokenizer: str) -> None:
        """Raise SetupError if aiperf cannot be started."""
        await self.prepare(tokenizer)

    async def prepare(self, tokenizer: str = "") -> None:
        self.look()
        self._executable = find_aiperf(self._task.benchmark.program)
        try:
            process = await asyncio.create_subprocess_exec(
                self._executable,
                "--version",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            message = f"{self._executable!r} cannot be started: {error.strerror or error}"
            raise SetupError(message, field="benchmark.executable") from None
        try:
            async with asyncio.timeout(_VERSION_S):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise SetupError(
                f"{self._executable!r} --version did not end within {_VERSION_S:g} s", field="benchmark.executable"
            ) from None
        text = output.decode(errors="replace").strip()
        found = re.search(r"\d+\.\d+\S*", text)
        if process.returncode or found is None:
            raise SetupError(
                f"{self._executable!r} --version ended with code {process.returncode} and wrote {text[-200:]!r}; "
                "expected is a version of aiperf",
                field="benchmark.executable",
            )
        self._version = found[0]

    async def fingerprint(self) -> dict[str, Any]:
        return {"benchmark": "aiperf", "benchmark_version": self._version}

    async def close(self) -> None:
        """Do nothing: no process outlives a level."""

    def argv(self, request: BenchRequest, level: Level, folder: Path) -> list[str]:
        """Return aiperf's arguments for one level, which writes its files to ``folder``."""
        workload = self._task.workload
        seconds = max(1.0, min(float(workload.seconds_per_level), workload.requests_per_level / level.rate))
        body = dict(workload.request_params)
        if request.accepts_ignore_eos is not False:
            body.setdefault("ignore_eos", True)
        return [
            *("profile", "--model", request.model, "--url", request.url),
            *("--endpoint-type", "chat", "--streaming", "--use-legacy-max-tokens", "--use-server-token-count"),
            *("--tokenizer", request.tokenizer),
            *(["--tokenizer-trust-remote-code"] if self._task.model.trust_remote_code else []),
            *_size_options(level.scenario),
            *("--request-rate", f"{level.rate:.12g}", "--arrival-pattern", workload.arrival),
            *("--benchmark-duration", f"{seconds:.12g}", "--benchmark-grace-period", str(_GRACE_S)),
            *("--random-seed", str(self._seed(level))),
            *(["--extra-inputs", json.dumps(body)] if body else []),
            *("--ui", "none", "--no-server-metrics", "--no-gpu-telemetry"),
            *("--output-artifact-dir", str(folder)),
        ]

    def _seed(self, level: Level) -> int:
        """Return the seed of a level, another one for each, so that no prefix cache has its prompts."""
        place = self._task.workload.levels.index(level)
        return (self._task.strategy.seed + place * _SEED_STEP) % 2**32

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        deadline = asyncio.get_running_loop().time() + deadline_s(self._task)
        for level in self._levels(request):
            folder = request.folder / "aiperf" / str(self._task.workload.levels.index(level))
            process = await self._start(request, level, folder)
            try:
                while process.exit_code is None and not (folder / READY).exists():
                    if asyncio.get_running_loop().time() > deadline:
                        raise self._error(
                            level, FailureKind.TIMEOUT, f"did not end within {deadline_s(self._task):g} s", request
                        )
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_S):
                            await process.wait()
                one = await asyncio.to_thread(self._measurement, level, folder)
                if one is None:
                    ended = f"ended with code {process.exit_code} and recorded no request"
                    raise self._error(level, FailureKind.MEASUREMENT, ended, request)
                yield one
            finally:
                await process.terminate()

    def _levels(self, request: BenchRequest) -> Iterator[Level]:
        if request.next_level is None:
            yield from request.levels or self._task.workload.levels
            return
        while (level := request.next_level()) is not None:
            yield level

    async def _start(self, request: BenchRequest, level: Level, folder: Path) -> BenchProcess:
        argv = self.argv(request, level, folder)
        env = await asyncio.to_thread(_prepare_folder, request, folder, argv)
        try:
            return await start_command(
                [self._executable, *argv], log=request.folder / _LOG, env={**self._labels, **env}
            )
        except OSError as error:
            if lacks_resources(error) or failed_to_write(request.folder, error):
                raise
            message = f"{self._executable!r} cannot be started: {error.strerror or error}"
            raise SetupError(message, field="benchmark.executable") from None

    def _measurement(self, level: Level, folder: Path) -> Measurement | None:
        """Return the measurement of a level; None if there is no request."""
        if not (folder / RECORDS).exists() or not (records := read_records(folder / RECORDS)):
            return None
        one = ExpectedLevels(self._task, (level,)).receive(level_data(level, records))
        if one is None:
            return None
        poisson = self._task.workload.arrival == "poisson"
        return replace(one, problems=(*one.problems, *rate_problems(level, records, poisson=poisson)))

    def _error(self, level: Level, kind: FailureKind, what: str, request: BenchRequest) -> MeasurementError:
        log: Sequence[str] = log_lines(request.folder / _LOG)
        return MeasurementError(Failure(kind, "benchmark", f"aiperf {what} for {level}", relevant_lines(log)))


def _prepare_folder(request: BenchRequest, folder: Path, argv: Sequence[str]) -> dict[str, str]:
    """Create a level's folder, write its command line beside it, and return the environment variables of aiperf."""
    folder.mkdir(parents=True, exist_ok=True)
    (request.folder / f"aiperf-{folder.name}.argv.json").write_text(json.dumps(argv))
    # If told to be offline, aiperf does not read a tokenizer's folder, for which it needs no hub.
    online = {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": ""} if Path(request.tokenizer).is_dir() else {}
    # Otherwise each level leaves a folder among the machine's temporary files.
    return {**online, "AIPERF_DATASET_MMAP_BASE_PATH": str(folder.absolute())}


def _size_options(scenario: str) -> list[str]:
    """Return aiperf's arguments for the sizes of a scenario's requests. Raises SetupError."""
    tokens, inner = without_prefix(scenario)
    # The system message of every request.
    prefix = ["--shared-system-prompt-length", str(tokens)] if tokens else []
    parts = [(weight, _sizes(part)) for weight, part in scenario_parts(inner)]
    if len(parts) == 1:
        tokens_in, deviation_in, tokens_out, deviation_out = map(str, parts[0][1])
        return [
            *prefix,
            *("--isl", tokens_in, "--isl-stddev", deviation_in, "--osl", tokens_out, "--osl-stddev", deviation_out),
        ]
    total = sum(weight for weight, _ in parts)
    mix = (f"{a}|{b},{c}|{d}:{100 * weight / total:.10g}" for weight, (a, b, c, d) in parts)
    return ["--sequence-distribution", ";".join(mix)]


def _sizes(scenario: str) -> tuple[int, int, int, int]:
    """Return the mean and the deviation of the input tokens, then of the output tokens. Raises SetupError."""
    found = _SIZES.fullmatch(scenario)
    if found is None:
        raise SetupError(
            f"aiperf cannot send the scenario {scenario!r} here; write D(input tokens,output tokens) or "
            "N(mean,sd)/(mean,sd), with a shared prefix or in a mix",
            field="workload.scenarios",
        )
    if found[1]:
        return int(found[1]), 0, int(found[2]), 0
    return int(found[3]), int(found[4]), int(found[5]), int(found[6])
