"""Calls of a study from the event loop: in a thread, one at a time, repeated while its storage does not work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.runner.active_time import ActiveTime
from autotune_nb.runner.surroundings import DISK_HINT, SurroundingsWait, disk_problem
from autotune_nb.study import StorageAwayError, StorageBusyError
from autotune_nb.trial.trial import Trial
from autotune_nb.waiting import uncancelled

if TYPE_CHECKING:
    from autotune_nb.study import Study

T = TypeVar("T")
#: After a trial, results.json is written only if this many times the duration of the last write has passed since.
_SAVE_INTERVAL_FACTOR = 20
#: How often the storage is tried again while another program has locked it; each attempt waits for a minute.
_STORE_ATTEMPTS = 10
#: A call that takes longer is reported; a file system of the network may block it for any time.
_SLOW_S = 75.0


class StudyCalls:
    """Calls a study's methods. ``stopping`` is set once the run is being stopped, ``active`` is the run's time."""

    def __init__(
        self, study: Study, active: ActiveTime, *, stopping: asyncio.Event, notify: Callable[[str], None]
    ) -> None:
        self._study = study
        self._active = active
        self._stopping = stopping
        self._notify = notify
        self._lock = asyncio.Lock()
        self._saved_at = self._saving_s = 0.0

    async def __call__(self, call: Callable[[], T]) -> T:
        async with self._lock:
            return await uncancelled(self._reporting(call))

    async def _reporting(self, call: Callable[[], T]) -> T:
        """Call a method in a thread, and report a disk or a database that does not respond."""
        work = asyncio.ensure_future(asyncio.to_thread(call))
        await asyncio.wait((work,), timeout=_SLOW_S)
        if not work.done():
            self._notify(f"the study's storage has not responded for {_SLOW_S:g} s; the run waits for it")
            self._active.waits(work, self._active.now())
            await asyncio.wait((work,))
            self._active.ended(work)
            self._notify("the study's storage responds again")
        return work.result()

    async def until_unlocked(self, call: Callable[[], T], meanwhile: str) -> T:
        """Call a method of the study, repeatedly while the storage is locked or away, or the disk is full.

        Raises StorageBusyError if it stays locked, SetupError if it stays away, and StudyError once the run is stopped.
        """
        wait = SurroundingsWait("the study", self._study.task.deadlines.surroundings_s, self._notify)
        attempts = _STORE_ATTEMPTS
        try:
            while True:
                try:
                    result = await self(call)
                    break
                except StorageBusyError as error:
                    attempts -= 1
                    if self._stopping.is_set() or not attempts:
                        raise
                    self._notify(f"{meanwhile}: {error}")
                except StudyError as error:
                    problem = str(error) if isinstance(error, StorageAwayError) else await self._disk_problem()
                    if self._stopping.is_set() or not problem:
                        raise
                    self._active.waits(wait, self._active.now())
                    failure = Failure(FailureKind.INFRASTRUCTURE, "store", f"{problem}; {meanwhile}", hint=DISK_HINT)
                    await wait.pause(failure, self._sleep)
        finally:
            self._active.ended(wait)
        wait.reset()
        return result

    async def require_disk(self) -> None:
        """Wait until the study's folder can be written. Raises as ``until_unlocked`` does."""

        def check() -> None:
            problem = disk_problem(self._study.folder.path)
            if problem:
                raise StorageAwayError(problem)

        await self.until_unlocked(check, "the next trial waits")

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
        """Write ``results.json``, and store the state of the run.

        Raises StudyError; it is a StorageAwayError if the disk is full or away.
        """

        def save() -> None:
            written = results()
            self._study.folder.write_results(written)
            with contextlib.suppress(StorageBusyError, StorageAwayError):  # the next call stores it too
                self._study.save_run(written)

        began = time.monotonic()
        try:
            # In a thread too: with thousands of trials it writes megabytes.
            await self(save)
        except StudyError as error:
            if await self._disk_problem():
                raise StorageAwayError(str(error)) from None
            raise
        self._saved_at = time.monotonic()
        self._saving_s = self._saved_at - began

    async def _disk_problem(self) -> str:
        return await asyncio.to_thread(disk_problem, self._study.folder.path)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the run is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
