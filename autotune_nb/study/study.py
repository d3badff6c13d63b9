"""Ask and tell for one task; Optuna's storage is the source of truth."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna

from autotune_nb.errors import StudyError
from autotune_nb.secrets.scrubbing import scrub_data
from autotune_nb.study._dashboard_note import merged_edits, stored_edits, write_dashboard_note
from autotune_nb.study._database_file import damage_errors, location
from autotune_nb.study._loading import load, load_or_create
from autotune_nb.study._next_trial import TrialOrder
from autotune_nb.study._notes import TrialNote
from autotune_nb.study._recovery import MAX_ATTEMPTS, recover, unstored
from autotune_nb.study._results_json import to_results
from autotune_nb.study._storage import close_storage, storage_errors
from autotune_nb.study._stored_study import LastRun, StoredStudy
from autotune_nb.study._stored_trial import BASELINE, ENQUEUED, REASON, confirmation_attributes
from autotune_nb.study._study_attributes import (
    read_elapsed,
    read_end_reason,
    read_run,
    write_edit,
    write_elapsed,
    write_end_reason,
    write_run,
)
from autotune_nb.study._trial_json import to_record, with_finite_score, without_secrets
from autotune_nb.study._trial_store import TrialEndedOutsideError, TrialStore, TrialTakenOverError, ended_at
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.study.storage_url import is_shared
from autotune_nb.study.worker import Worker
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import ConfirmationStart, chosen_configuration, next_start, start_before_search

__all__ = ["MAX_ATTEMPTS", "Propose", "Study", "TrialEndedOutsideError"]

#: Returns the next configuration of a space after these trials and the reason for it; None if none is left.
Propose = Callable[[SearchSpace, Sequence[Trial]], tuple[Point, str] | None]


class Study:
    """One task's trials. Not thread-safe: one caller at a time, from any thread."""

    #: The workers of a shared study that are alive, and the one of this process; None in a study of one process.
    workers: tuple[Worker, ...] | None = None
    worker: Worker | None = None

    def __init__(
        self,
        task: Task,
        space: SearchSpace,
        folder: StudyFolder,
        study: optuna.Study,
        url: str | None = None,
        propose: Propose | None = None,
    ) -> None:
        """Raises StudyError if the storage is damaged."""
        self.task = task
        self.folder = folder
        self._url = url
        self._propose = propose
        self._location = location(folder, url)
        self._study = study
        self._trials: dict[int, Trial] = {}
        #: The numbers of the finished trials, in the order in which they ended.
        self._ended: list[int] = []
        self._enqueued: dict[int, str] = {}
        self._order = TrialOrder(task, self._trials, self._enqueued, lambda: self.steering)
        self._last_run: LastRun | None = None
        with damage_errors(self._location), storage_errors(self.folder, self._url):
            self.id = str(study.user_attrs["autotune_nb_id"])
            read_elapsed(study.user_attrs)
            #: The effect of all edits; replaced as a whole, so that it may be read from any thread.
            self.steering = Steering(task, space, stored_edits(study))
            self._store = self._new_store(study, space)
        self.reload()

    @classmethod
    def open(
        cls,
        task: Task,
        space: SearchSpace,
        folder: StudyFolder,
        *,
        storage: str | None = None,
        propose: Propose | None = None,
        worker: Worker | None = None,
    ) -> Study:
        """Open or create the study of a task. The folder must be acquired.

        ``propose`` is asked for the next configuration; without it, only a grid has one. In a shared storage it becomes
        one of the study's workers, as ``worker``.

        Raises StudyMismatchError if the folder holds another task's study, StudyError if the storage cannot be
        reached.
        """
        study, url = load_or_create(task, folder, storage)
        if is_shared(url):
            from autotune_nb.study.shared_study import SharedStudy

            return SharedStudy.join(task, space, folder, study, url, propose, worker)
        return cls(task, space, folder, study, url, propose)

    @classmethod
    def view(cls, task: Task, space: SearchSpace, folder: StudyFolder, *, storage: str | None = None) -> Study:
        """Open a study for reading. Raises StudyNotFoundError or StudyError."""
        study, url = load(folder, storage)
        if is_shared(url):
            from autotune_nb.study.shared_study import SharedStudy

            return SharedStudy(task, space, folder, study, url)
        return cls(task, space, folder, study, url)

    @property
    def label(self) -> str:
        """The label of this study's processes and objects; a copy of its folder has another one."""
        return self.folder.label(self.id)

    @property
    def own_running(self) -> frozenset[int]:
        """The numbers of the trials that this process runs."""
        return frozenset(t.number for t in self._trials.values() if t.state is TrialState.RUNNING)

    @property
    def space(self) -> SearchSpace:
        """The task's space as restricted by edits."""
        return self.steering.space

    @property
    def trial_numbers_by_edit(self) -> dict[str, int]:
        """The trial number of each enqueued configuration that has a trial, by the id of its edit."""
        return self._order.trial_numbers_by_edit

    @property
    def exhausted(self) -> bool:
        """Whether no configuration is left to try, however large the budget."""
        return self._order.exhausted

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, ordered by number."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    @property
    def stored(self) -> StoredStudy:
        """The study as it was stored at the last ``reload`` and ``apply_new_edits``."""
        return StoredStudy(
            trials=self.trials,
            steering=self.steering,
            trial_numbers_by_edit=self.trial_numbers_by_edit,
            elapsed_s=self.elapsed_s,
            end_reason=self.end_reason,
            last_run=self._last_run,
        )

    @property
    def best(self) -> Trial | None:
        """The trial of the configuration to run; None if no trial keeps every limit."""
        found = chosen_configuration(self.trials, self.task.goal, self.task.confirmation)
        return None if found is None else found.trial

    @property
    def num_finished(self) -> int:
        """The number of trials that count against the budget: complete and failed ones of the search."""
        return sum(1 for t in self._trials.values() if t.state.finished and t.confirmation is None)

    @property
    def ended(self) -> tuple[Trial, ...]:
        """The finished trials, in the order in which they ended."""
        return tuple(self._trials[number] for number in self._ended)

    @property
    def elapsed_s(self) -> float:
        """The total duration of the study's previous runs in seconds."""
        with damage_errors(self._location):
            return read_elapsed(self._study.user_attrs)

    def save_elapsed(self, seconds: float) -> None:
        """Store the total duration of all runs in seconds."""
        with storage_errors(self.folder, self._url):
            write_elapsed(self._study, seconds)

    def save_run(self, results: Mapping[str, Any]) -> None:
        """Store what only the run of ``results`` can compute: its duration, its state, the best trial's command line.

        Raises StudyError.
        """
        run = LastRun.from_dict(scrub_data({name: results[name] for name in ("state", "best")}))
        try:
            self.save_elapsed(results["elapsed_s"])
            if run != self._last_run:
                with storage_errors(self.folder, self._url):
                    write_run(self._study, run)
        except KeyError:
            raise StudyError(f"another program deleted the study from {self._location}") from None
        self._last_run = run

    def save_end_reason(self, reason: str) -> None:
        """Store in words why a run ended by itself."""
        with storage_errors(self.folder, self._url):
            write_end_reason(self._study, reason)
        self.end_reason = reason

    def ask(self) -> Trial | None:
        """Return the next trial, stored as running; None if no configuration is left.

        Trials that a previous process left unfinished come first, under their own number, then the baseline (twice if
        there is a confirmation), then enqueued configurations, then those of the strategy.
        """
        with storage_errors(self.folder, self._url):
            interrupted = self._order.next_interrupted()
            if interrupted is not None:
                return self._started(self._store.restart(interrupted))
            if self._order.needs_baseline:
                return self._started(self._store.start({}, {BASELINE: True}))
            before = start_before_search(self.trials) if self.task.confirmation is not None else None
            if before is not None:
                return self._start_confirmation(before)
            enqueued = self._order.next_enqueued()
            if enqueued is not None:
                edit_id, point = enqueued
                trial = self._started(self._store.start(point, self._order.enqueued_attributes(edit_id)))
                self._enqueued[trial.number] = edit_id
                return trial
            grid_point = self._order.next_grid_point()
            if grid_point is not None:
                return self._started(self._store.start(grid_point, {}))
            if self.task.strategy.sampler == "grid" or self._propose is None or self._order.all_tried():
                return None
            proposal = self._propose(self.space, self.trials)
            return None if proposal is None else self._started(self._store.start(proposal[0], {REASON: proposal[1]}))

    def _started(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        return trial

    def ask_default(self) -> Trial:
        """Return a trial of the engine's default configuration, stored as running, whether or not it was measured."""
        with storage_errors(self.folder, self._url):
            reason = "measured again, to find drift of the machine"
            return self._started(self._store.start({}, {BASELINE: True, REASON: reason}))

    @property
    def next_confirmation(self) -> ConfirmationStart | None:
        """The next start of the confirmation, which follows the search; None if its answer is clear, or without one."""
        rules = self.task.confirmation
        return None if rules is None else next_start(self.trials, self.task.goal, rules)

    def ask_confirmation(self) -> Trial | None:
        """Return the trial of the next start of the confirmation, stored as running; None if there is none."""
        start = self.next_confirmation
        return None if start is None else self._start_confirmation(start)

    def _start_confirmation(self, start: ConfirmationStart) -> Trial:
        with storage_errors(self.folder, self._url):
            return self._started(self._store.start(dict(start.params or {}), confirmation_attributes(start)))

    def steer(self, edit: Edit) -> None:
        """Store an edit, which applies from the next ``ask`` on. Raises TaskError if it is invalid, StudyError."""
        edit = self.steering.with_latest_time(edit)
        steering = self.steering.with_(edit)
        with storage_errors(self.folder, self._url):
            if edit.noted_trial is not None:  # before the edit: what differs there is newer than the study's notes
                write_dashboard_note(self._study, edit.noted_trial, steering.notes.get(edit.noted_trial, TrialNote()))
            write_edit(self._study, edit)
        self._apply(steering)

    def apply_new_edits(self) -> list[Edit]:
        """Apply the edits that others, optuna-dashboard too, have stored since, and return them, oldest first."""
        with storage_errors(self.folder, self._url):
            return self._apply_edits(stored_edits(self._study))

    def _apply_edits(self, stored: Sequence[Edit]) -> list[Edit]:
        known = {edit.id for edit in self.steering.edits}
        edits = merged_edits(self.steering.edits, stored)
        if {edit.id for edit in edits} != known:
            self._apply(Steering(self.task, self.steering.full_space, edits))
        return [edit for edit in self.steering.edits if edit.id not in known]

    def _apply(self, steering: Steering) -> None:
        self.steering = steering
        self._order.restart_grid()

    def tell(self, trial: Trial) -> Trial:
        """Store a trial that ended, and return it as stored.

        Its record is written first, so that a crash in between loses nothing. A trial whose score is not finite is
        stored as failed.
        """
        trial = without_secrets(with_finite_score(trial))
        try:
            with storage_errors(self.folder, self._url):
                self._store.end(trial)
        except StudyError as error:
            if not isinstance(error, TrialTakenOverError):
                self._keep(trial)  # results.json has it even if the storage refuses it
                with contextlib.suppress(StudyError):
                    self.folder.write(unstored(trial.number), to_record(trial, trial.fingerprint))
            raise
        self._keep(trial)
        self.folder.delete(unstored(trial.number))
        return trial

    def _keep(self, *trials: Trial) -> None:
        """Keep trials, and the order in which those that finished did so."""
        self._trials.update((trial.number, trial) for trial in trials)
        known = set(self._ended)
        self._ended += [trial.number for trial in trials if trial.state.finished and trial.number not in known]

    def add(self, trials: Sequence[Trial]) -> None:
        """Store trials that were measured outside the study, numbered after the existing ones."""
        trials = [without_secrets(trial) for trial in trials]
        with storage_errors(self.folder, self._url):
            self._store.add(trials)
        self._keep(*trials)

    def results(
        self, *, state: str, elapsed_s: float, command: Callable[[Trial], str | None] = lambda _best: None
    ) -> dict[str, Any]:
        """Return the whole study as written to ``results.json`` and printed by ``--json``.

        ``command`` returns the command line of the best trial.
        """
        return to_results(
            self.folder.path,
            self.task,
            self.trials,
            self.trial_numbers_by_edit,
            self.steering.edits,
            state=state,
            elapsed_s=elapsed_s,
            end_reason=self.end_reason,
            command=command,
        )

    def close(self) -> None:
        """Close the database's connections; what is in memory can still be read."""
        with storage_errors(self.folder, self._url):
            close_storage(self._study._storage)

    def others_go_on(self, notify: Callable[[str], None]) -> bool:
        """Return whether others of a shared study go on after this one was closed; may block, and then ``notify``."""
        return False

    def mark_interrupted(self) -> None:
        """Set running trials to interrupted: the next run resumes them."""
        for number, trial in self._trials.items():
            if trial.state is TrialState.RUNNING:
                self._trials[number] = trial.with_(state=TrialState.INTERRUPTED)

    def reload(self) -> None:
        """Read the trials that were started or ended since the last call."""
        with damage_errors(self._location), storage_errors(self.folder, self._url):
            attributes = self._study.user_attrs
            #: Why the last run ended by itself; empty if none did.
            self.end_reason, self._last_run = read_end_reason(attributes), read_run(attributes)
            stored = self._study.get_trials(deepcopy=False)
            for frozen in stored:
                known = self._trials.get(frozen.number)
                if known is None or not (known.state.finished or known.state is TrialState.STOPPED):
                    self._trials[frozen.number] = self._store.read(frozen)
                if ENQUEUED in frozen.user_attrs:
                    self._enqueued[frozen.number] = frozen.user_attrs[ENQUEUED]
            stored.sort(key=ended_at)
            self._keep(*(self._trials[frozen.number] for frozen in stored))

    def recover(self) -> list[str]:
        """Complete or resume the trials that a previous process left unfinished, and return a line for each.

        The process that runs the study calls it once, before its first ``ask``.
        """
        with storage_errors(self.folder, self._url):
            return recover(
                self._store,
                self._trials,
                kept=lambda number: self.folder.read(unstored(number)),
                may_resume=self._order.may_resume,
                started=self._started,
                tell=self.tell,
            )

    def _new_store(self, study: optuna.Study, space: SearchSpace) -> TrialStore:
        return TrialStore(study, space, self.task.goal.limits, self._location)

    @contextlib.contextmanager
    def turn(self) -> Iterator[list[str]]:
        """Choose the next trial in the body; in a shared study no other worker does so meanwhile.

        Yields a line for each trial of a worker that has ended.
        """
        yield []
