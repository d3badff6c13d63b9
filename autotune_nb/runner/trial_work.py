"""Executes one trial: deploys, warms up, measures and scores, with a retry after an infrastructure failure."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autotune_nb import events
from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.probe import completes, probe, require_answer
from autotune_nb.deploy.base import Deployer, Deployment, DeployRequest, Endpoint
from autotune_nb.deploy.engine_log import explained
from autotune_nb.engines.log_patterns import DAEMON_AWAY
from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import (
    Failure,
    FailureKind,
    MeasurementError,
    SetupError,
    StudyError,
    SurroundingsError,
    TrialError,
    failed_to_write,
    lacks_resources,
)
from autotune_nb.runner.active_time import ActiveTime
from autotune_nb.runner.answers import AnswerComparison
from autotune_nb.runner.attempt import Attempt, PhaseClock
from autotune_nb.runner.conditions import LevelConditions
from autotune_nb.runner.engine_metrics import EngineMetrics
from autotune_nb.runner.surroundings import DISK_HINT, SurroundingsWait, disk_problem, of_disk
from autotune_nb.runner.trial_cuts import TrialCuts
from autotune_nb.runner.trial_figures import gpus_held, with_figures_of_trial
from autotune_nb.secrets.files import scrub_files
from autotune_nb.secrets.references import bearer
from autotune_nb.secrets.scrubbing import scrub, scrub_failure
from autotune_nb.trial.comparable import disturbance_of_level
from autotune_nb.trial.engine_checks import invalid_hits
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.quality import with_quality
from autotune_nb.trial.trial import WAIT, Trial, TrialState
from autotune_nb.waiting import until_died

if TYPE_CHECKING:
    from autotune_nb.study import Study

_log = logging.getLogger(__name__)
_RETRIES = 1
#: How long a retry waits, so that what failed may recover.
_RETRY_PAUSE_S = 1.0
#: How long an engine that answers no more may take to end.
_DYING_S = 5.0


class TrialWork:
    """The execution of one trial.

    ``stopping`` returns whether the run is being stopped, ``now`` the time of the run's clock. ``active`` and
    ``comparison`` are the run's.
    """

    def __init__(
        self,
        trial: Trial,
        study: Study,
        deployer: Deployer,
        benchmark: Benchmark,
        *,
        fingerprint: Mapping[str, Any],
        publish: Callable[[events.Event], None],
        stopping: Callable[[], bool],
        now: Callable[[], float],
        active: ActiveTime,
        comparison: AnswerComparison,
    ) -> None:
        self._trial = trial
        self._task, self._folder = study.task, study.folder
        self._cuts = TrialCuts(trial, study)
        self._comparison = comparison
        self._deployer = deployer
        self._benchmark = benchmark
        self._fingerprint = fingerprint
        self._publish = publish
        self._stopping = stopping
        self._now, self._active = now, active
        self._clock = PhaseClock(self._phase_started, now)
        self._attempts: list[Attempt] = []
        within_s = study.task.deadlines.surroundings_s
        self._wait = SurroundingsWait(f"trial {trial.number}", within_s, self._notice)

    async def run(self) -> Trial:
        """Execute the trial and return it as it ended, even if it was cancelled; its engine is taken down by then.

        Call ``clean`` afterwards. Raises StudyError or SetupError if no other trial can continue either.
        """
        try:
            ended = await self._execute()
        except OSError as error:
            raise StudyError(f"the files of trial {self._trial.number} cannot be written: {error}") from error
        finally:
            self._clock.stop()
        last = self._attempts[-1] if self._attempts else Attempt()
        return ended.with_(
            measurements=self._cuts.in_order(last.measurements),
            command=last.command,
            gpus=last.gpus,
            # Rounded as in results.json, so that a reopened study has equal trials.
            seconds={phase: round(value, 3) for phase, value in self._clock.seconds.items()},
            fingerprint={**self._fingerprint, **last.fingerprint},
            answers=last.answers.text,
        )

    async def clean(self) -> None:
        """Remove the values of secrets from the trial's files."""
        folders = [attempt.folder for attempt in self._attempts if attempt.folder]
        try:
            for line in await asyncio.to_thread(scrub_files, *folders):
                self._notice(line)
        except Exception as error:  # noqa: BLE001 - no error here may lose the measurements
            _log.error("the files of trial %s\n%s", self._trial.number, scrub(traceback.format_exc()))
            self._notice(
                f"trial {self._trial.number}'s files could not be searched for secrets: {type(error).__name__}: {error}"
            )

    async def _execute(self) -> Trial:
        trial = self._trial
        try:
            if self._stopping():
                raise asyncio.CancelledError
            return _measured(trial, await self._measure_with_retry())
        except TrialError as error:
            return trial.with_(state=TrialState.FAILED, failure=scrub_failure(error.failure))
        except asyncio.CancelledError:
            # If only its engine was still being taken down, the trial is complete.
            if self._attempts and self._attempts[-1].score is not None:
                return _measured(trial, self._attempts[-1])
            return trial.with_(state=TrialState.STOPPED)
        except (StudyError, SetupError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - the other trials continue after any error
            _log.error("unexpected error in trial %s\n%s", trial.number, scrub(traceback.format_exc()))
            message = scrub(f"unexpected {type(error).__name__}: {str(error)[:300]}")
            failure = Failure(FailureKind.INFRASTRUCTURE, self._attempts[-1].phase or "deploy", message)
            return trial.with_(state=TrialState.FAILED, failure=failure)

    async def _measure_with_retry(self) -> Attempt:
        """Return the attempt that was measured. Raises TrialError with the failure of the last attempt."""
        retries_left, number = _RETRIES, self._trial.number
        while True:
            attempt, began = Attempt(), self._now()
            self._attempts.append(attempt)
            self._active.works(number)
            try:
                with self._system_errors(attempt):
                    await self._measure(attempt)
                return attempt
            except TrialError as error:
                away = await self._away(error)
                if away is not None:
                    if self._stopping():
                        raise asyncio.CancelledError from None
                    await self._wait_for_surroundings(away, attempt, began)
                    continue
                if error.failure.phase == "stop" and attempt.score is not None:
                    # The measurements are valid, even if taking the engine down failed.
                    self._notice(f"trial {number}: {error.failure}")
                    return attempt
                if error.failure.kind is not FailureKind.INFRASTRUCTURE or not retries_left or self._stopping():
                    raise
                self._notice(f"trial {number} is retried: {error.failure}")
                retries_left -= 1
                await asyncio.sleep(_RETRY_PAUSE_S)

    async def _away(self, error: TrialError) -> Failure | None:
        """Return the failure if it is one of the surroundings: it costs no trial, and passes."""
        if isinstance(error, SurroundingsError) or any(map(DAEMON_AWAY.search, error.failure.log_lines)):
            return error.failure
        if error.failure.phase == "stop":
            return None
        # An engine or genai-bench that cannot write a file fails in many ways.
        problem = await asyncio.to_thread(disk_problem, self._folder.path)
        return Failure(FailureKind.INFRASTRUCTURE, error.failure.phase, problem, hint=DISK_HINT) if problem else None

    async def _wait_for_surroundings(self, failure: Failure, attempt: Attempt, began: float) -> None:
        """Wait before the next attempt. Raises SetupError after ``deadlines.surroundings_s``."""
        if attempt.folder is not None:
            # Many attempts may follow; most of them leave no file.
            with suppress(OSError):
                attempt.folder.rmdir()
        self._clock.start(WAIT)
        self._active.waits(self._trial.number, began)
        await self._wait.pause(failure)

    def _phase_started(self, phase: str) -> None:
        """Publish a phase; while the deployer waits for its cluster, that time does not count."""
        if phase == WAIT:
            self._active.waits(self._trial.number, self._now())
        else:
            self._active.works(self._trial.number)
        self._publish(events.PhaseStarted(self._trial.number, phase))

    @contextmanager
    def _system_errors(self, attempt: Attempt) -> Iterator[None]:
        """Raise TrialError for an error of the system, unless a file of the study can never be written."""
        try:
            yield
        except OSError as error:
            if failed_to_write(self._folder.path, error):
                if not of_disk(error):
                    raise
                text = f"the study's folder {self._folder.path} cannot be written: {error.strerror or error}"
                failure = Failure(FailureKind.INFRASTRUCTURE, attempt.phase or "deploy", text, hint=DISK_HINT)
                raise SurroundingsError(failure) from error
            _log.error("error of the system in trial %s\n%s", self._trial.number, scrub(traceback.format_exc()))
            message = f"{type(error).__name__}: {error}"
            hint = "the machine lacks processes, open files or memory: see ulimit -a" if lacks_resources(error) else ""
            failure = Failure(FailureKind.INFRASTRUCTURE, attempt.phase or "deploy", message, hint=hint)
            raise TrialError(failure) from error

    async def _measure(self, attempt: Attempt) -> None:
        number, clock, task = self._trial.number, self._clock, self._task
        # Also those of an engine that does not start.
        attempt.gpus = gpus_held(task, self._trial.params, self._fingerprint)
        attempt.folder = await asyncio.to_thread(self._folder.artifacts, number, self._trial.attempts)
        clock.start("deploy")
        request = DeployRequest(
            number,
            self._trial.params,
            attempt.folder,
            on_phase=clock.start,
            on_log=lambda log: self._publish(events.LogOpened(number, log)),
            on_notice=self._notice,
        )
        async with self._deployer.deploy(request) as deployment:
            attempt.command = deployment.endpoint.command
            attempt.gpus = gpus_held(task, self._trial.params, self._fingerprint, deployment.endpoint)
            attempt.add_fingerprint(deployment.endpoint.fingerprint)
            try:
                await until_died(self._benchmark_levels(deployment, attempt), deployment)
            except MeasurementError as error:
                raise MeasurementError(await self._explained(error.failure, deployment)) from None

    async def _explained(self, failure: Failure, deployment: Deployment) -> Failure:
        """Return what the engine's log says about a failed measurement, if the engine does not answer any more.

        Raises the engine's own error if it ends.
        """
        endpoint, task = deployment.endpoint, self._task
        if endpoint.log is None or failure.kind is FailureKind.INFRASTRUCTURE or not task.workload.generates_text:
            return failure
        if await completes(endpoint.url, endpoint.model, headers=bearer(task.benchmark.api_key)):
            return failure
        # A server may answer with errors for a while after its engine has ended.
        with suppress(TimeoutError):
            async with asyncio.timeout(_DYING_S):
                await deployment.died()
        return await asyncio.to_thread(explained, failure, endpoint.log, engine_of_study(task))

    async def _benchmark_levels(self, deployment: Deployment, attempt: Attempt) -> None:
        """Warm the engine up, and measure it at every load level of the task."""
        task, clock, endpoint = self._task, self._clock, deployment.endpoint
        assert attempt.folder is not None
        accepts_ignore_eos = None
        if not endpoint.replayed:
            clock.start("probe")
            attempt.phase = "probe"
            headers = bearer(task.benchmark.api_key)
            ready_by = endpoint.ready_by
            if ready_by is None:
                ready_by = asyncio.get_running_loop().time() + task.deadlines.ready_s
            accepts_ignore_eos = await probe(
                endpoint.url,
                endpoint.model,
                task.workload,
                timeout_s=task.deadlines.probe_s,
                headers=headers,
                ready_by=ready_by,
                notify=lambda text: self._notice(f"trial {self._trial.number}: {text}"),
            )
            attempt.answers = await self._comparison.ask(self._trial, endpoint, attempt.folder)
        clock.start("benchmark")
        attempt.phase = "benchmark"
        # How many levels the benchmark has taken one by one, and how many it has measured.
        taken = measured = 0

        def next_level() -> Level | None:
            nonlocal taken
            taken += 1
            return self._cuts.next_level(attempt.measurements)

        request = BenchRequest(
            endpoint.url,
            endpoint.model,
            endpoint.tokenizer,
            attempt.folder,
            endpoint.gpu_count,
            endpoint.service,
            accepts_ignore_eos,
            levels=self._cuts.order,
            next_level=next_level if self._cuts.asks else None,
            on_notice=self._notice,
            on_identity=attempt.add_fingerprint,
        )
        count = self._cuts.most_levels
        conditions = None if endpoint.replayed else self._conditions(endpoint, attempt)
        recording = nullcontext() if conditions is None else conditions.recording()
        async with recording, aclosing(self._benchmark.measure(request)) as levels:
            async for one in levels:
                self._wait.reset()
                one = with_quality(one, self._comparison.figures(attempt.answers))
                if conditions is not None:
                    one = replace(one, conditions={**one.conditions, **await conditions.take(one.level)})
                if not one.valid and (share := disturbance_of_level(one)):
                    one = replace(one, problems=(*one.problems, f"other processes used {share:.0%} of the CPUs"))
                one = with_figures_of_trial(one, task, attempt.gpus)
                if hits := invalid_hits(one.level.scenario, one.figures, one.conditions):
                    one = replace(one, problems=(*one.problems, hits))
                # Otherwise genai-bench already loads the engine with the next level.
                measured += 1
                is_idle = taken == measured or measured == count
                error = await self._engine_error(deployment, one.level, ask=is_idle)
                if error is not None:
                    one = replace(one, problems=(*one.problems, error.failure.message))
                attempt.add(one)
                self._publish(events.LevelMeasured(self._trial.number, one, measured, self._cuts.needed_levels))
                if error is not None:
                    # With what else was wrong in the level, such as failed requests.
                    raise type(error)(replace(error.failure, message="; ".join(one.problems)))
                attempt.cut_reason = self._cuts.reason(attempt.measurements)
                done = self._cuts.is_enough(attempt.measurements)
                if done or attempt.cut_reason or self._cuts.will_fail(attempt.measurements):
                    break
        attempt.measurements, attempt.score, attempt.answers = self._comparison.scored(
            attempt.measurements, attempt.answers
        )

    def _conditions(self, endpoint: Endpoint, attempt: Attempt) -> LevelConditions:
        assert attempt.folder is not None

        def unread(problem: str) -> None:
            attempt.add_fingerprint({"engine_metrics": f"not read: {problem}"})

        metrics = None
        if self._benchmark.yields_at_end:
            unread("its benchmark delivers all levels at its end, so that their times are unknown")
        else:
            metrics = EngineMetrics(endpoint.url, bearer(self._task.benchmark.api_key), attempt.folder, unread)
        return LevelConditions(endpoint.engine_pid, endpoint.gpus, metrics)

    async def _engine_error(self, deployment: Deployment, level: Level, *, ask: bool) -> TrialError | None:
        """Return the error of an engine that was restarted in a level, or (with ``ask``) generates text no more."""
        task, endpoint = self._task, deployment.endpoint

        async def ask_for_token() -> None:
            await require_answer(
                endpoint.url,
                endpoint.model,
                level,
                timeout_s=task.deadlines.probe_s,
                headers=bearer(task.benchmark.api_key),
            )

        try:
            await deployment.require_same_engine()
            if ask and task.workload.generates_text:
                await deployment.require_answer(ask_for_token)
        except TrialError as error:
            return error
        return None

    def _notice(self, text: str) -> None:
        self._publish(events.Notice(scrub(text)))


def _measured(trial: Trial, attempt: Attempt) -> Trial:
    """Return a trial that ended with a score."""
    state = TrialState.CUT if attempt.cut_reason else TrialState.COMPLETE
    return trial.with_(state=state, score=attempt.score, cut_reason=attempt.cut_reason)
