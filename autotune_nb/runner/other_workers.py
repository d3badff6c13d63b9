"""The other workers of a shared study: this run's heartbeats, and what the others do and command."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from autotune_nb import events
from autotune_nb.errors import StudyError
from autotune_nb.runner.active_time import ActiveTime
from autotune_nb.runner.study_calls import StudyCalls
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.trial.trial import TrialState

if TYPE_CHECKING:
    from autotune_nb.study import Study
    from autotune_nb.study.shared_study import SharedStudy
    from autotune_nb.study.worker import RunCommand

#: How often the trials and the commands of other workers are read.
POLL_S = 3.0


class OtherWorkers:
    """Keeps this worker of a shared study alive, and reports what the others do; without effect in other studies.

    ``obey`` executes a command for all workers, ``changed`` is called after others started or ended a trial.
    """

    def __init__(
        self,
        study: Study,
        calls: StudyCalls,
        active: ActiveTime,
        *,
        simulated: bool,
        publish: Callable[[events.Event], None],
        changed: Callable[[], None],
        obey: Callable[[RunCommand], Awaitable[None]],
    ) -> None:
        self._study: SharedStudy | None = _shared(study)
        self._calls, self._active, self._simulated = calls, active, simulated
        self._publish, self._changed, self._obey = publish, changed, obey
        self._following: asyncio.Task[None] | None = None
        #: The working time of this run as of the last heartbeat, and what others add to it.
        self._beaten_s, self._others_s = active.seconds, 0.0
        self._beaten_at = -float("inf")
        self._last_command = ""
        self._silent = False

    @property
    def elapsed_s(self) -> float:
        """The working time of the study: that of this run, and what other workers did meanwhile."""
        return self._active.seconds + self._others_s

    @property
    def are_working(self) -> bool:
        """Whether another worker runs a trial, after which there may be more to do."""
        if self._study is None:
            return False
        own = self._study.own_running
        return any(t.state is TrialState.RUNNING and t.number not in own for t in self._study.trials)

    def start(self) -> None:
        """Start to record heartbeats, and to follow the other workers."""
        if self._study is not None:
            self._following = asyncio.ensure_future(self._follow(self._study))

    async def end(self) -> None:
        """Stop to follow, after a last heartbeat with the working time."""
        if self._following is not None and self._study is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            with contextlib.suppress(StudyError):
                await asyncio.to_thread(self._beat, self._study)

    async def order(self, kind: str, trial: int | None = None) -> None:
        """Give a command to all workers, see ``RunCommand``; without effect in a study that is not shared."""
        study = self._study
        if study is None:
            return
        try:
            command = await self._calls(lambda: study.order(kind, trial))
            if trial is None:
                self._last_command = command.id
        except StudyError as error:
            self._publish(events.Notice(scrub(f"the other workers do not get the command to {kind}: {error}")))

    async def _follow(self, study: SharedStudy) -> None:
        seen: object = None
        # A study that was stopped is resumed; one that is paused stays so.
        command = study.command_at_start
        self._last_command = command.id if command is not None and command.kind != "pause" else ""
        # Given before: the trial may have been started again since.
        obeyed = {one.id for one in study.trial_commands}
        while True:
            if time.monotonic() - self._beaten_at >= study.heartbeat_s:
                await self._try_to_beat(study)
            with contextlib.suppress(StudyError):
                for edit in await self._calls(study.apply_new_edits):
                    self._publish(events.Steered(edit, study.steering.num_trials))
            others = [(t.number, t.state) for t in study.trials if t.number not in study.own_running]
            now = (others, len(study.steering.edits), study.workers)
            if now != seen:
                self._changed()
                self._publish(events.OthersWorked())
            seen = now
            await self._obey_new(study.command)
            for one in study.trial_commands:
                if one.id not in obeyed and one.trial in study.own_running:
                    self._publish(events.Notice(f"{one.by} commands to {one.text}"))
                    await self._obey(one)
                obeyed.add(one.id)
            await asyncio.sleep(POLL_S)

    async def _obey_new(self, command: RunCommand | None) -> None:
        if command is None or command.id == self._last_command:
            return
        self._last_command = command.id
        self._publish(events.Notice(f"{command.by} commands all workers to {command.text}"))
        await self._obey(command)

    async def _try_to_beat(self, study: SharedStudy) -> None:
        try:
            await asyncio.to_thread(self._beat, study)
            self._silent = False
        except StudyError as error:
            if not self._silent:
                self._publish(events.Notice(scrub(f"other workers do not see this one at the moment: {error}")))
            self._silent = True

    def _beat(self, study: SharedStudy) -> None:
        now_s = self._active.seconds
        own_s = now_s - self._beaten_s
        study.beat(own_s / max(1, len(study.workers or ())) if self._simulated else own_s, simulated=self._simulated)
        self._beaten_s, self._beaten_at = now_s, time.monotonic()
        if not self._simulated:
            self._others_s = study.elapsed_s - now_s


def _shared(study: Study) -> SharedStudy | None:
    # Its import needs a database's driver.
    if study.workers is None:
        return None
    from autotune_nb.study.shared_study import SharedStudy

    assert isinstance(study, SharedStudy)
    return study
