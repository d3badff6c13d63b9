"""What the two executors in the cluster share: containers that run a script of ours, pods followed, files taken in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from autotune_nb.bench._cluster_object import Made
from autotune_nb.bench._log_frames import Frames
from autotune_nb.cluster.kinds import Object, labels_of, name_of, terminating
from autotune_nb.cluster.pod_errors import PodError, creation_error, has_ended, has_log, pod_error
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.errors import ClusterError

#: The image that genai-bench's own project publishes.
IMAGE = "ghcr.io/sgl-project/genai-bench:0.0.5"
#: What of benchmark.pod belongs to the container; the rest to the pod.
_OF_CONTAINER = ("env", "envFrom", "resources", "volumeMounts", "securityContext", "imagePullPolicy")
_TROUBLE_S, _AGAIN_S = 4.0, 1.0


def in_pod(image: str, name: str, script: str, job: Mapping[str, Any], extra: Mapping[str, Any]) -> Object:
    """A container that runs a script of ours on one JSON argument; ``extra`` is benchmark.pod."""
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


def of_pod(extra: Mapping[str, Any]) -> Object:
    """What of benchmark.pod belongs to the pod itself."""
    return {key: value for key, value in extra.items() if key not in (*_OF_CONTAINER, "image")}


class PodWatch:
    """Tells once what keeps a benchmark's pod from its work, and for how long that may last."""

    def __init__(self, made: Made, pending_s: float) -> None:
        self._made, self._pending_s = made, pending_s
        self._since: float | None = None
        self._told = ""

    def wrong(self) -> PodError | None:
        """What is wrong now, whether or not it may pass."""
        pods = self._made.pods()
        if not pods:
            return creation_error(self._made.warnings())
        return next((found for pod in pods if (found := pod_error(pod)) is not None), None)

    def check(self, now: float) -> PodError | None:
        """What is wrong for good by now; None where nothing is, or it may pass."""
        wrong = self.wrong()
        if wrong is None:
            self._since = None
            return None
        self._since = now if self._since is None else self._since
        # The server's own words differ from one attempt to the next.
        what = wrong.text.split(": ")[0]
        if wrong.transient and what != self._told:
            self._told = what
            self._made.say(f"{self._made.who}: {wrong.text}; {wrong.hint}")
        # A registry may fail once: what cannot start now may a moment later.
        if now - self._since < (self._pending_s if wrong.transient else _TROUBLE_S):
            return None
        passed = f"; deadlines.pending_s ({self._pending_s:g} s) has passed" if wrong.transient else ""
        return replace(wrong, text=wrong.text + passed)

    @property
    def waits(self) -> bool:
        """Whether something was wrong when that was last checked."""
        return self._since is not None


async def follow(session: ClusterSession, made: Made, frames: Frames) -> AsyncIterator[tuple[str, bytes]]:
    """The files in the log of its pod, as they come, until the pod ends; a log that breaks off is read again."""
    while True:
        pods = [pod for pod in made.pods() if has_log(pod) and not terminating(pod)]
        if not pods or made.taken_away():
            return
        pod, over = pods[-1], has_ended(pods[-1])
        frames.again()
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
        # The log has ended, and the pod is about to be seen to have.
        with contextlib.suppress(TimeoutError):
            await session.watches.until(_over(made, name_of(pod)), within_s=_AGAIN_S)


def _over(made: Made, pod: str) -> Callable[[], bool | None]:
    """Whether a pod has ended or is gone; None while it is neither."""

    def check() -> bool | None:
        found = next((one for one in made.pods() if name_of(one) == pod), None)
        return True if found is None or has_ended(found) else None

    return check


def container_of(pod: Object) -> str:
    """The container that measures: a mesh may have added others."""
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    own = labels_of(pod).get("benchmark")
    return next((name for name in names if name in ("genai-bench", "reader", own)), names[0])


def image_of(pod: Object) -> dict[str, str]:
    """The image that a benchmark ran as and its digest, which is empty where the node does not tell."""
    name = container_of(pod)
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return {
        "benchmark_image": next(str(one.get("image", "")) for one in pod["spec"]["containers"] if one["name"] == name),
        "benchmark_image_id": next((str(one.get("imageID", "")) for one in statuses if one["name"] == name), ""),
    }


def keep(folder: Path, name: str, data: bytes) -> None:
    """Write a file that came from a pod."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
