"""Shared by the executors in the cluster: containers that run a script, pod errors, files from a pod's log."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from autotune_nb.bench._cluster_object import BenchmarkObject
from autotune_nb.bench._log_frames import Frames
from autotune_nb.cluster.kinds import Object, labels_of, name_of, terminating
from autotune_nb.cluster.pod_errors import PodError, creation_error, has_ended, has_log, pod_error
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError

#: The image that genai-bench's own project publishes.
IMAGE = "ghcr.io/sgl-project/genai-bench:0.0.5"
#: The fields of benchmark.pod that belong to the container; the others belong to the pod.
_OF_CONTAINER = ("env", "envFrom", "resources", "volumeMounts", "securityContext", "imagePullPolicy")
_ERROR_S, _AGAIN_S = 4.0, 1.0
#: How long to wait, with the engine running, for a webhook or a cluster that lets no pod be created.
_AWAY_S = 60.0


def script_container(image: str, name: str, script: str, job: Mapping[str, Any], extra: Mapping[str, Any]) -> Object:
    """Return a container that runs ``script`` with one JSON argument; ``extra`` is benchmark.pod."""
    container: Object = {
        "name": name,
        "image": image,
        "command": ["python3", "-c", script],
        "args": [json.dumps(job)],
        "env": [
            {"name": "ENABLE_UI", "value": "false"},
            {"name": "PYTHONUNBUFFERED", "value": "1"},
            {"name": "TOKENIZERS_PARALLELISM", "value": "false"},
        ],
    }
    for key in _OF_CONTAINER:
        if key in extra:
            own = container.get(key)
            container[key] = [*own, *extra[key]] if isinstance(own, list) else extra[key]
    return container


def pod_fields(extra: Mapping[str, Any]) -> Object:
    """Return the fields of benchmark.pod that belong to the pod."""
    return {key: value for key, value in extra.items() if key not in (*_OF_CONTAINER, "image")}


class PodWatch:
    """Reports once what keeps a benchmark's pod from running, and decides when it has lasted too long."""

    def __init__(self, obj: BenchmarkObject, pending_s: float) -> None:
        self._object, self._pending_s = obj, pending_s
        self._since: float | None = None
        self._reported = ""

    def current_error(self) -> PodError | None:
        """Return the error of the pod now, transient or not; None if there is none."""
        pods = self._object.pods()
        if not pods:
            return creation_error(self._object.warnings())
        return next((found for pod in pods if (found := pod_error(pod)) is not None), None)

    def lasting_error(self, now: float) -> PodError | None:
        """Return the error if it has lasted too long; None if there is none or it may pass."""
        wrong = self.current_error()
        if wrong is None:
            self._since = None
            return None
        self._since = now if self._since is None else self._since
        # The rest of the server's message differs between attempts.
        what = wrong.text.split(": ")[0]
        if wrong.transient and what != self._reported:
            self._reported = what
            self._object.notify(f"{self._object.subject}: {wrong.text}" + (f"; {wrong.hint}" if wrong.hint else ""))
        pending_s = min(self._pending_s, _AWAY_S) if wrong.away else self._pending_s
        # A registry may fail once, so that a pod that cannot start now may start a moment later.
        if now - self._since < (pending_s if wrong.transient else _ERROR_S):
            return None
        timed_out = wrong.transient and not wrong.away
        passed = f"; deadlines.pending_s ({self._pending_s:g} s) has passed" if timed_out else ""
        return replace(wrong, text=wrong.text + passed)

    @property
    def is_waiting(self) -> bool:
        """Whether the last check found an error."""
        return self._since is not None


async def follow_log_files(
    session: ClusterSession, obj: BenchmarkObject, frames: Frames
) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the files in its pod's log as they arrive, until the pod ends. A log that breaks off is read again."""
    while True:
        pods = [pod for pod in obj.pods() if has_log(pod) and not terminating(pod)]
        if not pods or obj.deleted_by_others():
            return
        pod, over = pods[-1], has_ended(pods[-1])
        frames.restart()
        try:
            async with session.cluster.follow_log(name_of(pod), container_of(pod)) as pieces:
                async for piece in pieces:
                    for found in frames.feed(piece):
                        yield found
            for found in frames.end():
                yield found
        except (ClusterError, aiohttp.ClientError, TimeoutError, OSError):
            over = False
        if over:
            return
        # The log has ended; the watch reports the pod's end a moment later.
        with contextlib.suppress(TimeoutError):
            await session.watches.until(_pod_ended(obj, name_of(pod)), within_s=_AGAIN_S)


def _pod_ended(obj: BenchmarkObject, pod: str) -> Callable[[], bool | None]:
    """Return a check that is True once a pod has ended or is gone, and None before."""

    def check() -> bool | None:
        found = next((one for one in obj.pods() if name_of(one) == pod), None)
        return True if found is None or has_ended(found) else None

    return check


def container_of(pod: Object) -> str:
    """Return the name of the benchmark's container; a service mesh may have added others."""
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    own = labels_of(pod).get("benchmark")
    return next((name for name in names if name in ("genai-bench", "reader", own)), names[0])


def image_of(pod: Object) -> dict[str, str]:
    """Return the image of a benchmark and its digest, which is empty if the node does not report one."""
    name = container_of(pod)
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return {
        "benchmark_image": next(str(one.get("image", "")) for one in pod["spec"]["containers"] if one["name"] == name),
        "benchmark_image_id": next((str(one.get("imageID", "")) for one in statuses if one["name"] == name), ""),
    }


def write_file(folder: Path, name: str, data: bytes) -> None:
    """Write a file received from a pod."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
