"""The current state of a study's objects: one watch for each kind, resumed when it breaks, and waiting for changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio.client import ApiException
from kubernetes.aio.watch import Watch

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import EVENT, Kind, Object, labels_of, name_of, uid_of
from autotune_nb.cluster.names import TRIAL_LABEL
from autotune_nb.errors import ClusterError

T = TypeVar("T")
#: The duration of one watch request; then it is resumed. A broken connection is noticed at the latest then.
_WATCH_S = 110
_LONGEST_PAUSE_S = 5.0
#: The interval at which conditions are checked without a change, since some depend on time.
_TICK_S = 0.5
_EVENTS_STORED = 20
#: Responses that mean missing permissions or a missing resource.
_REFUSALS = frozenset({401, 403, 404})


@dataclass
class _WatchedKind:
    """One kind's objects by name, and the state of its watch."""

    selector: str
    fields: str
    objects: dict[str, Object] = field(default_factory=dict)
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    rejected: ClusterError | None = None
    rejected_at: float = float("-inf")
    #: Whether the watch ended, since its objects could not be listed at first.
    gave_up: bool = False


class Watches:
    """Watches kinds of objects and wakes the callers that wait for a change.

    A watch that is rejected during a run is retried until it is allowed; ``notify`` is called once. ``until`` raises
    after ``patience_s``: an API server that starts rejects requests for a moment.
    """

    patience_s = 10.0

    def __init__(self, cluster: Cluster, notify: Callable[[str], None] = lambda _text: None) -> None:
        self._cluster = cluster
        self._notify = notify
        self._kinds: dict[Kind, _WatchedKind] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._by_trial: defaultdict[tuple[Kind, str], dict[str, Object]] = defaultdict(dict)
        self._events: defaultdict[str, dict[str, Object]] = defaultdict(dict)
        self._waiting: defaultdict[str | None, set[asyncio.Event]] = defaultdict(set)

    async def follow(self, kind: Kind, *, selector: str = "", fields: str = "") -> None:
        """Start to watch a kind, and return when its objects are listed. Raises ClusterError if that fails."""
        known = self._kinds.get(kind)
        if known is not None and not known.gave_up:
            return
        watched = self._kinds[kind] = _WatchedKind(selector, fields)
        task = asyncio.ensure_future(self._follow(kind, watched))
        self._tasks.append(task)
        await watched.listed.wait()
        if watched.rejected is not None:
            raise watched.rejected

    def objects(self, kind: Kind) -> Mapping[str, Object]:
        """Return the watched objects of a kind, by name."""
        return self._kinds[kind].objects

    def of_trial(self, kind: Kind, trial: int) -> Mapping[str, Object]:
        """Return a trial's objects of a kind, by name."""
        return self._by_trial.get((kind, str(trial)), {})

    def events(self, uid: str) -> list[Object]:
        """Return the events about an object, oldest first. By uid, since names are reused while events remain."""
        return list(self._events.get(uid, {}).values())

    async def until(
        self, check: Callable[[], T | None], *, trial: int | None = None, within_s: float | None = None
    ) -> T:
        """Wait until ``check`` returns a value other than None, and return it.

        ``check`` is called after each change of the trial's objects (without ``trial``, of any object), after each
        event, and from time to time. Raises TimeoutError after ``within_s``, ClusterError if a watch stays rejected,
        and the errors of ``check``.
        """
        loop = asyncio.get_running_loop()
        deadline = None if within_s is None else loop.time() + within_s
        woken = asyncio.Event()
        key = None if trial is None else str(trial)
        self._waiting[key].add(woken)
        try:
            while True:
                woken.clear()
                value = check()
                if value is not None:
                    return value
                for watched in self._kinds.values():
                    if watched.rejected is not None and loop.time() - watched.rejected_at >= self.patience_s:
                        raise watched.rejected
                left = _TICK_S if deadline is None else min(_TICK_S, deadline - loop.time())
                if left <= 0:
                    raise TimeoutError
                # Not wait_for, which in Python 3.11 may lose a cancellation at the end of the wait.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await woken.wait()
        finally:
            self._waiting[key].discard(woken)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _follow(self, kind: Kind, watched: _WatchedKind) -> None:
        pause, version = 0.1, ""
        watch = Watch()
        while True:
            try:
                if not version:
                    found, version = await self._cluster.list(kind, selector=watched.selector, fields=watched.fields)
                    self._replace(kind, watched, found)
                    watched.listed.set()
                async for change in self._changes(watch, kind, watched, version):
                    pause = 0.1
                    version = change["object"]["metadata"]["resourceVersion"]
                    self._apply(kind, watched, change["type"], change["object"])
            except ApiException as error:
                # 410: the server no longer stores the changes since that version.
                version = "" if error.status == 410 else version
            except ClusterError as error:
                version = "" if error.status == 410 else version
                if not watched.listed.is_set():
                    self._give_up(watched, error)
                    return
                if error.status in _REFUSALS:
                    self._on_rejected(kind, watched, error)
            except Exception as error:  # noqa: BLE001 - a watch that ends would show the old objects for ever
                if not watched.listed.is_set():
                    message = f"the list of {kind.resource} is malformed: {type(error).__name__}: {error}"
                    self._give_up(watched, ClusterError(message))
                    return
                # A connection breaks within a line too: resume after the last complete change.
                if not isinstance(error, aiohttp.ClientError | OSError | ValueError | LookupError | TypeError):
                    version = ""
                # An error outside of the stream leaves it open.
                if watch.resp is not None:
                    watch.resp.close()
                watch = Watch()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _give_up(self, watched: _WatchedKind, error: ClusterError) -> None:
        """End a watch that could not begin."""
        watched.rejected, watched.gave_up = error, True
        watched.listed.set()
        self._wake(None)

    async def _changes(
        self, watch: Watch, kind: Kind, watched: _WatchedKind, version: str
    ) -> AsyncIterator[dict[str, Any]]:
        async def opened(**_: Any) -> aiohttp.ClientResponse:
            reply = await self._cluster.stream(
                kind, version, selector=watched.selector, fields=watched.fields, timeout_s=_WATCH_S
            )
            self._on_allowed(watched)
            return reply

        # With a timeout the library ends when the server ends the watch, and does not resume it by itself.
        stream = watch.stream(opened, timeout_seconds=_WATCH_S)
        while True:
            try:
                change = await anext(stream)
            except StopAsyncIteration:
                return
            except (ApiException, ClusterError, aiohttp.ClientError, OSError, ValueError, LookupError):
                raise
            except Exception as error:  # noqa: BLE001 - the library may raise anything for a line that is no event
                raise ValueError(str(error)) from None
            yield change

    def _on_rejected(self, kind: Kind, watched: _WatchedKind, error: ClusterError) -> None:
        if watched.rejected is None and watched.listed.is_set():
            watched.rejected_at = asyncio.get_running_loop().time()
            # The client reports expired credentials; one message is enough for all kinds.
            if error.status != 401 and not any(one.rejected for one in self._kinds.values()):
                self._notify(
                    f"the watch of {kind.resource} is rejected ({error}): trials fail until it is allowed; "
                    "autotune-nb check lists the missing permissions"
                )
        watched.rejected = error

    def _on_allowed(self, watched: _WatchedKind) -> None:
        if watched.rejected is not None:
            error, watched.rejected, watched.rejected_at = watched.rejected, None, float("-inf")
            if error.status != 401 and not any(one.rejected for one in self._kinds.values()):
                self._notify("all watches are allowed again")

    def _replace(self, kind: Kind, watched: _WatchedKind, found: Iterable[Object]) -> None:
        fresh = {name_of(obj): obj for obj in found}
        for gone in watched.objects.keys() - fresh.keys():
            self._apply(kind, watched, "DELETED", watched.objects[gone])
        for obj in fresh.values():
            self._apply(kind, watched, "ADDED", obj)

    def _apply(self, kind: Kind, watched: _WatchedKind, change: str, obj: Object) -> None:
        if change == "BOOKMARK":
            return
        if kind is EVENT:
            self._apply_event(change, obj)
            return
        name, trial = name_of(obj), labels_of(obj).get(TRIAL_LABEL)
        mine = self._by_trial[kind, trial] if trial is not None else {}
        if change == "DELETED":
            watched.objects.pop(name, None)
            mine.pop(name, None)
            if trial is not None and not mine:
                self._by_trial.pop((kind, trial), None)
        else:
            obj["metadata"].pop("managedFields", None)
            watched.objects[name] = mine[name] = obj
        self._wake(trial)

    def _apply_event(self, change: str, obj: Object) -> None:
        uid = obj.get("involvedObject", {}).get("uid", "")
        if change == "DELETED":
            events = self._events.get(uid, {})
            events.pop(uid_of(obj), None)
            if not events:
                self._events.pop(uid, None)
            return
        events = self._events[uid]
        events.pop(uid_of(obj), None)
        events[uid_of(obj)] = obj
        while len(events) > _EVENTS_STORED:
            events.pop(next(iter(events)))
        # An event has no trial label, so it wakes every caller; events are few.
        for key in list(self._waiting):
            self._wake(key)

    def _wake(self, trial: str | None) -> None:
        for woken in self._waiting.get(trial, ()):
            woken.set()
        if trial is not None:
            for woken in self._waiting.get(None, ()):
                woken.set()
