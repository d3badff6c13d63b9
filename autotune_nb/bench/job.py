"""genai-bench as a plain Job in the cluster, which sends each level's figures as the level ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from autotune_nb.bench._arguments import RESULTS, arguments, backend_of, level_plan, run_order, trusts_tokenizer
from autotune_nb.bench._cluster_job import (
    IMAGE,
    PodWatch,
    follow_log_files,
    image_of,
    pod_fields,
    script_container,
    write_file,
)
from autotune_nb.bench._cluster_object import BenchmarkObject, Removals
from autotune_nb.bench._expected_levels import (
    ExpectedLevels,
    deadline_s,
    infra_error,
    missing_levels_error,
    timeout_error,
)
from autotune_nb.bench._log_frames import Frames
from autotune_nb.bench._mounted_dataset import mounted_dataset_arguments
from autotune_nb.bench._scripts import script_source
from autotune_nb.bench.base import BenchRequest
from autotune_nb.cluster.kinds import JOB, Object
from autotune_nb.cluster.pod_errors import exit_code, has_ended, has_log
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import SetupError, TrialError
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement

_MOUNT, _WORK = "/autotune-nb-results", "/tmp/autotune-nb"
#: How often the deadline is checked.
_POLL_S = 0.5


class JobBenchmark:
    """Measures with one batch/v1 Job per trial."""

    yields_at_end = False

    def __init__(self, task: Task, session: ClusterSession, *, backend: str, engine: str | None) -> None:
        self._task = task
        self._session = session
        self._backend = backend
        self._engine = engine
        self._script = ""
        self._removals = Removals(session)

    async def prepare(self, tokenizer: str = "") -> None:
        self._script = await asyncio.to_thread(script_source, "_in_pod.py")

    async def fingerprint(self) -> dict[str, Any]:
        return {"benchmark": "genai-bench", "executor": "job", "benchmark_image": self._task.benchmark.image or IMAGE}

    async def close(self) -> None:
        await self._removals.close()

    def manifest(self, request: BenchRequest) -> Object:
        """Return the Job of one trial."""
        task, service = self._task, request.service
        assert service is not None, "deployed in a cluster"
        extra = task.benchmark.pod
        tokenizer = task.model.tokenizer or service.model_path or request.tokenizer
        # An empty volume, because the image's file system may be read-only.
        volumes: list[Object] = [*(extra.get("volumes") or ()), {"name": "work", "emptyDir": {}}]
        mounts: list[Object] = [*(extra.get("volumeMounts") or ()), {"name": "work", "mountPath": _WORK}]
        folder = _WORK
        results = (task.benchmark.results or "").removeprefix("pvc://")
        if (task.benchmark.results or "").startswith("pvc://"):
            claim, _, sub = results.partition("/")
            # One folder per trial and attempt, like the artifacts.
            folder = f"{_MOUNT}/{service.name}-{service.uid[:8]}"
            volumes.append({"name": "results", "persistentVolumeClaim": {"claimName": claim}})
            mounts.append({"name": "results", "mountPath": _MOUNT, "subPath": sub})
        if service.model_path:
            volumes.append({"name": "model", "hostPath": {"path": service.model_path}})
            mounts.append({"name": "model", "mountPath": service.model_path, "readOnly": True})
        argv = arguments(
            task,
            backend=backend_of(task, self._backend, request.accepts_ignore_eos),
            engine=self._engine,
            url=service.url,
            model=request.model,
            tokenizer=tokenizer,
            gpu_count=request.gpu_count,
            folder=folder,
            whole_minutes=False,
            levels=request.levels,
            dataset=mounted_dataset_arguments(task),
        )
        job = {
            "argv": argv,
            "folder": f"{folder}/{RESULTS}",
            "levels": len(task.workload.levels),
            "seed": task.strategy.seed,
            "trusted": trusts_tokenizer(task),
            "plan": level_plan(task),
        }
        container = script_container(
            task.benchmark.image or IMAGE, "genai-bench", self._script, job, {**extra, "volumeMounts": mounts}
        )
        if tokenizer == service.model_path:
            container["env"].append({"name": "HF_HUB_OFFLINE", "value": "1"})
        pod = {**pod_fields(extra), "volumes": volumes}
        if service.model_path:
            # Only these nodes have the model and its tokenizer.
            pod["nodeSelector"] = {**service.node_selector, **(extra.get("nodeSelector") or {})}
        return self._session.templates.render_object(
            "job.yaml.j2",
            {
                "metadata": self._session.trial_metadata(service.trial),
                # Longer than this process waits for its pod and its levels.
                "deadline_s": round(2 * deadline_s(task) + task.deadlines.pending_s),
                "pod": pod,
                "container": container,
            },
        )

    async def measure(self, request: BenchRequest) -> AsyncGenerator[Measurement, None]:
        assert request.service is not None
        obj = BenchmarkObject(self._session, JOB, request.service.trial, request.on_notice)
        frames = Frames()
        try:
            await obj.create_for_trial(self.manifest(request))
            async for one in self._levels(request, obj, frames):
                yield one
        finally:
            await self._removals.remove(obj)
            with contextlib.suppress(OSError):
                (request.folder / "genai-bench.out.log").write_text("\n".join(frames.lines), encoding="utf-8")

    async def _levels(
        self, request: BenchRequest, obj: BenchmarkObject, frames: Frames
    ) -> AsyncGenerator[Measurement, None]:
        order = run_order(request.levels or self._task.workload.levels)
        levels, folder = ExpectedLevels(self._task, order), request.folder / RESULTS
        landed: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        within_s = deadline_s(self._task)
        loop = asyncio.get_running_loop()
        watch = PodWatch(obj, self._task.deadlines.pending_s)
        await self._wait_until_started(obj, watch, within_s)
        for pod in obj.pods():
            request.on_identity(image_of(pod))
        deadline = loop.time() + within_s

        async def read() -> None:
            async for found in follow_log_files(self._session, obj, frames):
                landed.put_nowait(found)

        reading = asyncio.ensure_future(read())
        try:
            while levels.missing:
                over = reading.done()
                found = await _next(landed, 0.0 if over else _POLL_S)
                if found is not None:
                    name, data = found
                    await asyncio.to_thread(write_file, folder, name, data)
                    one = levels.receive(json.loads(data)) if _is_level(data) else None
                    if one is not None:
                        yield one
                    continue
                if over:
                    reading.result()
                    raise self._ended(obj, levels, folder, frames, watch)
                if loop.time() > deadline:
                    raise timeout_error(levels.missing, within_s, frames.lines)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _wait_until_started(self, obj: BenchmarkObject, watch: PodWatch, within_s: float) -> None:
        """Wait until its pod has a log. Raises TrialError if it never will."""
        loop = asyncio.get_running_loop()

        def check() -> str | TrialError | None:
            gone = obj.deleted_by_others()
            if gone:
                return infra_error(gone)
            if any(has_log(pod) for pod in obj.pods()):
                return "started"
            wrong = watch.lasting_error(loop.time())
            return infra_error(wrong.text, wrong.hint, away=wrong.away) if wrong is not None else None

        try:
            found = await self._session.watches.until(check, within_s=within_s + self._task.deadlines.pending_s)
        except TimeoutError:
            raise infra_error(f"{obj.full_name} never started a pod", "see the events of this Job") from None
        if isinstance(found, TrialError):
            raise found

    def _ended(
        self, obj: BenchmarkObject, levels: ExpectedLevels, folder: Path, frames: Frames, watch: PodWatch
    ) -> TrialError | SetupError:
        """Return the error for levels that are missing after the end of the log."""
        gone, wrong, pods = (
            obj.deleted_by_others(),
            watch.current_error(),
            [pod for pod in obj.pods() if has_ended(pod)],
        )
        if gone:
            return infra_error(gone, log=frames.lines)
        if wrong is not None:
            return infra_error(wrong.text, wrong.hint, frames.lines, away=wrong.away)
        if not pods:
            return infra_error(f"the log of {obj.full_name} broke off", log=frames.lines)
        return missing_levels_error(levels.missing, exit_code(pods[-1]), folder, frames.lines, field="benchmark.image")


async def _next(landed: asyncio.Queue[tuple[str, bytes]], within_s: float) -> tuple[str, bytes] | None:
    """Return the next file; None if none arrives in time."""
    if landed.empty():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await landed.get()
    return None if landed.empty() else landed.get_nowait()


def _is_level(data: bytes) -> bool:
    try:
        aggregated = json.loads(data)["aggregated_metrics"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(aggregated, dict) and bool(aggregated.get("scenario"))
