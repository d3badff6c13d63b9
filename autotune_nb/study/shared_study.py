"""A study in PostgreSQL on which several workers work at once, each in its own folder."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from socket import gethostname

import optuna
import sqlalchemy

from autotune_nb.errors import StudyError
from autotune_nb.study._database_file import damage_errors
from autotune_nb.study._shared_store import SharedTrialStore
from autotune_nb.study._shared_tables import ChangedTrial
from autotune_nb.study._storage import closed_on_error, sql_engine, storage_errors
from autotune_nb.study._stored_study import StoredStudy
from autotune_nb.study._stored_trial import ENQUEUED, worker_of
from autotune_nb.study._study_attributes import (
    read_command,
    read_end_reason,
    read_run,
    read_trial_commands,
    write_command,
)
from autotune_nb.study._study_lock import StudyLock
from autotune_nb.study._trial_store import TrialEndedOutsideError, TrialTakenOverError
from autotune_nb.study._worker_table import HEARTBEAT_S, WorkerTable
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.steering import Edit
from autotune_nb.study.study import Propose, Study
from autotune_nb.study.worker import RunCommand, Worker, require_same_release
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState

#: How often a worker that has left reads whether others go on, and after how many times it reports that it waits.
_OTHERS_POLL_S = 0.5
_OTHERS_QUIET = 4


class SharedStudy(Study):
    """One study of several workers.

    A worker chooses its next trial while it holds the study's lock, so that it sees every trial that the others have
    started. A running trial belongs to its worker, and is given back once that has no heartbeat any more.
    """

    _store: SharedTrialStore

    def __init__(
        self,
        task: Task,
        space: SearchSpace,
        folder: StudyFolder,
        study: optuna.Study,
        url: str | None = None,
        propose: Propose | None = None,
        worker: Worker | None = None,
    ) -> None:
        """``worker`` is None for a reader. Raises StudyMismatchError if other workers have another release."""
        self.worker = worker
        self._own: set[int] = set()
        self._reported: set[tuple[int, int]] = set()
        self._live: dict[str, Worker] = {}
        #: The last command for all workers, and the one when this worker joined.
        self.command: RunCommand | None = None
        self.command_at_start: RunCommand | None = None
        #: The last command for each trial that got one.
        self.trial_commands: list[RunCommand] = []
        engine = self._engine = sql_engine(study._storage)
        # A reader is not closed: its connections end with it.
        weakref.finalize(self, engine.dispose)
        self._table = WorkerTable(engine, study._study_id)
        self._lock = StudyLock(engine, study._study_id)
        #: Whether others go on after this worker left, once it is read; nobody, if it could not leave.
        self._others_go_on: bool | None = False
        self._reading_others = threading.Lock()
        #: Edits that were applied on the way, and ``apply_new_edits`` has not returned yet.
        self._edits_to_report: list[Edit] = []
        super().__init__(task, space, folder, study, url, propose)
        if worker is not None:
            with storage_errors(folder, url):
                self.worker = self._store.worker = self._joined(worker)
                self.command = self.command_at_start = read_command(study.user_attrs)
            self.reload()

    def _new_store(self, study: optuna.Study, space: SearchSpace) -> SharedTrialStore:
        return SharedTrialStore(study, space, self.task.goal.limits, self._location, self._engine, self._lock)

    def _joined(self, worker: Worker) -> Worker:
        """Add a worker, and return it with its GPUs. Raises StudyMismatchError, and SetupError without free GPUs."""
        self._table.create()
        with self._lock.held() as connection:
            others = [other for other in self._table.live(connection).values() if other.label != worker.label]
            for other in others:
                require_same_release(self.name, other, worker.version)
            used = frozenset(gpu for other in others for gpu in other.gpus)
            worker = replace(worker, gpus=worker.choose_gpus(used))
            self._table.join(worker, before_s=super().elapsed_s)
        return worker

    @classmethod
    def join(
        cls,
        task: Task,
        space: SearchSpace,
        folder: StudyFolder,
        study: optuna.Study,
        url: str | None,
        propose: Propose | None,
        worker: Worker | None,
    ) -> SharedStudy:
        """Add a worker, by default one with this host's name, and return its study. Raises as the constructor."""
        with closed_on_error(study._storage):
            label = folder.label(str((folder.metadata() or {})["id"]))
            own = replace(worker or Worker(gethostname()), label=label)
            return cls(task, space, folder, study, url, propose, own)

    @property
    def name(self) -> str:
        """The name of the study in its storage."""
        return self._study.study_name

    @property
    def heartbeat_s(self) -> float:
        """How often ``beat`` should be called, in seconds."""
        return HEARTBEAT_S

    @property
    def own_running(self) -> frozenset[int]:
        """The numbers of the trials that this worker runs."""
        return frozenset(self._own)

    @property
    def elapsed_s(self) -> float:
        with storage_errors(self.folder, self._url):
            found = self._table.elapsed_s()
        return super().elapsed_s if found is None else found

    def beat(self, own_s: float, *, simulated: bool = False) -> None:
        """Record that this worker is alive, and that it worked for ``own_s`` seconds since its last heartbeat.

        Thread-safe. Raises StudyError.
        """
        assert self.worker is not None
        with storage_errors(self.folder, self._url):
            self._table.beat(self.worker, own_s, simulated=simulated)

    @contextlib.contextmanager
    def turn(self) -> Iterator[list[str]]:
        with storage_errors(self.folder, self._url), self._lock.held() as connection:
            self._edits_to_report += self._refresh(connection)
            yield self._recover_others()

    def ask(self) -> Trial | None:
        while True:
            try:
                return super().ask()
            except TrialEndedOutsideError:
                # A worker that seemed to be dead has ended it after all.
                self.reload()

    def apply_new_edits(self) -> list[Edit]:
        """Read what other workers have stored since: trials, edits and commands. Returns the edits, oldest first."""
        applied, self._edits_to_report = self._edits_to_report, []
        return applied + self._refresh()

    def reload(self) -> None:
        self._edits_to_report += self._refresh()

    def _refresh(self, locked: sqlalchemy.Connection | None = None) -> list[Edit]:
        """Read what has changed, with the connection of the lock or another one, and return the new edits."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(damage_errors(self._location))
            stack.enter_context(storage_errors(self.folder, self._url))
            connection = locked or stack.enter_context(self._engine.connect())
            changes = self._store.changes(connection)
            attributes = changes.attributes
            self._live = self._table.live(connection)
            self.workers = tuple(self._live.values())
            self.end_reason, self._last_run = read_end_reason(attributes), read_run(attributes)
            self.command, self.trial_commands = read_command(attributes), read_trial_commands(attributes)
            for one in changes.trials:
                known = self._trials.get(one.number)
                if known is None or not (known.state.finished or known.state is TrialState.STOPPED):
                    self._trials[one.number] = self._read(one)
                if ENQUEUED in one.attributes:
                    self._enqueued[one.number] = one.attributes[ENQUEUED]
            ended = sorted((one for one in changes.trials if one.ended), key=lambda one: one.ended_at or 0.0)
            self._keep(*(self._trials[one.number] for one in ended))
            return self._apply_edits(changes.edits)

    @property
    def stored(self) -> StoredStudy:
        kind = self.command.kind if self.command is not None else ""
        return replace(super().stored, workers=tuple(one.text for one in self.workers or ()), command=kind)

    def order(self, kind: str, trial: int | None = None) -> RunCommand:
        """Store a command for every worker; see ``RunCommand``."""
        by = self.worker.text if self.worker is not None else f"a reader on {gethostname()}"
        command = RunCommand(kind, by, trial=trial)
        with storage_errors(self.folder, self._url):
            write_command(self._study, command)
        if trial is None:
            self.command = command
        return command

    def recover(self) -> list[str]:
        with self.turn() as lines:
            return lines

    def _recover_others(self) -> list[str]:
        """Complete or give back what workers that have ended left, and return a line for each trial, once."""
        left = [t for t in self.trials if t.state is TrialState.INTERRUPTED]
        if not left:
            return []
        new = {(t.number, t.attempts) for t in left} - self._reported
        self._reported |= new
        lines = super().recover()
        return lines if new else []

    def tell(self, trial: Trial) -> Trial:
        """Store a trial that ended. Raises TrialEndedOutsideError if another worker has taken it over meanwhile."""
        # Without the lock, which other workers need to go on: whoever takes it over now finds it ended.
        with storage_errors(self.folder, self._url):
            if trial.number not in self._own:
                self._store.claim(trial, {})
            try:
                ended = super().tell(trial)
            except TrialTakenOverError:
                self._own.discard(trial.number)
                raise
        self._own.discard(trial.number)
        return ended

    def save_elapsed(self, seconds: float) -> None:
        """Do nothing: the heartbeats of the workers add up to the duration of a shared study."""

    def _started(self, trial: Trial) -> Trial:
        if trial.state is TrialState.RUNNING:
            self._own.add(trial.number)
        return super()._started(trial)

    def mark_interrupted(self) -> None:
        for number in self._own:
            self._trials[number] = self._trials[number].with_(state=TrialState.INTERRUPTED)

    def close(self) -> None:
        """Leave the study, and close the database's connections."""
        if self.worker is not None:
            # One after the other, so that of workers which end at the same time exactly one is the last.
            with contextlib.suppress(StudyError), storage_errors(self.folder, self._url), self._lock.held() as locked:
                self._edits_to_report += self._refresh(locked)
                self._table.leave(self.worker)
                self._others_go_on = None
        super().close()

    def others_go_on(self, notify: Callable[[str], None]) -> bool:
        """Return whether others go on: the last worker reports the end.

        Blocks until each other one has left, had a heartbeat, or counts as killed.
        """
        worker, polls = self.worker, 0
        assert worker is not None
        with self._reading_others:
            try:
                with storage_errors(self.folder, self._url):
                    while self._others_go_on is None:
                        self._others_go_on = self._table.others_worked_on(worker)
                        if self._others_go_on is None:
                            polls += 1
                            if polls == _OTHERS_QUIET:
                                notify("waiting for another worker's heartbeat, so that the last one reports the end")
                            time.sleep(_OTHERS_POLL_S)
            except StudyError:
                # Rather twice than not at all.
                self._others_go_on = False
            finally:
                self._engine.dispose()
            return self._others_go_on

    def _read(self, changed: ChangedTrial) -> Trial:
        if changed.number in self._own:
            return self._trials[changed.number]
        trial = self._store.of_change(changed)
        worker = worker_of(changed.attributes)[0]
        alive = worker in self._live and (self.worker is None or worker != self.worker.id)
        if trial.state is TrialState.INTERRUPTED and alive:
            return trial.with_(state=TrialState.RUNNING)
        return trial
