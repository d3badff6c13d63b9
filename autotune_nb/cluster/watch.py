"""What a study's objects are now: one watch per kind, resumed where it was cut off, and waiting on what it tells."""

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
#: A watch is asked for so long at a time; then it goes on from where it was.
_WATCH_S = 280
_LONGEST_PAUSE_S = 5.0
#: Conditions on the clock are looked at so often where nothing changes.
_TICK_S = 0.5
_EVENTS_KEPT = 20
#: Answers that mean: not with these rights, or not here.
_REFUSALS = frozenset({401, 403, 404})


@dataclass
class _Kept:
    """One kind's objects by name, and the standing of its watch."""

    selector: str
    fields: str
    objects: dict[str, Object] = field(default_factory=dict)
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    refused: ClusterError | None = None
    refused_at: float = float("-inf")


class Watches:
    """Follows kinds of objects and wakes whoever waits for a change.

    A watch that is refused in mid-run is asked for again until it is allowed; ``say`` is told once. Whoever waits
    meanwhile fails after ``patience_s``: an API server that starts up refuses for a moment what it allows.
    """

    patience_s = 10.0

    def __init__(self, cluster: Cluster, say: Callable[[str], None] = lambda _text: None) -> None:
        self._cluster = cluster
        self._say = say
        self._kept: dict[Kind, _Kept] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._by_trial: defaultdict[tuple[Kind, str], dict[str, Object]] = defaultdict(dict)
        self._events: defaultdict[str, dict[str, Object]] = defaultdict(dict)
        self._waiting: defaultdict[str | None, set[asyncio.Event]] = defaultdict(set)

    async def follow(self, kind: Kind, *, selector: str = "", fields: str = "") -> None:
        """Follow a kind from now on; returns once its objects are known. Raises ClusterError where that is refused."""
        if kind in self._kept:
            return
        kept = self._kept[kind] = _Kept(selector, fields)
        task = asyncio.ensure_future(self._follow(kind, kept))
        self._tasks.append(task)
        await kept.listed.wait()
        if kept.refused is not None:
            raise kept.refused

    def objects(self, kind: Kind) -> Mapping[str, Object]:
        """Every followed object of a kind, by name."""
        return self._kept[kind].objects

    def of_trial(self, kind: Kind, trial: int) -> Mapping[str, Object]:
        """A trial's objects of a kind, by name."""
        return self._by_trial.get((kind, str(trial)), {})

    def events(self, uid: str) -> list[Object]:
        """What was said of an object, by its uid: events outlive objects, and names come again. Oldest first."""
        return list(self._events.get(uid, {}).values())

    async def until(
        self, check: Callable[[], T | None], *, trial: int | None = None, within_s: float | None = None
    ) -> T:
        """Wait until ``check`` gives something, and give that. It is called after each change of the trial's objects
        (of any object, where no trial is named), of an event, and from time to time.

        Raises TimeoutError after ``within_s``, ClusterError where a watch stays refused, and what ``check`` raises.
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
                for kept in self._kept.values():
                    if kept.refused is not None and loop.time() - kept.refused_at >= self.patience_s:
                        raise kept.refused
                left = _TICK_S if deadline is None else min(_TICK_S, deadline - loop.time())
                if left <= 0:
                    raise TimeoutError
                # Not wait_for: in Python 3.11 it drops a cancellation that comes as the wait ends.
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

    async def _follow(self, kind: Kind, kept: _Kept) -> None:
        pause, version = 0.1, ""
        watch = Watch()
        while True:
            try:
                if not version:
                    found, version = await self._cluster.list(kind, selector=kept.selector, fields=kept.fields)
                    self._replace(kind, kept, found)
                    kept.listed.set()
                async for change in self._changes(watch, kind, kept, version):
                    pause = 0.1
                    version = change["object"]["metadata"]["resourceVersion"]
                    self._take(kind, kept, change["type"], change["object"])
            except ApiException as error:
                # 410: what happened since that version is not kept any more.
                version = "" if error.status == 410 else version
            except ClusterError as error:
                version = "" if error.status == 410 else version
                if error.status in _REFUSALS:
                    self._refused(kind, kept, error)
                    if not kept.listed.is_set():
                        kept.listed.set()
                        self._wake(None)
                        return
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError):
                # Cut off, or a line cut short: what was taken so far stands.
                pass
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _changes(self, watch: Watch, kind: Kind, kept: _Kept, version: str) -> AsyncIterator[dict[str, Any]]:
        async def opened(**_: Any) -> aiohttp.ClientResponse:
            reply = await self._cluster.stream(
                kind, version, selector=kept.selector, fields=kept.fields, timeout_s=_WATCH_S
            )
            self._allowed(kept)
            return reply

        # With a time of its own the library ends where the server does, and leaves the resuming to us.
        stream = watch.stream(opened, timeout_seconds=_WATCH_S)
        while True:
            try:
                change = await anext(stream)
            except StopAsyncIteration:
                return
            except (ApiException, ClusterError, aiohttp.ClientError, OSError, ValueError, LookupError):
                raise
            except Exception as error:  # noqa: BLE001 - what the library raises of a line that is no event
                raise ValueError(str(error)) from None
            yield change

    def _refused(self, kind: Kind, kept: _Kept, error: ClusterError) -> None:
        if kept.refused is None and kept.listed.is_set():
            kept.refused_at = asyncio.get_running_loop().time()
            # Of credentials that ran out the client has told; and one line does for all kinds.
            if error.status != 401 and not any(one.refused for one in self._kept.values()):
                self._say(
                    f"{kind.resource} may not be watched any more ({error}): trials fail until they may; "
                    "autotune-nb check tells which permission is missing"
                )
        kept.refused = error

    def _allowed(self, kept: _Kept) -> None:
        if kept.refused is not None:
            was, kept.refused, kept.refused_at = kept.refused, None, float("-inf")
            if was.status != 401 and not any(one.refused for one in self._kept.values()):
                self._say("everything may be watched again")

    def _replace(self, kind: Kind, kept: _Kept, found: Iterable[Object]) -> None:
        fresh = {name_of(obj): obj for obj in found}
        for gone in kept.objects.keys() - fresh.keys():
            self._take(kind, kept, "DELETED", kept.objects[gone])
        for obj in fresh.values():
            self._take(kind, kept, "ADDED", obj)

    def _take(self, kind: Kind, kept: _Kept, change: str, obj: Object) -> None:
        if change == "BOOKMARK":
            return
        if kind is EVENT:
            self._take_event(change, obj)
            return
        name, trial = name_of(obj), labels_of(obj).get(TRIAL_LABEL)
        mine = self._by_trial[kind, trial] if trial is not None else {}
        if change == "DELETED":
            kept.objects.pop(name, None)
            mine.pop(name, None)
            if trial is not None and not mine:
                self._by_trial.pop((kind, trial), None)
        else:
            obj["metadata"].pop("managedFields", None)
            kept.objects[name] = mine[name] = obj
        self._wake(trial)

    def _take_event(self, change: str, obj: Object) -> None:
        uid = obj.get("involvedObject", {}).get("uid", "")
        if change == "DELETED":
            said = self._events.get(uid, {})
            said.pop(uid_of(obj), None)
            if not said:
                self._events.pop(uid, None)
            return
        said = self._events[uid]
        said.pop(uid_of(obj), None)
        said[uid_of(obj)] = obj
        while len(said) > _EVENTS_KEPT:
            said.pop(next(iter(said)))
        # Whose it is only its reader knows; there are few.
        for key in list(self._waiting):
            self._wake(key)

    def _wake(self, trial: str | None) -> None:
        for woken in self._waiting.get(trial, ()):
            woken.set()
        if trial is not None:
            for woken in self._waiting.get(None, ()):
                woken.set()
