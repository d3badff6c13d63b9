"""The handle of a study that this process works on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb import events
from autotune_nb.engines.base import Engine
from autotune_nb.errors import AutotuneError, RunError, StudyError
from autotune_nb.handle import Best, StudyHandle
from autotune_nb.recorded import Clock, WallClock
from autotune_nb.recorded.replay import Replay
from autotune_nb.runner.assembly import assemble
from autotune_nb.runner.budget import num_searched
from autotune_nb.runner.live import LiveTrials, RunningTrial
from autotune_nb.runner.loop_thread import LoopThread, call_at_exit
from autotune_nb.runner.progress import Ledger, ProgressLines
from autotune_nb.runner.runner import Runner, RunState
from autotune_nb.runner.single_stop import require_running
from autotune_nb.runner.worker_gpus import with_own_gpus
from autotune_nb.secrets.scrubbing import scrub, scrub_error
from autotune_nb.study.command_files import take_commands
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.task import Task
from autotune_nb.trial.cost import cost_of
from autotune_nb.trial.trial import Trial
from autotune_nb.watching.watchers import close_watchers, watchers_of

if TYPE_CHECKING:
    from autotune_nb.runner.proposals import Proposals
    from autotune_nb.search import Promise
    from autotune_nb.study import Study

__all__ = ["Best", "LoopThread", "Run", "live_run", "stop_all"]

#: How long runs may take to stop when the interpreter exits, and then again once their engines are killed.
_EXIT_S = 20.0
_SLICE_S = 0.2
_WRITE_LIVE_S = 0.5


#: By real paths, not Path.resolve: that of a link to itself raises RuntimeError before Python 3.13.
_live: dict[str, Run] = {}


def live_run(folder: Path) -> Run | None:
    """Return the run of this process that works on a folder, or None."""
    run = _live.get(os.path.realpath(folder))
    return run if run is not None and not run.ended else None


def stop_all() -> None:
    """Stop every run of this process; called when the interpreter exits."""
    runs = [run for run in list(_live.values()) if not run.ended]
    for run in runs:
        # Not sys.stderr: in a kernel that ends, it is a connection to a client that may be gone.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(
                f"the program ends before the run in {run.folder}, which is stopped: await the run, or call its wait()",
                file=sys.__stderr__,
                flush=True,
            )
    for now in (False, True):
        for run in runs:
            with contextlib.suppress(Exception):
                run.stop(now=now, only_here=True)
        concurrent.futures.wait([run._ended for run in runs], timeout=_EXIT_S)


call_at_exit(stop_all)


class Run(StudyHandle):
    """A study that this process works on, as returned by ``tune``.

    Every method may be called from any thread; none blocks a cell, except ``wait``.
    """

    def __init__(
        self,
        study: Study,
        engine: Engine,
        *,
        storage: str | None = None,
        replay: Replay | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        self.storage = storage
        self._proposals = proposals
        self._replay = replay
        self._clock: Clock = replay.clock if replay is not None else WallClock()
        self._study = study
        self._task = study.task
        self._engine = engine
        workload = self._task.workload
        # A start of the confirmation measures the level at which it is compared.
        self._live = LiveTrials(workload.most_levels, 1 if workload.load_search.high is None else 0)
        self._bus = events.EventBus()
        self._loop = LoopThread.get()
        self._runner: Runner | None = None
        self._pending: tuple[Edit, ...] = ()
        self._pending_lock = threading.Lock()
        self._read_stamp: tuple[int, ...] = ()
        self._id = uuid.uuid4().hex[:8]
        self._bus.subscribe(self._live)
        self._watchers = watchers_of(self, self._notify, lambda: self._study.others_go_on(self._notify))
        for watcher in self._watchers:
            self._bus.subscribe(watcher)
        self._ledger = Ledger.from_environment()
        self._started = threading.Event()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        # A running future cannot be cancelled, so cancelling an await does not stop the run.
        self._ended.set_running_or_notify_cancel()

    def _start(self) -> Run:
        """Start to work; returns at once."""
        _live[os.path.realpath(self.folder)] = self
        if self._ledger is not None:
            ledger = self._ledger
            self._record({"event": "started"})
            lines = self.progress_lines(lambda line: ledger.append({"line": line}))
            self._bus.subscribe(lines)
        self._loop.submit(self._work())
        self._started.wait()
        return self

    async def _work(self) -> None:
        error: BaseException | None = None
        try:
            worker = self._study.worker
            deployer, benchmark = assemble(
                self._task if worker is None else with_own_gpus(self._task, worker.gpus),
                self._engine,
                study_label=self._study.label,
                folder=self._study.folder.path,
                notify=self._notify,
                replay=self._replay,
            )
            self._runner = Runner(self._study, deployer, benchmark, self._bus, self._clock, self._proposals)
            self._started.set()
            live_writer = asyncio.ensure_future(self._write_live())
            try:
                await self._runner.run()
            finally:
                live_writer.cancel()
                await asyncio.gather(live_writer, return_exceptions=True)
        except BaseException as raised:  # noqa: BLE001 - raised by the await of the run
            error = scrub_error(raised)
        finally:
            self._started.set()
            try:
                self._clean_up(error)
            except BaseException as raised:  # noqa: BLE001 - whoever waits for the end must learn of it
                error = error or scrub_error(raised)
            # The folder is free by now: a command may start the next run.
            await close_watchers(self._watchers, error, self._notify)
            if error is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)

    def _clean_up(self, error: BaseException | None) -> None:
        """Release the folder and record the end."""
        self._live.clear()
        self._study.folder.delete_live()
        with contextlib.suppress(OSError):
            self._study.folder.release()
        _live.pop(os.path.realpath(self.folder), None)
        completed = any(t.state.scored for t in self.history)
        message = str(error) if error else None
        self._record({"event": "ended", "state": str(self.state), "error": message, "completed": completed})

    async def _write_live(self) -> None:
        """Write the state of the running trials to a file, for other processes, and execute their commands."""
        assert self._runner is not None
        written = -1
        while True:
            if self._live.version != written:
                written = self._live.version
                data = self._live.to_dict(str(self.state))
                with contextlib.suppress(StudyError):
                    await asyncio.to_thread(self._study.folder.write_live, data)
            for command in await asyncio.to_thread(take_commands, self.path):
                self._notify(f"{command.by} commands to {command.text}")
                await self._runner.obey(command)
            await asyncio.sleep(_WRITE_LIVE_S)

    def _notify(self, text: str) -> None:
        self._bus.publish(events.Notice(scrub(text)))

    def _record(self, entry: dict[str, Any]) -> None:
        if self._ledger is not None:
            self._ledger.append({"run": self._id, "study": str(self.folder), **entry})

    @property
    def path(self) -> Path:
        return self._study.folder.path

    @property
    def task(self) -> Task:
        return self._task

    @property
    def state(self) -> RunState:
        """The state of the run."""
        return self._runner.state if self._runner is not None else RunState.STARTING

    @property
    def ended(self) -> bool:
        """Whether the run is over and everything it started is taken down."""
        return self._ended.done()

    @property
    def end_reason(self) -> str:
        return self._study.end_reason

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
    def promise(self) -> Promise | None:
        return self._live.promise

    @property
    def steering(self) -> Steering:
        stored, pending = self._study.steering, self._pending
        if not pending:
            return stored
        return Steering(self._task, stored.full_space, {e.id: e for e in (*stored.edits, *pending)}.values())

    @property
    def version(self) -> int:
        return self._live.version

    def poll(self) -> None:
        """Read what was edited after the run has ended; before, it reads that itself."""
        if not self.ended or self._study.folder.stamp == self._read_stamp:
            return
        with self._pending_lock, contextlib.suppress(AutotuneError):
            self._read_stamp = self._study.folder.stamp
            known = self._study.steering
            self._study.apply_new_edits()
            self._live.version += self._study.steering is not known

    @property
    def elapsed_s(self) -> float:
        return self._runner.elapsed_s if self._runner is not None else 0.0

    @property
    def _trial_numbers_by_edit(self) -> Mapping[str, int]:
        return self._study.trial_numbers_by_edit

    def _command_of(self, trial: Trial) -> str | None:
        return self._runner.command_of(trial) if self._runner is not None else None

    def _manifest_of(self, trial: Trial) -> str | None:
        return self._runner.manifest_of(trial) if self._runner is not None else None

    def results(self) -> dict[str, Any]:
        assert self._runner is not None
        return self._runner.results()

    def _steer(self, edit: Edit) -> None:
        runner = self._runner
        if runner is not None and not self.ended:
            # Shown at once, while the database may take a while to store it.
            with self._pending_lock:
                self._pending = (*self._pending, edit)
            self._loop.submit(self._store_edit(runner, edit))
        else:
            with self._pending_lock:
                self._study.apply_new_edits()
                self._study.steer(edit)
            # A monitor of an ended run waits for an event.
            self._bus.publish(events.Steered(edit, self._study.steering.num_trials))

    async def _store_edit(self, runner: Runner, edit: Edit) -> None:
        try:
            await runner.steer(edit)
        except AutotuneError as error:
            self._bus.publish(events.Notice(f"'{edit.text}' was not stored: {error}"))
        finally:
            with self._pending_lock:
                self._pending = tuple(one for one in self._pending if one.id != edit.id)

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        return self._bus.subscribe(listener)

    def progress_lines(self, say: Callable[[str], None]) -> ProgressLines:
        """Return a listener that calls ``say`` with each event as a line of text."""
        return ProgressLines(
            self._task.goal,
            self._study.steering.num_trials,
            say,
            num_finished=self._study.num_finished,
            num_started=None if self._study.workers is None else lambda: num_searched(self.history),
            now=self._clock.now,
            prefix="REPLAYED " if self._replay is not None else "",
            cost=lambda: str(cost_of(self.history, self._task.price)),
        )

    def stop(self, *, now: bool = False, wait_s: float = 0.0, only_here: bool = False) -> None:
        """Stop the running trials and start no more; with ``now`` engines are killed at once.

        In a shared study all workers stop, unless ``only_here``. Returns at once, or waits up to ``wait_s`` seconds for
        the run to end.
        """
        runner = self._runner
        if runner is not None and not self.ended:
            self._loop.submit(runner.stop_now(only_here=only_here) if now else runner.stop(only_here=only_here))
        if wait_s:
            concurrent.futures.wait([self._ended], timeout=wait_s)

    def stop_trial(self, number: int) -> None:
        """Stop one running trial; the run continues, and the trial counts as failed. Returns at once.

        Raises TaskError if it is not running.
        """
        require_running(self.history, number)
        if self._runner is not None:
            self._loop.submit(self._runner.stop_trial(number))

    def pause(self) -> None:
        """Start no more trials until ``resume``; the running ones continue."""
        if self._runner is not None:
            self._loop.submit(self._runner.pause())

    def resume(self) -> None:
        """Continue after ``pause``."""
        if self._runner is not None:
            self._loop.submit(self._runner.resume())

    def wait(self, timeout_s: float | None = None) -> Run:
        """Block until the run is over, outside a notebook.

        Raises the error that ended the run, RunError if no trial completed, or TimeoutError after ``timeout_s``.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            # In slices: a signal that arrives just before a thread blocks is handled only once the thread wakes.
            while not self._ended.done():
                left_s = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
                if left_s <= 0:
                    break
                concurrent.futures.wait([self._ended], timeout=left_s)
            self._ended.result(0)
        finally:
            if self._ended.done():
                self._record({"event": "awaited"})
        return self._require_completed()

    def __await__(self) -> Generator[Any, None, Run]:
        return self._watch().__await__()

    async def _watch(self) -> Run:
        """Wait until the run is over. An interrupt ends the waiting, not the run."""
        try:
            if self.display is not None:
                await self.display.follow(self)
            await asyncio.shield(asyncio.wrap_future(self._ended))
        finally:
            if self._ended.done():
                self._record({"event": "awaited"})
        return self._require_completed()

    def _require_completed(self) -> Run:
        if self.state is RunState.FINISHED and not any(t.state.scored for t in self.history):
            failures = [t.failure for t in self.history if t.failure]
            raise RunError(
                f"no trial completed: {failures[-1] if failures else 'there was no configuration to try'} (logs: "
                f"{self.folder / 'artifacts'})"
            )
        return self

    @property
    def _shown_live(self) -> bool:
        return not self.ended
