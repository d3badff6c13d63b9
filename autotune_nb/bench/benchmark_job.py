"""OME's BenchmarkJob: created, watched with its pod, its files read from the claim or the bucket."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from autotune_nb.bench._arguments import RESULTS
from autotune_nb.bench._bench_log import unrecorded_failures
from autotune_nb.bench._claim_reader import ClaimReader
from autotune_nb.bench._cluster_job import PodWatch, container_of, image_of
from autotune_nb.bench._cluster_object import BenchmarkObject, Removals
from autotune_nb.bench._expected_levels import (
    ExpectedLevels,
    deadline_s,
    infra_error,
    missing_levels_error,
    timeout_error,
)
from autotune_nb.bench._launcher import NO_COMPLETION
from autotune_nb.bench._scripts import script_source
from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.results import level_of, read_level
from autotune_nb.cluster.kinds import BENCHMARK_JOB, Object, name_of
from autotune_nb.cluster.pod_errors import exit_code, has_ended, has_log
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError, SetupError, TrialError
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement

#: Enough for an exception, with its traceback, of each of a thousand requests.
_LOG_LINES = 20_000
#: How long after its BenchmarkJob a pod may be reported to have ended.
_SEEN_S = 4.0
#: OME retries only after 60 s if its cache says that the InferenceService is not Ready.
_NO_JOB_S, _NO_JOB_NOTICE_S = 90.0, 4.0


class OmeBenchmark:
    """Measures with one BenchmarkJob per trial; all levels are delivered at its end."""

    yields_at_end = True

    def __init__(self, task: Task, session: ClusterSession) -> None:
        self._task = task
        self._session = session
        self._script = ""
        self._removals = Removals(session)

    async def prepare(self, tokenizer: str = "") -> None:
        self._script = await asyncio.to_thread(script_source, "_in_pod.py")
        if not self._results.startswith("pvc://"):
            await asyncio.to_thread(_filesystem, self._results)

    async def fingerprint(self) -> dict[str, Any]:
        image = self._task.benchmark.image
        return {"benchmark": "genai-bench", "executor": "benchmark_job", "benchmark_image": image or "OME's own"}

    async def close(self) -> None:
        await self._removals.close()

    @property
    def _results(self) -> str:
        return (self._task.benchmark.results or "").rstrip("/")

    def manifest(self, request: BenchRequest, folder: str) -> Object:
        """Return the BenchmarkJob of one trial."""
        task, service = self._task, request.service
        assert service is not None, "deployed in a cluster"
        workload = task.workload
        override = {**task.benchmark.pod, **({"image": task.benchmark.image} if task.benchmark.image else {})}
        return self._session.templates.render_object(
            "benchmark_job.yaml.j2",
            {
                "metadata": self._session.trial_metadata(service.trial),
                "service": {"name": service.name, "namespace": service.namespace},
                "task": workload.task,
                "scenarios": list(workload.scenarios),
                "concurrency": list(workload.loads),
                "minutes": max(1, math.ceil(workload.seconds_per_level / 60)),
                "requests": workload.requests_per_level,
                # In a bucket, files are written directly under the prefix, so each attempt has its own.
                "results": self._results if self._results.startswith("pvc://") else f"{self._results}/{folder}",
                "folder": folder,
                "override": override,
            },
        )

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        service = request.service
        assert service is not None
        obj = BenchmarkObject(self._session, BENCHMARK_JOB, service.trial, request.on_notice)
        folder = f"{service.name}-{service.uid[:8]}"
        log: list[str] = []
        try:
            await obj.create_for_trial(self.manifest(request, folder))
            code = await self._wait_until_ended(obj, request, log)
            read = await self._read_results(request, folder)
            deleted = obj.deleted_by_others(pods=False)
            if deleted:
                raise infra_error(f"{deleted} while its results were read", log=log)
        finally:
            await self._removals.remove(obj)
            with contextlib.suppress(OSError):
                (request.folder / "genai-bench.out.log").write_text("\n".join(log), encoding="utf-8")
        levels = ExpectedLevels(self._task)
        for file in sorted(read.glob("*.json")) if read.is_dir() else []:
            data = read_level(file)
            one = levels.receive(with_failures(data, levels.expected, log)) if data is not None else None
            if one is not None:
                yield one
        if levels.missing:
            raise missing_levels_error(levels.missing, code, read, log, field="benchmark.image")

    async def _wait_until_ended(self, obj: BenchmarkObject, request: BenchRequest, log: list[str]) -> int:
        """Wait for the state Completed or Failed and return genai-bench's exit code. Raises TrialError."""
        loop, pending_s = asyncio.get_running_loop(), self._task.deadlines.pending_s
        within_s, began = deadline_s(self._task), loop.time()
        watch, silence = PodWatch(obj, pending_s), JobCreationTimeout(obj, began)
        failed_at: float | None = None

        def check() -> str | TrialError | None:
            nonlocal failed_at
            now, status = loop.time(), (obj.object() or {}).get("status") or {}
            state = status.get("state")
            # The pod may be deleted after completion; a second Job would write into the same folder.
            gone = obj.deleted_by_others(pods=state != "Completed")
            if gone:
                return infra_error(gone)
            if state == "Completed":
                return str(state)
            over = any(map(has_ended, obj.pods()))
            if state == "Failed":
                failed_at = failed_at or now
                if not over and now - failed_at < _SEEN_S:
                    # The watch reports its pod's end, with the reason, a moment later.
                    return None
            wrong = watch.current_error() if state == "Failed" else watch.lasting_error(now)
            if wrong is not None:
                return infra_error(wrong.text, wrong.hint, away=wrong.away)
            if state == "Failed":
                return "Failed" if over else infra_error(f"{obj.full_name} failed: {status.get('failureMessage')}")
            if now - began > within_s + pending_s:
                if any(map(has_log, obj.pods())):
                    return timeout_error(list(self._task.workload.levels), within_s, log)
                return infra_error(f"the pod of {obj.full_name} never started", "see the events of that pod")
            return silence.check(now, str(state or "none"), broken=watch.is_waiting)

        found = await self._session.watches.until(check)
        pods = [pod for pod in obj.pods() if has_log(pod)]
        if pods:
            request.on_identity(image_of(pods[-1]))
            with contextlib.suppress(ClusterError):
                text = await self._session.cluster.log(name_of(pods[-1]), container_of(pods[-1]), tail_lines=_LOG_LINES)
                log += text.splitlines()
        if isinstance(found, TrialError):
            raise found
        code = exit_code(pods[-1]) if pods else None
        return code if code is not None else int(found == "Failed")

    async def _read_results(self, request: BenchRequest, folder: str) -> Path:
        """Copy its result files into the trial's folder."""
        into, service = request.folder / RESULTS, request.service
        assert service is not None
        if self._results.startswith("pvc://"):
            reader = ClaimReader(self._task, self._session, self._script, self._removals)
            await reader.read(folder, into, service, request.on_notice)
        else:
            try:
                await asyncio.to_thread(_fetch, f"{self._results}/{folder}", into)
            except Exception as error:  # noqa: BLE001 - each kind of storage raises its own
                raise infra_error(f"{self._results}/{folder} could not be read: {error}") from None
        return into


