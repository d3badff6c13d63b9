"""Calls of a study from the event loop: in a thread, one at a time, since its database may be slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from autotune_nb.study import StorageBusyError
from autotune_nb.trial.trial import Trial
from autotune_nb.waiting import uncancelled

if TYPE_CHECKING:
    from autotune_nb.study import Study

T = TypeVar("T")
#: After a trial, results.json is written only if this many times the duration of the last write has passed since.
_SAVE_INTERVAL_FACTOR = 20
#: How often the storage is tried again while another program has locked it; each attempt waits for a minute.
_STORE_ATTEMPTS = 10


class StudyCalls:
    """Calls a study's methods. ``stopping`` returns whether the run is being stopped."""

    def __init__(self, study: Study, *, stopping: Callable[[], bool], notify: Callable[[str], None]) -> None:
        self._study = study
        self._stopping = stopping
        self._notify = notify
        self._lock = asyncio.Lock()
        self._saved_at = self._saving_s = 0.0

    async def __call__(self, call: Callable[[], T]) -> T:
        async with self._lock:
            return await uncancelled(asyncio.to_thread(call))

    async def until_unlocked(self, call: Callable[[], T], meanwhile: str) -> T:
        """Call a method of the study, repeatedly while another program has locked the storage.

        Raises StorageBusyError if it stays locked, or once the run is stopped.
        """
        for _ in range(_STORE_ATTEMPTS - 1):
            try:
                return await self(call)
            except StorageBusyError as error:
                if self._stopping():
                    raise
                self._notify(f"{meanwhile}: {error}")
        return await self(call)

    async def tell(self, ended: Trial) -> Trial:
        """Store a trial that ended, unless another program has ended it."""
        from autotune_nb.study.study import TrialEndedOutsideError

        try:
            return await self.until_unlocked(
                lambda: self._study.tell(ended), f"trial {ended.number} is kept and stored later"
            )
        except TrialEndedOutsideError as error:
            self._notify(f"trial {ended.number}: {error}")
        return ended

    @property
    def may_save(self) -> bool:
        """Whether results may be saved again; with thousands of trials that is not after every trial."""
        return time.monotonic() - self._saved_at >= _SAVE_INTERVAL_FACTOR * self._saving_s

    async def save_results(self, results: Callable[[], dict[str, Any]]) -> None:
        """Write ``results.json``."""
        began = time.monotonic()
        # In a thread too: with thousands of trials it writes megabytes.
        await self(lambda: self._study.folder.write_results(results()))
        self._saved_at = time.monotonic()
        self._saving_s = self._saved_at - began
