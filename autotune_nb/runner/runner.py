"""The loop of a run: it asks the study for trials, executes them and stores the results, several at a time if set."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from autotune_nb import events
from autotune_nb.bench.base import Benchmark
from autotune_nb.deploy.base import Deployer
from autotune_nb.errors import AutotuneError, SetupError, StudyError
from autotune_nb.recorded.clock import Clock, SimulatedClock, WallClock, released
from autotune_nb.runner.active_time import ActiveTime
from autotune_nb.runner.answers import AnswerComparison
from autotune_nb.runner.budget import BudgetCheck
from autotune_nb.runner.cautions import Cautions
from autotune_nb.runner.next_trial import NextTrial
from autotune_nb.runner.other_workers import OtherWorkers
from autotune_nb.runner.preparation import close, prepare_trials
from autotune_nb.runner.run_state import RunState as RunState
from autotune_nb.runner.single_stop import failed_if_alone, stop_one, taking_down_text, trial_task_name
from autotune_nb.runner.study_calls import StudyCalls
from autotune_nb.runner.trial_figures import gpus_held
from autotune_nb.runner.trial_work import TrialWork
from autotune_nb.secrets.files import scrub_files
from autotune_nb.secrets.references import command_text
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.study import StorageAwayError, StorageBusyError
from autotune_nb.study.steering import Edit
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import noise_text
from autotune_nb.waiting import uncancelled

if TYPE_CHECKING:
    from autotune_nb.runner.proposals import Proposals
    from autotune_nb.study import Study
    from autotune_nb.study.worker import RunCommand


class Runner:
    """One run of a study, on one event loop.

    Other threads may read ``state``, ``trials`` and ``elapsed_s`` only.
    """

    def __init__(
        self,
        study: Study,
        deployer: Deployer,
        benchmark: Benchmark,
        bus: events.EventBus,
        clock: Clock | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        self.study = study
        self.bus = bus
        self.state = RunState.STARTING
        self.trials: tuple[Trial, ...] = study.trials
        self._deployer = deployer
        self._benchmark = benchmark
        self._task = study.task
        self._clock: Clock = clock or WallClock()
        self._not_paused = asyncio.Event()
        self._not_paused.set()
        self._stopping = asyncio.Event()
        self._active = ActiveTime(self._clock.now, study.elapsed_s)
        self._calls = StudyCalls(study, self._active, stopping=self._stopping, notify=self._notice)
        self._changed = asyncio.Event()
        self._stop_requested_at: float | None = None
        self._trial_tasks: set[asyncio.Task[None]] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._prepared = False
        #: How many edits are being stored.
        self._num_edits_arriving = 0
        self._fingerprint: dict[str, Any] = {}
        self._final: RunState | None = None
        self._budget = BudgetCheck(study, proposals)
        self._next = NextTrial(
            study,
            self._calls,
            self._budget,
            elapsed_s=lambda: self.elapsed_s,
            news=lambda: self._num_edits_arriving > 0 or self._changed.is_set(),
            publish=bus.publish,
        )
        self._others = OtherWorkers(
            study,
            self._calls,
            self._active,
            simulated=isinstance(self._clock, SimulatedClock),
            publish=bus.publish,
            changed=self._others_changed,
            obey=self.obey,
        )
        self._cautions = Cautions()
        self._comparison = AnswerComparison(study)

    @property
    def elapsed_s(self) -> float:
        """The seconds of this run and of all previous ones, without pauses and waits for the surroundings."""
        return self._others.elapsed_s

    async def run(self) -> None:
        """Run trials until the budget is spent, the space is exhausted, or the run is stopped.

        Raises SetupError or StudyError if it cannot continue, after everything it started was taken down.
        """
        final = RunState.FAILED
        self._others.start()
        try:
            if await self._unless_stopped(self._prepare()):
                if not self._stopping.is_set():
                    self._set_state(RunState.RUNNING if self._not_paused.is_set() else RunState.PAUSED)
                    await self._work()
                if not self._stopping.is_set():
                    self._notice(await self._calls(lambda: self._budget.end(self.elapsed_s)))
            final = RunState.STOPPED if self._stopping.is_set() else RunState.FINISHED
        except asyncio.CancelledError:
            final = RunState.STOPPED
            raise
        finally:
            # Results are stored before the end is published: a listener may then end the process.
            self._final = final
            try:
                await self._end()
            finally:
                if self._stop_requested_at is not None:
                    took_s = time.monotonic() - self._stop_requested_at
                    self._notice(f"everything is taken down, {took_s:.1f} s after the request to stop")
                self._set_state(final)

    async def stop(self, *, only_here: bool = False) -> None:
        """Start no more trials and stop the running ones, of all workers unless ``only_here``; returns at once."""
        if self._final is not None:
            return
        if not only_here:
            await self._others.order("stop")
        if self._stop_requested_at is None:
            self._stop_requested_at = time.monotonic()
            if running := sorted(self.study.own_running):
                self._notice(taking_down_text(running))
        self._stopping.set()
        self._not_paused.set()
        self._set_state(RunState.STOPPING)
        if self._preparing is not None:
            self._preparing.cancel()
        for task in self._trial_tasks:
            task.cancel()

    async def stop_trial(self, number: int) -> None:
        """Stop one trial, also of another worker, which then counts as failed; nothing if it is not running."""
        if not stop_one(self._trial_tasks, number):
            await self._others.order("stop_trial", number)

    async def stop_now(self, *, only_here: bool = False) -> None:
        """Stop as ``stop`` does, but kill the engines at once."""
        self._deployer.hurry()
        await self.stop(only_here=only_here)

    async def pause(self, *, only_here: bool = False) -> None:
        """Start no more trials until ``resume``, in all workers unless ``only_here``; the running ones continue."""
        if self.state in (RunState.STARTING, RunState.RUNNING) and self._final is None:
            self._not_paused.clear()
            if self.state is RunState.RUNNING:
                self._set_state(RunState.PAUSED)
        if not only_here and self._final is None:  # of a run that has ended, it would pause the next one
            await self._others.order("pause")

    async def resume(self, *, only_here: bool = False) -> None:
        """Continue after ``pause``, in all workers unless ``only_here``."""
        self._not_paused.set()
        if self.state is RunState.PAUSED:
            self._set_state(RunState.RUNNING)
        if not only_here:
            await self._others.order("resume")

    async def obey(self, command: RunCommand) -> None:
        """Execute a command of another worker or process."""
        match command.kind:
            case "pause":
                await self.pause(only_here=True)
            case "resume":
                await self.resume(only_here=True)
            case "stop" | "stop_now" as kind:
                await (self.stop_now if kind == "stop_now" else self.stop)(only_here=True)
            case "stop_trial" if command.trial is not None:
                stop_one(self._trial_tasks, command.trial)

    def _others_changed(self) -> None:
        self.trials = self.study.trials
        self._changed.set()

    async def steer(self, edit: Edit) -> None:
        """Store an edit; it applies from the next trial on. Raises TaskError if newer edits make it invalid."""
        self._num_edits_arriving += 1
        try:
            await self._take_edits()
            await self._calls(lambda: self.study.steer(edit))
            if self._final is not None:
                self._notice("the run is ending: the edit applies to the next run")
            self._publish_edit(edit)
        finally:
            self._num_edits_arriving -= 1
            self._changed.set()

    async def _take_edits(self) -> None:
        for edit in await self._calls.until_unlocked(self.study.apply_new_edits, "waiting for the storage"):
            self._publish_edit(edit)

    def _publish_edit(self, edit: Edit) -> None:
        self._changed.set()
        self.bus.publish(events.Steered(edit, self.study.steering.num_trials))

    def results(self) -> dict[str, Any]:
        """Return the study in the form of ``results.json``."""
        return self.study.results(
            state=str(self._final or self.state), elapsed_s=self.elapsed_s, command=self.command_of
        )

    def command_of(self, trial: Trial) -> str:
        """Return the engine's command line for a trial's configuration."""
        return command_text(self._deployer.command(trial.params))

    def manifest_of(self, trial: Trial) -> str | None:
        """Return the manifest of a trial's configuration; None without a cluster."""
        return self._deployer.manifest(trial.params)

    async def _unless_stopped(self, preparation: Coroutine[Any, Any, None]) -> bool:
        """Await a preparation; returns False if ``stop`` cancelled it."""
        self._preparing = asyncio.ensure_future(preparation)
        await asyncio.wait((self._preparing,))
        if not self._preparing.cancelled():
            self._preparing.result()
        return not self._preparing.cancelled()

    async def _prepare(self) -> None:
        # What a process that was killed could not do itself.
        left = [self.study.folder.trial_folder(t.number) for t in self.study.trials if not t.state.finished]
        self._notice(*await uncancelled(asyncio.to_thread(scrub_files, *left)))
        self._notice(*await self._calls(self.study.recover))
        self._notice(*await self._deployer.sweep())
        await self._save_results()
        if await self._next.exists():
            await self._prepare_trials()

    async def _prepare_trials(self) -> None:
        self._notice(*self._budget.notes)
        self._fingerprint = await prepare_trials(self._task, self._deployer, self._benchmark, self._notice)
        self._prepared = True

    async def _work(self) -> None:
        parallel = self._task.deploy.parallel
        self._clock.hold()
        try:
            while True:
                await self._until_resumed()
                if self._stopping.is_set():
                    break
                self._changed.clear()
                # A trial that starts while its files cannot be written would fail.
                await self._calls.require_disk()
                await self._take_edits()
                # An edit may give trials to a run that had none at its start.
                if not self._prepared and await self._next.exists():
                    await self._unless_stopped(self._prepare_trials())
                    continue
                trial = await self._next.ask() if self._prepared else None
                if trial is not None:
                    self._begin(trial)
                    if len(self._trial_tasks) >= parallel:
                        await self._until_trial_ends()
                elif (
                    self._trial_tasks or self._num_edits_arriving or self._changed.is_set() or self._others.are_working
                ):
                    # A running trial may be stopped, which frees its configuration, or an edit may raise the budget.
                    await self._until_changed()
                else:
                    break
                self._collect()
            while self._trial_tasks:
                await self._until_trial_ends()
                self._collect()
        finally:
            self._clock.release()
            for task in self._trial_tasks:
                task.cancel()
            if self._trial_tasks:
                await asyncio.gather(*self._trial_tasks, return_exceptions=True)

    async def _until_trial_ends(self) -> None:
        with released(self._clock):
            await asyncio.wait(self._trial_tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _until_resumed(self) -> None:
        """Wait while paused; collect trials that end meanwhile, and raise their errors."""
        going = asyncio.ensure_future(self._not_paused.wait())
        self._active.pause(not self._not_paused.is_set())
        try:
            while not self._not_paused.is_set():
                with released(self._clock):
                    await asyncio.wait((going, *self._trial_tasks), return_when=asyncio.FIRST_COMPLETED)
                self._collect()
        finally:
            going.cancel()
            self._active.pause(False)

    async def _until_changed(self) -> None:
        """Wait until a trial ends or an edit arrives."""
        news = asyncio.ensure_future(self._changed.wait())
        try:
            with released(self._clock):
                await asyncio.wait((news, *self._trial_tasks), return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    def _begin(self, trial: Trial) -> None:
        self.trials = self.study.trials
        # For what it costs as long as it runs.
        gpus = gpus_held(self._task, trial.params, self._fingerprint)
        self.bus.publish(events.TrialStarted(trial.with_(gpus=gpus)))
        # Until it is collected: the end of a trial and the start of the next take no simulated time.
        self._clock.hold()
        self._trial_tasks.add(asyncio.create_task(self._run_trial(trial), name=trial_task_name(trial.number)))

    def _collect(self) -> None:
        """Remove the tasks of trials that ended, and raise errors that concern more than a trial."""
        done = {task for task in self._trial_tasks if task.done()}
        self._trial_tasks -= done
        for task in done:
            self._clock.release()
            if not task.cancelled():
                task.result()

    async def _run_trial(self, trial: Trial) -> None:
        """Execute a trial and store it, however it ended."""
        work = TrialWork(
            trial,
            self.study,
            self._deployer,
            self._benchmark,
            fingerprint=self._fingerprint,
            publish=self.bus.publish,
            stopping=self._stopping.is_set,
            now=self._clock.now,
            active=self._active,
            comparison=self._comparison,
        )
        try:
            ended = failed_if_alone(await work.run())
        except (StudyError, SetupError):
            await uncancelled(work.clean())
            raise
        finally:
            self._active.ended(trial.number)
        # From here on a cancellation must not lose the result.
        await uncancelled(self._store_trial(work, ended))

    async def _store_trial(self, work: TrialWork, ended: Trial) -> None:
        await work.clean()
        ended = await self._calls.tell(ended)
        self.trials = self.study.trials
        with contextlib.suppress(StorageBusyError, StorageAwayError):  # the next trial waits for the disk
            if self._calls.may_save:
                await self._save_results()
            else:
                await self._calls(lambda: self.study.save_elapsed(self.elapsed_s))
        best = self.study.best if ended.confirmation is None else None
        self.bus.publish(events.TrialEnded(ended, is_best=best is not None and best.number == ended.number))
        self._notice(*self._cautions.after(ended, self.trials))
        if ended.confirmation == (0, 0) and self._task.confirmation is not None:
            self._notice(
                noise_text(self.trials, self._task.confirmation) or "the noise between starts is not known yet"
            )

    async def _end(self) -> None:
        await close(self._deployer, self._benchmark, self._notice)
        self.study.mark_interrupted()
        self._active.end()
        await uncancelled(self._others.end())
        with contextlib.suppress(AutotuneError):
            await self._save_results()
        with contextlib.suppress(AutotuneError):
            await self._calls(self.study.close)
        # What other workers have ended last, too.
        self.trials = self.study.trials

    async def _save_results(self) -> None:
        self.trials = self.study.trials
        await self._calls.save_results(self.results)

    def _set_state(self, state: RunState) -> None:
        self.state = state
        self.bus.publish(events.StateChanged(str(state)))

    def _notice(self, *texts: str) -> None:
        for text in texts:
            self.bus.publish(events.Notice(scrub(text)))