class JobCreationTimeout:
    """How long OME may take to create a BenchmarkJob's Job. OME reports no reason, such as a missing claim."""

    def __init__(self, obj: BenchmarkObject, began: float) -> None:
        self._object, self._since, self._reported = obj, began, False

    def check(self, now: float, state: str, *, broken: bool) -> TrialError | None:
        """Return the error once it has lasted too long; reports it earlier. ``broken`` restarts the time."""
        obj = self._object
        if broken or state == "Running" or obj.jobs():
            self._since = now
            return None
        lasted_s = now - self._since
        warnings = [" ".join(str(event.get("message", "")).split()) for event in obj.warnings()]
        reason = f": {warnings[-1]}" if warnings else ""
        message = f"OME has created no Job for {obj.full_name} (state {state}){reason}"
        if lasted_s > _NO_JOB_S:
            hint = "check that the claim exists, and the log of OME's controller for this name"
            return infra_error(f"{message} for {lasted_s:.0f} s", hint)
        if lasted_s > _NO_JOB_NOTICE_S and not self._reported:
            self._reported = True
            obj.notify(f"{obj.subject}: {message}; it may retry only after a minute")
        return None


def with_failures(data: dict[str, Any], levels: Sequence[Level], log: Sequence[str]) -> dict[str, Any]:
    """Return a level's file with the failed requests that only the log has: OME runs genai-bench as it is."""
    counts, level = unrecorded_failures(log), level_of(data)
    if len(counts) != len(levels) or level not in levels or not counts[levels.index(level)]:
        return data
    count, aggregated = counts[levels.index(level)], data["aggregated_metrics"]
    codes = {**(aggregated.get("error_codes_frequency") or {}), str(NO_COMPLETION): count}
    failed = (aggregated.get("num_error_requests") or 0) + count
    return {
        **data,
        "aggregated_metrics": {**aggregated, "num_error_requests": failed, "error_codes_frequency": codes},
    }


def _filesystem(uri: str) -> Any:
    """Return a bucket's filesystem and path. Raises SetupError if its package is missing."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise SetupError(f"{uri} cannot be read from here: {error}", field="benchmark.results") from None


def _fetch(uri: str, into: Path) -> None:
    storage, path = _filesystem(uri)
    into.mkdir(parents=True, exist_ok=True)
    for file in storage.find(path):
        if file.endswith(".json"):
            storage.get_file(file, str(into / file.rsplit("/", 1)[-1]))
