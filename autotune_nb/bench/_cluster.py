"""What the two executors in the cluster share: objects made once and confirmed gone, pods followed, files taken in."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from autotune_nb.bench._frames import Frames
from autotune_nb.bench._levels import telling
from autotune_nb.cluster.kinds import JOB, POD, Kind, Object, labels_of, name_of, terminating, uid_of
from autotune_nb.cluster.session import ClusterSession
from autotune_nb.cluster.trouble import Trouble, ended, has_log, trouble
from autotune_nb.errors import ClusterError, Failure, FailureKind, MeasurementError
from autotune_nb.waiting import uncancelled

#: The image that genai-bench's own project publishes.
IMAGE = "ghcr.io/sgl-project/genai-bench:0.0.5"
#: What of benchmark.pod belongs to the container; the rest to the pod.
_OF_CONTAINER = ("env", "envFrom", "resources", "volumeMounts", "securityContext", "imagePullPolicy")
_GONE_S, _TROUBLE_S = 40.0, 4.0
_AGAIN_S = 1.0


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


def failed(message: str, hint: str = "", log: list[str] | None = None) -> MeasurementError:
    """A benchmark that the cluster kept from happening."""
    return MeasurementError(Failure(FailureKind.INFRASTRUCTURE, "benchmark", message, telling(log or []), hint))


class Made:
    """One object made for a trial, and its end."""

    def __init__(self, session: ClusterSession, kind: Kind, trial: int) -> None:
        self.kind, self.trial = kind, trial
        self.name, self.uid = "", ""
        self._session = session

    async def make(self, body: Object) -> None:
        """Make it, in the place of one an earlier attempt left. Raises MeasurementError."""
        self.name = name_of(body)
        cluster = self._session.cluster
        for last in (False, True):
            # To the end: a cancellation comes once it is known whether there is something to take down.
            creating = asyncio.ensure_future(cluster.create(self.kind, body))
            try:
                made = await uncancelled(creating)
                self.uid = uid_of(made)
                return
            except asyncio.CancelledError:
                if creating.done() and not creating.cancelled() and creating.exception() is None:
                    self.uid = uid_of(creating.result())
                raise
            except ClusterError as error:
                if error.status != 409 or last:
                    raise failed(f"{self.kind.name} {self.name} could not be made: {error}") from None
            found = await cluster.get(self.kind, self.name)
            if found is not None:
                self.uid = uid_of(found)
                left = await self.remove()
                if left:
                    raise failed(f"{left}; its name stays taken")

    async def remove(self) -> str:
        """Delete it and wait until it and what it made are gone; what is left, in words."""
        if not self.uid:
            return ""
        try:
            await self._session.cluster.delete(self.kind, self.name, uid=self.uid)
            await self._session.watches.until(lambda: self._gone() or None, trial=self.trial, within_s=_GONE_S)
        except TimeoutError:
            return f"{self.kind.name} {self.name} stays Terminating"
        except ClusterError as error:
            return f"{self.kind.name} {self.name} could not be deleted: {error}"
        return ""

    def object(self) -> Object | None:
        """As the watch has it; None before it has, and once it is gone."""
        found = self._session.watches.of_trial(self.kind, self.trial).get(self.name)
        return found if found is not None and uid_of(found) == self.uid else None

    def pods(self) -> list[Object]:
        """The pods that belong to it, by way of a Job of its name."""
        watches = self._session.watches
        owners = {self.uid, *(uid_of(job) for job in watches.objects(JOB).values() if self._owns(job))}
        return [
            pod
            for pod in watches.objects(POD).values()
            if owners & {str(one.get("uid")) for one in pod["metadata"].get("ownerReferences") or ()}
            or uid_of(pod) == self.uid
        ]

    def _owns(self, obj: Object) -> bool:
        return self.uid in {str(one.get("uid")) for one in obj["metadata"].get("ownerReferences") or ()}

    def _gone(self) -> bool:
        watches = self._session.watches
        jobs = [job for job in watches.objects(JOB).values() if self._owns(job)]
        there = watches.objects(self.kind).get(self.name)
        return not jobs and not self.pods() and not (there is not None and uid_of(there) == self.uid)


class PodWatch:
    """Tells a pod's trouble once, and for how long it may last."""

    def __init__(self, made: Made, pending_s: float, say: Callable[[str], None]) -> None:
        self._made, self._pending_s, self._say = made, pending_s, say
        self._since: float | None = None
        self._told = ""

    def check(self, now: float) -> Trouble | None:
        """What is wrong for good by now; None where nothing is, or it may pass."""
        wrong = next((found for pod in self._made.pods() if (found := trouble(pod)) is not None), None)
        if wrong is None:
            self._since = None
            return None
        self._since = now if self._since is None else self._since
        if wrong.may_pass and wrong.text != self._told:
            self._told = wrong.text
            self._say(f"trial {self._made.trial}'s benchmark waits: {wrong.text}")
        # A registry may fail once: what cannot start now may a moment later.
        lasts_s = self._pending_s if wrong.may_pass else _TROUBLE_S
        return wrong if now - self._since >= lasts_s else None


async def follow(session: ClusterSession, made: Made, frames: Frames) -> AsyncIterator[tuple[str, bytes]]:
    """The files in the log of its pod, as they come, until the pod ends; a log that breaks off is read again."""
    while True:
        pods = [pod for pod in made.pods() if has_log(pod) and not terminating(pod)]
        if not pods:
            return
        pod, over = pods[-1], ended(pods[-1])
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
        return True if found is None or ended(found) else None

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
