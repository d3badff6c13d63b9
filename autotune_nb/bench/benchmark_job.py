"""OME's BenchmarkJob: made, watched with its pod, its files read back from the claim or the bucket."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from autotune_nb.bench._arguments import RESULTS
from autotune_nb.bench._claim_reader import ClaimReader
from autotune_nb.bench._cluster_job import PodWatch, container_of, image_of
from autotune_nb.bench._cluster_object import Made, Removals
from autotune_nb.bench._expected_levels import Levels, deadline_s, failed, late, never_landed
from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.results import read_level
from autotune_nb.cluster.kinds import BENCHMARK_JOB, Object, name_of
from autotune_nb.cluster.pod_errors import exit_code, has_ended, has_log
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError, MeasurementError, SetupError
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement

_SCRIPT = Path(__file__).with_name("_in_pod.py")
#: A pod is seen to have ended so soon after its BenchmarkJob has.
_SEEN_S = 4.0
#: OME looks again only after 60 s at an InferenceService that it takes, by a view out of date maybe, for not Ready.
_SILENT_S, _QUIET_S = 90.0, 4.0


class OmeBenchmark:
    """Measures with one BenchmarkJob a trial; its levels are there once all have ended."""

    def __init__(self, task: Task, session: ClusterSession) -> None:
        self._task = task
        self._session = session
        self._script = ""
        self._removals = Removals(session)

    async def prepare(self, tokenizer: str = "") -> None:
        self._script = await asyncio.to_thread(_SCRIPT.read_text, encoding="utf-8")
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
        """The BenchmarkJob of one trial."""
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
                "concurrency": list(workload.concurrency),
                "minutes": max(1, math.ceil(workload.seconds_per_level / 60)),
                "requests": workload.requests_per_level,
                # A bucket takes files straight under the prefix: one prefix an attempt.
                "results": self._results if self._results.startswith("pvc://") else f"{self._results}/{folder}",
                "folder": folder,
                "override": override,
            },
        )

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        service = request.service
        assert service is not None
        made = Made(self._session, BENCHMARK_JOB, service.trial, request.on_notice)
        folder = f"{service.name}-{service.uid[:8]}"
        log: list[str] = []
        try:
            await made.make(self.manifest(request, folder))
            code = await self._until_over(made, request, log)
            read = await self._read_back(request, folder)
            again = made.taken_away(pods=False)
            if again:
                raise failed(f"{again} while its results were read", log=log)
        finally:
            await self._removals.remove(made)
            with contextlib.suppress(OSError):
                (request.folder / "genai-bench.out.log").write_text("\n".join(log), encoding="utf-8")
        levels = Levels(self._task)
        for file in sorted(read.glob("*.json")) if read.is_dir() else []:
            data = read_level(file)
            one = levels.take(data) if data is not None else None
            if one is not None:
                yield one
        if levels.missing:
            raise never_landed(levels.missing, code, read, log)

    async def _until_over(self, made: Made, request: BenchRequest, log: list[str]) -> int:
        """Wait for the state Completed or Failed; genai-bench's exit code. Raises MeasurementError."""
        loop, pending_s = asyncio.get_running_loop(), self._task.deadlines.pending_s
        within_s, began = deadline_s(self._task), loop.time()
        watch, silence = PodWatch(made, pending_s), Silence(made, began)
        failed_at: float | None = None

        def check() -> str | MeasurementError | None:
            nonlocal failed_at
            now, status = loop.time(), (made.object() or {}).get("status") or {}
            state = status.get("state")
            # A pod may go once all is done; another Job would write into the same folder.
            gone = made.taken_away(pods=state != "Completed")
            if gone:
                return failed(gone)
            if state == "Completed":
                return str(state)
            over = any(map(has_ended, made.pods()))
            if state == "Failed":
                failed_at = failed_at or now
                if not over and now - failed_at < _SEEN_S:
                    # Its pod says more, and is about to be seen to have ended.
                    return None
            wrong = watch.wrong() if state == "Failed" else watch.check(now)
            if wrong is not None:
                return failed(wrong.text, wrong.hint)
            if state == "Failed":
                return "Failed" if over else failed(f"{made.full_name} failed: {status.get('failureMessage')}")
            if now - began > within_s + pending_s:
                if any(map(has_log, made.pods())):
                    return late(list(self._task.workload.levels), within_s, log)
                return failed(f"the pod of {made.full_name} never started", "see the events of that pod")
            return silence.check(now, str(state or "none"), broken=watch.waits)

        found = await self._session.watches.until(check)
        pods = [pod for pod in made.pods() if has_log(pod)]
        if pods:
            request.on_identity(image_of(pods[-1]))
            with contextlib.suppress(ClusterError):
                text = await self._session.cluster.log(name_of(pods[-1]), container_of(pods[-1]), tail_lines=400)
                log += text.splitlines()
        if isinstance(found, MeasurementError):
            raise found
        code = exit_code(pods[-1]) if pods else None
        return code if code is not None else int(found == "Failed")

    async def _read_back(self, request: BenchRequest, folder: str) -> Path:
        """The files it left, in the trial's own folder."""
        into, service = request.folder / RESULTS, request.service
        assert service is not None
        if self._results.startswith("pvc://"):
            reader = ClaimReader(self._task, self._session, self._script, self._removals)
            await reader.read(folder, into, service, request.on_notice)
        else:
            try:
                await asyncio.to_thread(_fetch, f"{self._results}/{folder}", into)
            except Exception as error:  # noqa: BLE001 - each kind of storage raises its own
                raise failed(f"{self._results}/{folder} could not be read: {error}") from None
        return into


class Silence:
    """How long OME may make no Job of a BenchmarkJob. It says nothing of why: of a claim that is missing, say."""

    def __init__(self, made: Made, began: float) -> None:
        self._made, self._since, self._told = made, began, False

    def check(self, now: float, state: str, *, broken: bool) -> MeasurementError | None:
        """The failure, once it has lasted too long; told before. A silence that is ``broken`` begins anew."""
        made = self._made
        if broken or state == "Running" or made.jobs():
            self._since = now
            return None
        lasted_s = now - self._since
        warnings = [" ".join(str(event.get("message", "")).split()) for event in made.warnings()]
        told = f"OME has made no Job of {made.full_name} (state {state})" + (f": {warnings[-1]}" if warnings else "")
        if lasted_s > _SILENT_S:
            hint = "see that the claim exists and what OME's controller logs of that name"
            return failed(f"{told} for {lasted_s:.0f} s", hint)
        if lasted_s > _QUIET_S and not self._told:
            self._told = True
            made.say(f"{made.who}: {told}; it may look again only after a minute")
        return None


def _filesystem(uri: str) -> Any:
    """The storage of a bucket's address. Raises SetupError where the package for it is missing."""
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
