"""Reads a benchmark's results from a claim, with a short-lived pod that mounts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from autotune_nb.bench._cluster_job import IMAGE, PodWatch, follow_log_files, pod_fields, script_container, write_file
from autotune_nb.bench._cluster_object import BenchmarkObject, Removals
from autotune_nb.bench._expected_levels import infra_error
from autotune_nb.bench._log_frames import Frames
from autotune_nb.cluster.kinds import POD, Object
from autotune_nb.cluster.pod_errors import exit_code, has_ended
from autotune_nb.cluster.service import ClusterService
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import TrialError
from autotune_nb.task.task import Task

_MOUNT = "/autotune-nb-results"
_READ_S = 60.0
#: In the reader's last line, after all files.
_LAST_LINE = " levels in "


class ClaimReader:
    """Reads folders of one claim."""

    def __init__(self, task: Task, session: ClusterSession, script: str, removals: Removals) -> None:
        self._task = task
        self._session = session
        self._script = script
        self._removals = removals

    async def read(self, folder: str, into: Path, service: ClusterService, notify: Callable[[str], None]) -> None:
        """Copy a folder's files. Raises MeasurementError if that fails."""
        reader, frames = BenchmarkObject(self._session, POD, service.trial, notify), Frames()
        try:
            await reader.create_for_trial(self._manifest(folder, service))
            await self._wait_until_read(reader)
            async for name, data in follow_log_files(self._session, reader, frames):
                await asyncio.to_thread(write_file, into, name, data)
            if not any(_LAST_LINE in line for line in frames.lines):
                message = reader.deleted_by_others() or f"the log of {reader.full_name} broke off"
                raise infra_error(f"the results could not be read: {message}", log=frames.lines)
        finally:
            await self._removals.remove(reader)

    def _manifest(self, folder: str, service: ClusterService) -> Object:
        task = self._task
        claim, _, sub = (task.benchmark.results or "").rstrip("/").removeprefix("pvc://").partition("/")
        extra = {key: value for key, value in task.benchmark.pod.items() if key not in ("env", "envFrom", "resources")}
        mounts = [*(extra.get("volumeMounts") or ()), {"name": "results", "mountPath": _MOUNT, "subPath": sub}]
        volumes = [*(extra.get("volumes") or ())]
        volumes.append({"name": "results", "persistentVolumeClaim": {"claimName": claim}})
        container = script_container(
            task.benchmark.image or IMAGE,
            "reader",
            self._script,
            {"read": f"{_MOUNT}/{folder}"},
            {**extra, "volumeMounts": mounts},
        )
        metadata = self._session.trial_metadata(service.trial)
        pod = {**pod_fields(extra), "volumes": volumes}
        if service.node_selector:
            # A claim that a single node may mount is on the node of the benchmark.
            pod["nodeSelector"] = {**service.node_selector, **(extra.get("nodeSelector") or {})}
        return self._session.templates.render_object(
            "reader_pod.yaml.j2",
            {
                "metadata": {**metadata, "name": f"{metadata['name']}-r"},
                "deadline_s": round(_READ_S + task.deadlines.pending_s),
                "pod": pod,
                "container": container,
            },
        )

    async def _wait_until_read(self, reader: BenchmarkObject) -> None:
        loop = asyncio.get_running_loop()
        pending_s = self._task.deadlines.pending_s
        watch = PodWatch(reader, pending_s)

        def check() -> str | TrialError | None:
            gone = reader.deleted_by_others()
            if gone:
                return infra_error(f"the results could not be read: {gone}")
            over = [pod for pod in reader.pods() if has_ended(pod)]
            wrong = watch.current_error() if over else watch.lasting_error(loop.time())
            if wrong is not None:
                return infra_error(f"the results could not be read: {wrong.text}", wrong.hint, away=wrong.away)
            if over and exit_code(over[0]):
                return infra_error(
                    f"the results could not be read: {reader.full_name} ended with code {exit_code(over[0])}"
                )
            return "read" if over else None

        try:
            found = await self._session.watches.until(check, within_s=_READ_S + pending_s)
        except TimeoutError:
            raise infra_error(f"{reader.full_name} did not read the results within {_READ_S:g} s") from None
        if isinstance(found, TrialError):
            raise found
