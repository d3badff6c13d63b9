"""OME's BenchmarkJob: made, watched with its pod, its files read back from the claim or the bucket."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from autotune_nb.bench._arguments import RESULTS
from autotune_nb.bench._cluster import (
    IMAGE,
    Made,
    PodWatch,
    container_of,
    failed,
    follow,
    image_of,
    in_pod,
    keep,
    of_pod,
)
from autotune_nb.bench._frames import Frames
from autotune_nb.bench._levels import Levels, deadline_s, late, never_landed
from autotune_nb.bench.base import BenchRequest
from autotune_nb.bench.results import read_level
from autotune_nb.cluster.kinds import BENCHMARK_JOB, POD, Object, name_of
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.cluster.trouble import ended, exit_code, has_log
from autotune_nb.errors import ClusterError, MeasurementError, SetupError
from autotune_nb.measurement import Measurement
from autotune_nb.task import Task
from autotune_nb.waiting import uncancelled

_SCRIPT = Path(__file__).with_name("_in_pod.py")
_MOUNT = "/autotune-nb-results"
_READ_S = 60.0
#: Pending with a Ready service means that OME makes no Job, and says nothing of why.
_PENDING_S = 20.0


class OmeBenchmark:
    """Measures with one BenchmarkJob a trial; its levels are there once all have ended."""

    def __init__(self, task: Task, session: ClusterSession) -> None:
        self._task = task
        self._session = session
        self._script = ""

    async def prepare(self, tokenizer: str = "") -> None:
        self._script = await asyncio.to_thread(_SCRIPT.read_text, encoding="utf-8")
        if not self._results.startswith("pvc://"):
            await asyncio.to_thread(_filesystem, self._results)

    async def fingerprint(self) -> dict[str, Any]:
        image = self._task.benchmark.image
        return {"benchmark": "genai-bench", "executor": "benchmark_job", "benchmark_image": image or "OME's own"}

    async def close(self) -> None:
        pass

    @property
    def _results(self) -> str:
        return (self._task.benchmark.results or "").rstrip("/")

    def manifest(self, request: BenchRequest, folder: str) -> Object:
        """The BenchmarkJob of one trial."""
        task, service = self._task, request.service
        assert service is not None, "deployed in a cluster"
        workload = task.workload
        override = {**task.benchmark.pod, **({"image": task.benchmark.image} if task.benchmark.image else {})}
        return self._session.templates.object(
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
        made = Made(self._session, BENCHMARK_JOB, service.trial)
        folder = f"{service.name}-{service.uid[:8]}"
        log: list[str] = []
        try:
            await made.make(self.manifest(request, folder))
            code = await self._until_over(made, request, log)
            read = await self._read_back(request, folder)
        finally:
            left = await uncancelled(made.remove())
            if left:
                request.on_notice(left)
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
        loop = asyncio.get_running_loop()
        within_s = deadline_s(self._task)
        watch = PodWatch(made, self._task.deadlines.pending_s, request.on_notice)
        began, pending_since, seen = loop.time(), loop.time(), False

        def check() -> str | MeasurementError | None:
            nonlocal pending_since, seen
            found = made.object()
            seen = seen or found is not None
            if seen and found is None:
                return failed(f"BenchmarkJob {made.name} was deleted by somebody")
            status = (found or {}).get("status") or {}
            state = status.get("state")
            if state in ("Completed", "Failed"):
                return str(state)
            now = loop.time()
            wrong = watch.check(now)
            if wrong is not None:
                return failed(wrong.text, wrong.hint)
            if state == "Running" or made.pods():
                pending_since = now
            if now - pending_since > _PENDING_S:
                told = f"OME has made no Job of BenchmarkJob {made.name} (state {state or 'none'})"
                return failed(told, "see that the claim exists and what OME's controller logs of that name")
            if now - began > within_s + self._task.deadlines.pending_s:
                return late(list(self._task.workload.levels), within_s, log)
            return None

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
        into = request.folder / RESULTS
        if self._results.startswith("pvc://"):
            await self._read_claim(request, folder, into)
        else:
            try:
                await asyncio.to_thread(_fetch, f"{self._results}/{folder}", into)
            except Exception as error:  # noqa: BLE001 - each kind of storage raises its own
                raise failed(f"{self._results}/{folder} could not be read: {error}") from None
        return into

    async def _read_claim(self, request: BenchRequest, folder: str, into: Path) -> None:
        task, service = self._task, request.service
        assert service is not None
        claim, _, sub = self._results.removeprefix("pvc://").partition("/")
        extra = {key: value for key, value in task.benchmark.pod.items() if key not in ("env", "envFrom", "resources")}
        mounts = [*(extra.get("volumeMounts") or ()), {"name": "results", "mountPath": _MOUNT, "subPath": sub}]
        volumes = [*(extra.get("volumes") or ())]
        volumes.append({"name": "results", "persistentVolumeClaim": {"claimName": claim}})
        container = in_pod(
            task.benchmark.image or IMAGE,
            "reader",
            self._script,
            {"read": f"{_MOUNT}/{folder}"},
            {**extra, "volumeMounts": mounts},
        )
        metadata = self._session.trial_metadata(service.trial)
        pod = {**of_pod(extra), "volumes": volumes}
        if service.node_selector:
            # A claim that one node alone may mount is on the node the benchmark ran on.
            pod["nodeSelector"] = {**service.node_selector, **(extra.get("nodeSelector") or {})}
        body = self._session.templates.object(
            "reader_pod.yaml.j2",
            {
                "metadata": {**metadata, "name": f"{metadata['name']}-r"},
                "deadline_s": round(_READ_S + task.deadlines.pending_s),
                "pod": pod,
                "container": container,
            },
        )
        reader, frames = Made(self._session, POD, service.trial), Frames()
        try:
            await reader.make(body)
            await self._until_read(reader, request)
            async for name, data in follow(self._session, reader, frames):
                await asyncio.to_thread(keep, into, name, data)
        finally:
            left = await uncancelled(reader.remove())
            if left:
                request.on_notice(left)

    async def _until_read(self, reader: Made, request: BenchRequest) -> None:
        loop = asyncio.get_running_loop()
        watch = PodWatch(reader, self._task.deadlines.pending_s, request.on_notice)
        seen = False

        def check() -> str | MeasurementError | None:
            nonlocal seen
            pods = reader.pods()
            if any(map(ended, pods)):
                return "read"
            seen = seen or bool(pods)
            if seen and not pods:
                return failed(f"pod {reader.name}, which reads the results, was deleted by somebody")
            wrong = watch.check(loop.time())
            return failed(f"the results could not be read: {wrong.text}", wrong.hint) if wrong is not None else None

        try:
            found = await self._session.watches.until(check, within_s=_READ_S + self._task.deadlines.pending_s)
        except TimeoutError:
            raise failed(f"pod {reader.name} did not read the results within {_READ_S:g} s") from None
        if isinstance(found, MeasurementError):
            raise found


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
