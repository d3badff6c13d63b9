"""The handle of a study being worked on, and the one event loop that works."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autotune_nb import events
from autotune_nb.engines.base import Engine
from autotune_nb.errors import AutotuneError, RunError, StudyError
from autotune_nb.handle import Best, StudyHandle
from autotune_nb.runner.assembly import assemble
from autotune_nb.runner.live import LiveTrials, RunningTrial
from autotune_nb.runner.progress import Ledger, ProgressLines
from autotune_nb.runner.runner import Runner, RunState
from autotune_nb.secrets.scrubbing import scrub, scrub_error
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    from autotune_nb.study import Study

__all__ = ["Best", "LoopThread", "Run", "live_run", "stop_all"]

T = TypeVar("T")
_EXIT_S = 20.0
_SLICE_S = 0.2
_TELL_S = 0.5


class LoopThread:
    """One daemon thread with an event loop that owns every run of this process."""

    _one: LoopThread | None = None
    _making = threading.Lock()

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self.loop.run_forever, name="autotune_nb", daemon=True)
        thread.start()

    @classmethod
    def get(cls) -> LoopThread:
        with cls._making:
            if cls._one is None:
                cls._one = cls()
                atexit.register(stop_all)
            return cls._one

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)


_live: dict[Path, Run] = {}


def live_run(folder: Path) -> Run | None:
    """The run of this process that works on a folder now."""
    run = _live.get(folder.resolve())
    return run if run is not None and not run.ended else None


def stop_all() -> None:
    """Take every run of this process down; called when the interpreter ends."""
    for run in list(_live.values()):
        if not run.ended:
            with contextlib.suppress(Exception):
                run.stop(wait_s=_EXIT_S)


class Run(StudyHandle):
    """A study being worked on. Made by ``tune``; every method may be called from any thread, none blocks a cell."""

    def __init__(
        self,
        study: Study,
        engine: Engine,
        *,
        storage: str | None = None,
    ) -> None:
        self.storage = storage
        self._study = study
        self._task = study.task
        self._engine = engine
        self._live = LiveTrials(len(self._task.workload.levels))
        self._bus = events.EventBus()
        self._loop = LoopThread.get()
        self._runner: Runner | None = None
        self._pending: tuple[Edit, ...] = ()
        self._pending_lock = threading.Lock()
        self._id = uuid.uuid4().hex[:8]
        self._bus.subscribe(self._live)
        self._ledger = Ledger.from_environment()
        self._started = threading.Event()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        # A future that runs cannot be cancelled, so that whoever stops watching does not stop the run.
        self._ended.set_running_or_notify_cancel()

    def _start(self) -> Run:
        """Begin to work; returns at once."""
        _live[self.folder.resolve()] = self
        if self._ledger is not None:
            ledger = self._ledger
            self._enter({"event": "started"})
            lines = self.progress_lines(lambda line: ledger.enter({"line": line}))
            self._bus.subscribe(lines)
        self._loop.submit(self._work())
        self._started.wait()
        return self

    async def _work(self) -> None:
        error: BaseException | None = None
        try:
            deployer, benchmark = assemble(
                self._task,
                self._engine,
                study_label=self._study.label,
                folder=self._study.folder.path,
                notify=lambda text: self._bus.publish(events.Notice(scrub(text))),
            )
            self._runner = Runner(self._study, deployer, benchmark, self._bus)
            self._started.set()
            telling = asyncio.ensure_future(self._tell_others())
            try:
                await self._runner.run()
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
        except BaseException as raised:  # noqa: BLE001 - kept for whoever awaits the run
            error = scrub_error(raised)
        finally:
            self._started.set()
            self._live.clear()
            self._study.folder.forget_live()
            with contextlib.suppress(OSError):
                self._study.folder.release()
            _live.pop(self.folder.resolve(), None)
            done = any(t.state is TrialState.COMPLETE for t in self.history)
            told = str(error) if error else None
            self._enter({"event": "ended", "state": str(self.state), "error": told, "completed": done})
            if error is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)

    async def _tell_others(self) -> None:
        """Keep in a file what the running trials do, for whoever looks from another process."""
        told = -1
        while True:
            if self._live.version != told:
                told = self._live.version
                now = self._live.to_dict(str(self.state))
                with contextlib.suppress(StudyError):
                    await asyncio.to_thread(self._study.folder.write_live, now)
            await asyncio.sleep(_TELL_S)

    def _enter(self, entry: dict[str, Any]) -> None:
        if self._ledger is not None:
            self._ledger.enter({"run": self._id, "study": str(self.folder), **entry})

    @property
    def path(self) -> Path:
        return self._study.folder.path

    @property
    def task(self) -> Task:
        return self._task

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self._runner.state if self._runner is not None else RunState.STARTING

    @property
    def ended(self) -> bool:
        """Whether it is over, and everything it started is gone."""
        return self._ended.done()

    @property
    def error(self) -> BaseException | None:
        return self._ended.exception() if self._ended.done() else None

    @property
    def history(self) -> tuple[Trial, ...]:
        return self._runner.trials if self._runner is not None else self._study.trials

    @property
    def running(self) -> tuple[RunningTrial, ...]:
        return self._live.running

    @property
    def notices(self) -> tuple[tuple[float, str], ...]:
        return tuple(self._live.notices)

    @property
    def steering(self) -> Steering:
        kept, pending = self._study.steering, self._pending
        if not pending:
            return kept
        return Steering(self._task, kept.whole, {e.id: e for e in (*kept.edits, *pending)}.values())

    @property
    def version(self) -> int:
        return self._live.version

    def poll(self) -> None:
        """News come by themselves."""

    @property
    def elapsed_s(self) -> float:
        return self._runner.elapsed_s if self._runner is not None else 0.0

    @property
    def _begun(self) -> Mapping[str, int]:
        return self._study.begun

    def _best_command(self) -> str | None:
        return self._runner.best_command() if self._runner is not None else None

    def _best_manifest(self) -> str | None:
        return self._runner.best_manifest() if self._runner is not None else None

    def results(self) -> dict[str, Any]:
        assert self._runner is not None
        return self._runner.results()

    def _steer(self, edit: Edit) -> None:
        runner = self._runner
        if runner is not None and not self.ended:
            # It counts for whoever reads from now on; the database may take its time.
            with self._pending_lock:
                self._pending = (*self._pending, edit)
            self._loop.submit(self._keep_edit(runner, edit))
        else:
            with self._pending_lock:
                self._study.take_edits()
                self._study.steer(edit)
            self._live.version += 1

    async def _keep_edit(self, runner: Runner, edit: Edit) -> None:
        try:
            await runner.steer(edit)
        except AutotuneError as error:
            self._bus.publish(events.Notice(f"'{edit.text}' was not kept: {error}"))
        finally:
            with self._pending_lock:
                self._pending = tuple(one for one in self._pending if one.id != edit.id)

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        return self._bus.subscribe(listener)

    def progress_lines(self, say: Callable[[str], None]) -> ProgressLines:
        """A listener that says every event in a line of text."""
        return ProgressLines(self._task.goal, self._task.num_trials, say, num_finished=self._study.num_finished)

    def stop(self, *, now: bool = False, wait_s: float = 0.0) -> None:
        """Take the running trials down and start no more; with ``now`` engines are killed at once.

        Returns at once, or after at most ``wait_s`` seconds of waiting for it to be over.
        """
        runner = self._runner
        if runner is not None and not self.ended:
            self._loop.submit(runner.stop_now() if now else runner.stop())
        if wait_s:
            concurrent.futures.wait([self._ended], timeout=wait_s)

    def pause(self) -> None:
        """Start no more trials until ``resume``; the running ones go on to their end."""
        if self._runner is not None:
            self._loop.submit(self._runner.pause())

    def resume(self) -> None:
        """Go on after ``pause``."""
        if self._runner is not None:
            self._loop.submit(self._runner.resume())

    def wait(self, timeout_s: float | None = None) -> Run:
        """Block until it is over, outside a notebook. Raises what ended it, TimeoutError, or RunError where nothing
        completed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            # In slices: a signal that comes just before a thread blocks is handled only once it wakes.
            while not self._ended.done():
                left_s = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
                if left_s <= 0:
                    break
                concurrent.futures.wait([self._ended], timeout=left_s)
            self._ended.result(0)
        finally:
            if self._ended.done():
                self._enter({"event": "awaited"})
        return self._checked()

    def __await__(self) -> Generator[Any, None, Run]:
        return self._watch().__await__()

    async def _watch(self) -> Run:
        """Watch until it is over. An interrupt ends the watching, not the run."""
        try:
            if self.display is not None:
                await self.display.follow(self)
            await asyncio.shield(asyncio.wrap_future(self._ended))
        finally:
            if self._ended.done():
                self._enter({"event": "awaited"})
        return self._checked()

    def _checked(self) -> Run:
        if self.state is RunState.FINISHED and not any(t.state is TrialState.COMPLETE for t in self.history):
            failures = [t.failure for t in self.history if t.failure]
            raise RunError(
                f"no trial completed: {failures[-1] if failures else 'there was nothing to try'} (the logs are in "
                f"{self.folder / 'artifacts'})"
            )
        return self

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        live = None if self.ended or self.display is None else self.display.mimebundle(self)
        return live or self.lasting_bundle()
