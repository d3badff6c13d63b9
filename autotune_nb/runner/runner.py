"""Works on a study: asks, deploys, measures, scores, tells; several trials at a time where the task says so."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from autotune_nb import events
from autotune_nb.bench.base import Benchmark
from autotune_nb.deploy.base import Deployer
from autotune_nb.errors import AutotuneError, SetupError, StudyError
from autotune_nb.runner.trial_work import TrialWork
from autotune_nb.secrets.files import scrub_files
from autotune_nb.secrets.references import command_text
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.study import machine_fingerprint
from autotune_nb.study.steering import Edit
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.waiting import uncancelled

if TYPE_CHECKING:
    from autotune_nb.study import Study

T = TypeVar("T")
#: results.json is written after a trial, but at most so small a share of the time: the database has it all anyway.
_KEEP_SHARE = 20


class RunState(StrEnum):
    """Where a run stands."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self in (RunState.FINISHED, RunState.STOPPED, RunState.FAILED)


class Runner:
    """One run over a study, on one event loop. Only ``state``, ``trials`` and ``elapsed_s`` may be read elsewhere."""

    def __init__(self, study: Study, deployer: Deployer, benchmark: Benchmark, bus: events.EventBus) -> None:
        self.study = study
        self.bus = bus
        self.state = RunState.STARTING
        self.trials: tuple[Trial, ...] = study.trials
        self._deployer = deployer
        self._benchmark = benchmark
        self._task = study.task
        self._storage = asyncio.Lock()
        self._going = asyncio.Event()
        self._going.set()
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()
        self._asked_to_stop: float | None = None
        self._kept_at = self._keeping_s = 0.0
        self._working: set[asyncio.Task[None]] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._fingerprint: dict[str, Any] = {}
        self._began = time.monotonic()
        self._over: float | None = None
        self._final: RunState | None = None
        self._before_s = study.elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds of this and of all earlier runs of the study."""
        return self._before_s + (self._over or time.monotonic()) - self._began

    async def run(self) -> None:
        """Work until the budget is spent, the space is exhausted, or somebody stops it.

        Raises SetupError or StudyError where it cannot go on; by then everything it started is taken down.
        """
        final = RunState.FAILED
        try:
            self._preparing = asyncio.ensure_future(self._prepare())
            await asyncio.wait((self._preparing,))
            if not self._preparing.cancelled():
                self._preparing.result()
                if not self._stopping.is_set():
                    self._set(RunState.RUNNING if self._going.is_set() else RunState.PAUSED)
                    await self._work()
                if not self._stopping.is_set():
                    self._notice(self._why_over())
            final = RunState.STOPPED if self._stopping.is_set() else RunState.FINISHED
        except asyncio.CancelledError:
            final = RunState.STOPPED
            raise
        finally:
            # It is kept before it is said: whoever hears that it is over may end this process.
            self._final = final
            try:
                await self._end()
            finally:
                if self._asked_to_stop is not None:
                    took_s = time.monotonic() - self._asked_to_stop
                    self._notice(f"everything is gone, {took_s:.1f} s after it was asked")
                self._set(final)

    async def stop(self) -> None:
        """Start no more trials and take the running ones down; returns at once."""
        if self._final is not None:
            return
        if self._asked_to_stop is None:
            self._asked_to_stop = time.monotonic()
            running = [str(t.number) for t in self.study.trials if t.state is TrialState.RUNNING]
            if running:
                told = f"the engine and the benchmark of trial {running[0]}"
                if len(running) > 1:
                    told = f"the engines and benchmarks of trials {', '.join(running)}"
                self._notice(f"taking down {told}")
        self._stopping.set()
        self._going.set()
        self._set(RunState.STOPPING)
        if self._preparing is not None:
            self._preparing.cancel()
        for task in self._working:
            task.cancel()

    async def stop_now(self) -> None:
        """As ``stop``, without asking the engines nicely."""
        self._deployer.hurry()
        await self.stop()

    async def pause(self) -> None:
        """Start no more trials until ``resume``; the running ones go on."""
        if self.state in (RunState.STARTING, RunState.RUNNING) and self._final is None:
            self._going.clear()
            if self.state is RunState.RUNNING:
                self._set(RunState.PAUSED)

    async def resume(self) -> None:
        self._going.set()
        if self.state is RunState.PAUSED:
            self._set(RunState.RUNNING)

    async def steer(self, edit: Edit) -> None:
        """Keep an edit; it counts from the next trial on. Raises TaskError where it is wrong by now."""
        await self._take_edits()
        await self._stored(lambda: self.study.steer(edit))
        self._steered(edit)

    async def _take_edits(self) -> None:
        for edit in await self._stored(self.study.take_edits):
            self._steered(edit)

    def _steered(self, edit: Edit) -> None:
        self._news.set()
        self.bus.publish(events.Steered(edit, self.study.steering.num_trials))

    def results(self) -> dict[str, Any]:
        """The study as ``results.json`` has it."""
        return self.study.results(
            state=str(self._final or self.state), elapsed_s=self.elapsed_s, command=self.best_command()
        )

    def best_command(self) -> str | None:
        """The command line to paste for the best configuration; None where there is none."""
        best = self.study.best
        return None if best is None else command_text(self._deployer.command(best.params))

    def best_manifest(self) -> str | None:
        """The Kubernetes manifest of the best configuration; None where there is none, or no cluster."""
        best = self.study.best
        return None if best is None else self._deployer.manifest(best.params)

    async def _prepare(self) -> None:
        # What a process that was killed could not do itself.
        left = [self.study.folder.trial_folder(t.number) for t in self.study.trials if not t.state.finished]
        for line in await uncancelled(asyncio.to_thread(scrub_files, *left)):
            self._notice(line)
        for line in await self._stored(self.study.settle):
            self._notice(line)
        for line in await self._deployer.sweep():
            self._notice(line)
        await self._keep()
        if self._spent() or await self._stored(lambda: self.study.exhausted):
            return
        for line in _advice(self._task):
            self._notice(line)
        # The model is written and the benchmark is warmed before anything is measured.
        await self._deployer.prepare()
        self._notice("the benchmark starts up, which takes some seconds once a study")
        await self._benchmark.prepare(self._deployer.tokenizer)
        machine = await asyncio.to_thread(machine_fingerprint)
        self._fingerprint = {
            # In a cluster the engine runs elsewhere, and each deployment tells where.
            **(machine if self._task.deploy.kind == "local" else {"driver": machine}),
            **await self._deployer.fingerprint(),
            **await self._benchmark.fingerprint(),
            "seed": self._task.strategy.seed,
        }

    async def _work(self) -> None:
        parallel = self._task.deploy.parallel
        try:
            while True:
                await self._until_going()
                if self._stopping.is_set():
                    break
                self._news.clear()
                await self._take_edits()
                spent = self._spent(running=len(self._working))
                trial = None if spent else await self._stored(self.study.ask)
                if trial is not None:
                    self._begin(trial)
                    if len(self._working) >= parallel:
                        await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
                elif self._working:
                    # One that runs may be stopped, and so free its configuration; an edit may raise the budget.
                    await self._until_news()
                else:
                    break
                self._collect()
            while self._working:
                await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
                self._collect()
        finally:
            for task in self._working:
                task.cancel()
            if self._working:
                await asyncio.gather(*self._working, return_exceptions=True)

    async def _until_going(self) -> None:
        """Wait while paused; a trial that ends meanwhile is collected, and what went wrong with it is raised."""
        going = asyncio.ensure_future(self._going.wait())
        try:
            while not self._going.is_set():
                await asyncio.wait((going, *self._working), return_when=asyncio.FIRST_COMPLETED)
                self._collect()
        finally:
            going.cancel()

    async def _until_news(self) -> None:
        """Wait for a trial to end or an edit to come."""
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((news, *self._working), return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    def _begin(self, trial: Trial) -> None:
        self.trials = self.study.trials
        self.bus.publish(events.TrialStarted(trial))
        self._working.add(asyncio.ensure_future(self._try(trial)))

    def _collect(self) -> None:
        """Forget the trials that ended; raises what went wrong beyond a trial."""
        done = {task for task in self._working if task.done()}
        self._working -= done
        for task in done:
            if not task.cancelled():
                task.result()

    def _spent(self, running: int = 0) -> bool:
        return self._spent_budget(running) is not None

    def _why_over(self) -> str:
        spent, waiting = self._spent_budget(), len(self.study.steering.waiting(self.study.begun))
        if spent is None or not waiting:
            return spent or "every configuration was tried"
        still = "configurations still wait" if waiting > 1 else "configuration still waits"
        return f"{spent}; {waiting} enqueued {still}: raise the budget, with set_budget or --trials"

    def _spent_budget(self, running: int = 0) -> str | None:
        """Which part of the budget is spent, in words; None while there is some left."""
        budget, allowed = self.study.steering.budget, self.study.steering.wanted
        if allowed is not None and self.study.num_finished + running >= allowed:
            return f"the budget of {allowed} trial{'s' * (allowed != 1)} is spent"
        if budget.minutes is not None and self.elapsed_s >= budget.minutes * 60:
            return f"the budget of {budget.minutes:g} minutes is spent"
        if budget.patience is not None and self.study.num_since_best >= budget.patience:
            return f"{budget.patience} trials brought nothing better"
        return None

    async def _try(self, trial: Trial) -> None:
        """Work on a trial and keep it, however it ended."""
        work = TrialWork(
            trial,
            self.study,
            self._deployer,
            self._benchmark,
            fingerprint=self._fingerprint,
            publish=self.bus.publish,
            stopping=self._stopping.is_set,
        )
        try:
            ended = await work.run()
        except (StudyError, SetupError):
            await uncancelled(work.clean())
            raise
        # Nothing that happens from here on may lose it.
        await uncancelled(self._keep_ended(work, ended))

    async def _keep_ended(self, work: TrialWork, ended: Trial) -> None:
        await work.clean()
        ended = await self._stored(lambda: self.study.tell(ended))
        await self._stored(lambda: self.study.keep_elapsed(self.elapsed_s))
        self.trials = self.study.trials
        if time.monotonic() - self._kept_at >= _KEEP_SHARE * self._keeping_s:
            await self._keep()
        best = self.study.best
        self.bus.publish(events.TrialEnded(ended, is_best=best is not None and best.number == ended.number))

    async def _end(self) -> None:
        await uncancelled(self._benchmark.close())
        for line in await uncancelled(self._deployer.close()):
            self._notice(line)
        self.study.mark_interrupted()
        self._over = time.monotonic()
        with contextlib.suppress(AutotuneError):
            await self._keep()
        with contextlib.suppress(AutotuneError):
            await self._stored(self.study.close)

    async def _stored(self, call: Callable[[], T]) -> T:
        """Run a call on the study in a thread, one at a time: a database may take its time."""
        async with self._storage:
            return await uncancelled(asyncio.to_thread(call))

    async def _keep(self) -> None:
        self.trials = self.study.trials
        began = time.monotonic()
        # In a thread too: with thousands of trials it is megabytes.
        await self._stored(lambda: self.study.folder.write_results(self.results()))
        self._kept_at = time.monotonic()
        self._keeping_s = self._kept_at - began

    def _set(self, state: RunState) -> None:
        self.state = state
        self.bus.publish(events.StateChanged(str(state)))

    def _notice(self, text: str) -> None:
        self.bus.publish(events.Notice(scrub(text)))


def _advice(task: Task) -> list[str]:
    """What a user may not have meant, said before the first trial."""
    if task.goal.direction == "minimize" and task.goal.level is None and len(task.workload.levels) > 1:
        return [
            f"{task.goal.figure} is read at the best of {len(task.workload.levels)} levels, for a latency the easiest "
            "load; objective.at names another"
        ]
    return []
