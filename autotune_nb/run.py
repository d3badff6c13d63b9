"""The handle of a study being worked on, and the one event loop that works."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autotune_nb import events
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.deploy._process import STUDY_LABEL
from autotune_nb.deploy.local import LocalDeployer
from autotune_nb.engines.base import Engine
from autotune_nb.errors import RunError
from autotune_nb.parameters import Value
from autotune_nb.plots import Chart
from autotune_nb.progress import Ledger, ProgressLines
from autotune_nb.report import Report
from autotune_nb.runner import Runner, RunState
from autotune_nb.study import Study
from autotune_nb.table import counts, levels_frame, trials_frame
from autotune_nb.task import Task
from autotune_nb.trial import Trial, TrialState, best_trial

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
_EXIT_S = 20.0


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


@dataclass(frozen=True)
class Best:
    """The best configuration, and how to run it."""

    number: int
    params: dict[str, Value]
    values: dict[str, float]
    command: str

    def __str__(self) -> str:
        return self.command


class Run:
    """A study being worked on. Made by ``tune``; every method may be called from any thread, none blocks a cell."""

    def __init__(self, study: Study, engine: Engine, *, pump: Callable[[Run], Awaitable[None]] | None = None) -> None:
        self._study = study
        self._task = study.task
        self._engine = engine
        self._pump = pump
        self._bus = events.EventBus()
        self._loop = LoopThread.get()
        self._runner: Runner | None = None
        self._id = uuid.uuid4().hex[:8]
        self._ledger = Ledger.from_environment()
        self._begun = threading.Event()
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
        self._begun.wait()
        return self

    async def _work(self) -> None:
        error: BaseException | None = None
        try:
            labels = {STUDY_LABEL: self._study.label}
            task, engine, folder = self._task, self._engine, self._study.folder
            deployer = LocalDeployer(task, engine, study_id=self._study.label, folder=folder.path)
            benchmark = GenaiBench(
                task,
                backend=engine.backend,
                engine=engine.metrics_engine,
                labels=labels,
            )
            self._runner = Runner(self._study, deployer, benchmark, self._bus)
            self._begun.set()
            await self._runner.run()
        except BaseException as raised:  # noqa: BLE001 - kept for whoever awaits the run
            error = raised
        finally:
            self._begun.set()
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

    def _enter(self, entry: dict[str, Any]) -> None:
        if self._ledger is not None:
            self._ledger.enter({"run": self._id, "study": str(self.folder), **entry})

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self._study.folder.path

    @property
    def task(self) -> Task:
        """The task that is worked on."""
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
        """What ended the run before its time; None while it runs or where nothing did."""
        return self._ended.exception() if self._ended.done() else None

    @property
    def history(self) -> tuple[Trial, ...]:
        """Every trial so far, as it is kept."""
        return self._runner.trials if self._runner is not None else self._study.trials

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial so far, one row each; see ``table.trials_frame``."""
        return trials_frame(self.history, self._task.goal)

    @property
    def levels(self) -> pd.DataFrame:
        """Every measurement so far, one row a trial and load level."""
        return levels_frame(self.history)

    @property
    def best(self) -> Best | None:
        """The best configuration so far that keeps every limit, with its command line; None where there is none."""
        trial = self._best_trial()
        if trial is None or trial.score is None:
            return None
        command = self._runner.best_command() if self._runner is not None else None
        return Best(trial.number, dict(trial.params), dict(trial.score.values), command or "")

    def _best_trial(self) -> Trial | None:
        return best_trial(self.history, self._task.goal)

    @property
    def elapsed_s(self) -> float:
        """Seconds of this and all earlier runs of the study."""
        return self._runner.elapsed_s if self._runner is not None else 0.0

    def report(self) -> Report:
        """What was found so far."""
        best = self.best
        return Report(self.history, self._best_trial(), self._task.goal, best.command if best else None)

    def chart(self) -> Chart:
        """Latency against throughput, a curve a trial."""
        return self.report().chart()

    @property
    def verdict(self) -> str:
        """The answer in a sentence or two."""
        return self.report().verdict

    def results(self) -> dict[str, Any]:
        """As ``results.json`` has it."""
        assert self._runner is not None
        return self._runner.results()

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        """Be told every event from now on, in the run's thread; what is returned ends it."""
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
        try:
            self._ended.result(timeout_s)
        finally:
            if self._ended.done():
                self._enter({"event": "awaited"})
        return self._checked()

    def __await__(self) -> Generator[Any, None, Run]:
        return self._watch().__await__()

    async def _watch(self) -> Run:
        """Watch until it is over. An interrupt ends the watching, not the run."""
        try:
            if self._pump is not None:
                await self._pump(self)
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

    def __repr__(self) -> str:
        told = ", ".join(f"{number} {state}" for state, number in counts(self.history).items()) or "no trials yet"
        return f"<Run {self.folder.name!r}: {self.state}, {told}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if not any(t.state.finished for t in self.history):
            return {"text/plain": repr(self)}
        return {"text/plain": f"{self!r}\n{self.report().text()}", "text/html": self.report().to_html()}
