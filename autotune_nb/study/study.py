"""Ask and tell over one task; Optuna's storage is the one truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.study._bulk import add_trials
from autotune_nb.study._journal import (
    read_edits,
    read_elapsed,
    read_fingerprints,
    write_edit,
    write_elapsed,
    write_fingerprint,
)
from autotune_nb.study._next_trial import Order
from autotune_nb.study._opening import find, find_or_begin
from autotune_nb.study._optuna_trial import ATTEMPTS, BASELINE, ENQUEUED, RECORD, fingerprint_of, freeze, thaw
from autotune_nb.study._results_json import to_results
from autotune_nb.study._sampler import AllowedPointsSampler, base_sampler, decode, distributions, encode
from autotune_nb.study._storage import damage_errors, location, storage_errors
from autotune_nb.study._trial_json import to_record, without_secrets
from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.folder import StudyFolder
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState, best_trial

#: A configuration that was running at the end of so many processes is not tried again.
MAX_ATTEMPTS = 3


class Study:
    """One task's trials. Not thread-safe: one caller at a time, from any thread."""

    def __init__(
        self, task: Task, space: SearchSpace, folder: StudyFolder, study: optuna.Study, url: str | None = None
    ) -> None:
        """Raises StudyError where the storage holds something else than what was written."""
        self.task = task
        self.folder = folder
        self._where = location(folder, url)
        self._study = study
        self._distributions = distributions(space)
        self._trials: dict[int, Trial] = {}
        self._enqueued: dict[int, str] = {}
        self._order = Order(task, self._trials, self._enqueued, lambda: self.steering)
        with damage_errors(self._where), storage_errors():
            self.id = str(study.user_attrs["autotune_nb_id"])
            read_elapsed(study)
            #: What people's edits come to; replaced as a whole, so that it may be read from any thread.
            self.steering = Steering(task, space, read_edits(study))
            self._fingerprints = read_fingerprints(study)
        self.reload()

    @classmethod
    def open(cls, task: Task, space: SearchSpace, folder: StudyFolder, *, storage: str | None = None) -> Study:
        """Open or begin the study of a task. The folder must be acquired.

        Raises StudyMismatchError where the folder holds another task's study, StudyError where the storage cannot be
        reached.
        """
        sampler = base_sampler(task.strategy, task.num_trials)
        study, url = find_or_begin(task, folder, storage)
        self = cls(task, space, folder, study, url)
        study.sampler = AllowedPointsSampler(sampler, lambda: self.space, self._order.tried, task.strategy.seed)
        return self

    @classmethod
    def view(cls, task: Task, space: SearchSpace, folder: StudyFolder, *, storage: str | None = None) -> Study:
        """Look at a study without working on it. Raises StudyNotFoundError or StudyError."""
        study, url = find(folder, storage)
        return cls(task, space, folder, study, url)

    @property
    def label(self) -> str:
        """What marks this study's processes: a copy of its folder marks its own."""
        return self.folder.label(self.id)

    @property
    def space(self) -> SearchSpace:
        """The task's space, as far as people's edits leave it."""
        return self.steering.space

    @property
    def begun(self) -> dict[str, int]:
        """The enqueued configurations that are being tried or were, as the number of the trial by the edit's id."""
        return self._order.begun

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to ask for, however large the budget."""
        return self._order.exhausted

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial so far, by number."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    @property
    def best(self) -> Trial | None:
        """The best trial that keeps every limit; None where there is none."""
        return best_trial(self.trials, self.task.goal)

    @property
    def num_finished(self) -> int:
        """Trials that count against the budget: complete and failed ones."""
        return sum(1 for trial in self._trials.values() if trial.state.finished)

    @property
    def num_since_best(self) -> int:
        """Finished trials after the best one."""
        best = self.best
        return sum(1 for t in self._trials.values() if t.state.finished and best is not None and t.number > best.number)

    @property
    def elapsed_s(self) -> float:
        """Seconds that earlier runs of this study took."""
        with damage_errors(self._where):
            return read_elapsed(self._study)

    def keep_elapsed(self, seconds: float) -> None:
        """Keep how many seconds all runs took together."""
        with storage_errors():
            write_elapsed(self._study, seconds)

    def ask(self) -> Trial | None:
        """The next configuration to try, on record as running; None once there is none left.

        First come those that an earlier process left unfinished, under their own number, then the baseline, then
        what was enqueued, then the sampler's.
        """
        with storage_errors():
            left = self._order.interrupted()
            if left is not None:
                return self._take_up(left)
            if self._order.wants_baseline:
                return self._begin(self._study.ask(), baseline=True)
            wanted = self._order.enqueued()
            if wanted is not None:
                trial = self._begin_at(wanted[1], {ENQUEUED: wanted[0]})
                self._enqueued[trial.number] = wanted[0]
                return trial
            point = self._order.of_grid()
            if point is not None:
                return self._begin_at(point, {})
            if self.task.strategy.sampler == "grid" or self._order.all_tried():
                return None
            return self._begin(self._study.ask(self._distributions))

    def steer(self, edit: Edit) -> None:
        """Keep an edit; it counts from the next ``ask`` on. Raises TaskError where it is wrong, StudyError."""
        edit = self.steering.last(edit)
        steering = self.steering.with_(edit)
        with storage_errors():
            write_edit(self._study, edit)
        self._steered(steering)

    def take_edits(self) -> list[Edit]:
        """The edits that other processes have made since, the earliest first; they count from now on."""
        known = {edit.id for edit in self.steering.edits}
        with storage_errors():
            new = [edit for edit in read_edits(self._study) if edit.id not in known]
        if new:
            self._steered(Steering(self.task, self.steering.whole, (*self.steering.edits, *new)))
        return [edit for edit in self.steering.edits if edit.id not in known]

    def _steered(self, steering: Steering) -> None:
        self.steering = steering
        self._order.restart_grid()

    def tell(self, trial: Trial) -> Trial:
        """Keep a trial that ended, and return it as it is kept.

        Its record is written first: a crash in between loses nothing. One whose score is not finite is kept as failed.
        """
        strange = [f"{k} = {v}" for k, v in _numbers(trial.score).items() if not math.isfinite(v)]
        if strange:
            failure = Failure(FailureKind.MEASUREMENT, "benchmark", f"no finite number: {', '.join(strange)}")
            trial = trial.with_(state=TrialState.FAILED, score=None, failure=failure)
        trial = without_secrets(trial)
        with storage_errors():
            ours = optuna.trial.Trial(self._study, self._trial_id(trial.number))
            ours.set_user_attr(RECORD, to_record(trial, self._keep_fingerprint(trial)))
            self._close(ours, trial)
        self._trials[trial.number] = trial
        return trial

    def add(self, trials: Sequence[Trial]) -> None:
        """Keep trials that were measured elsewhere; they are numbered on from those that are there."""
        trials = [without_secrets(trial) for trial in trials]
        with storage_errors():
            keys = [self._keep_fingerprint(trial) for trial in trials]
            add_trials(
                self._study,
                [freeze(t, key, self.space, self._distributions) for t, key in zip(trials, keys, strict=True)],
            )
        self._trials.update((trial.number, trial) for trial in trials)

    def _keep_fingerprint(self, trial: Trial) -> str:
        """Its fingerprint's key; the fingerprint itself is kept once."""
        key = fingerprint_key(trial.fingerprint)
        if key and key not in self._fingerprints:
            write_fingerprint(self._study, trial.fingerprint)
            self._fingerprints[key] = dict(trial.fingerprint)
        return key

    def results(self, *, state: str, elapsed_s: float, command: str | None) -> dict[str, Any]:
        """The whole study, as ``results.json`` and ``--json`` have it."""
        return to_results(
            self.folder.path,
            self.task,
            self.trials,
            self.begun,
            self.steering.edits,
            state=state,
            elapsed_s=elapsed_s,
            command=command,
        )

    def close(self) -> None:
        """Give the database's connections back; what is in memory can still be read."""
        storage = self._study._storage
        with storage_errors():
            storage.remove_session()
            engine = getattr(getattr(storage, "_backend", storage), "engine", None)
            if engine is not None:
                engine.dispose()

    def mark_interrupted(self) -> None:
        """What is on record as running is not any more: the next run takes it up."""
        for number, trial in self._trials.items():
            if trial.state is TrialState.RUNNING:
                self._trials[number] = trial.with_(state=TrialState.INTERRUPTED)

    def reload(self) -> None:
        """Read the trials that ended, or were begun, since the last time."""
        with damage_errors(self._where), storage_errors():
            for one in self._study.get_trials(deepcopy=False):
                known = self._trials.get(one.number)
                if known is None or not (known.state.finished or known.state is TrialState.STOPPED):
                    self._trials[one.number] = self._thaw(one)
                if ENQUEUED in one.user_attrs:
                    self._enqueued[one.number] = one.user_attrs[ENQUEUED]

    def _thaw(self, frozen: optuna.trial.FrozenTrial) -> Trial:
        key = fingerprint_of(frozen)
        if key is not None and key not in self._fingerprints:
            self._fingerprints = read_fingerprints(self._study)
        return thaw(frozen, self.space, self._fingerprints)

    def settle(self) -> list[str]:
        """Bring what an earlier process left between two steps to its end; one line for each.

        Called once by the process that works on the study, before its first ask.
        """
        lines = []
        with storage_errors():
            for frozen in self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING, OptunaState.WAITING)):
                if frozen.state is OptunaState.WAITING:
                    asked = self._study.ask(self._distributions)
                    point = decode(self.space, asked.params)
                    self._trials[asked.number] = Trial(asked.number, point, TrialState.INTERRUPTED, attempts=0)
                    continue
                trial = self._trials[frozen.number]
                ours = optuna.trial.Trial(self._study, frozen._trial_id)
                if RECORD in frozen.user_attrs:
                    self._close(ours, trial)
                    lines.append(f"trial {trial.number} had ended and is kept")
                elif not trial.baseline and set(frozen.params) != set(self._distributions):
                    self._study.tell(ours, state=OptunaState.FAIL)
                    failure = Failure(FailureKind.INTERRUPTED, "ask", "the process ended before it had parameters")
                    self._trials[trial.number] = trial.with_(state=TrialState.STOPPED, failure=failure)
                elif trial.attempts >= MAX_ATTEMPTS:
                    message = f"the process ended {trial.attempts} times while this configuration was tried"
                    failure = Failure(FailureKind.INTERRUPTED, "benchmark", message)
                    self.tell(trial.with_(state=TrialState.FAILED, failure=failure))
                    lines.append(f"trial {trial.number} is given up: {message}")
                elif self._order.may_go_on(trial):
                    lines.append(f"trial {trial.number} was interrupted and is tried again")
                else:
                    lines.append(f"trial {trial.number} was interrupted and waits: an edit leaves it out")
        return lines

    def _take_up(self, left: Trial) -> Trial:
        ours = optuna.trial.Trial(self._study, self._trial_id(left.number))
        ours.set_user_attr(ATTEMPTS, left.attempts + 1)
        trial = Trial(left.number, left.params, baseline=left.baseline, attempts=left.attempts + 1)
        self._trials[trial.number] = trial
        return trial

    def _begin_at(self, point: Point, attributes: dict[str, Any]) -> Trial:
        self._study.enqueue_trial(encode(self.space, point), user_attrs=attributes)
        return self._begin(self._study.ask(self._distributions))

    def _begin(self, ours: optuna.trial.Trial, *, baseline: bool = False) -> Trial:
        if baseline:
            ours.set_user_attr(BASELINE, True)
        trial = Trial(ours.number, decode(self.space, ours.params), baseline=baseline)
        self._trials[trial.number] = trial
        return trial

    def _close(self, ours: optuna.trial.Trial, trial: Trial) -> None:
        if trial.state is not TrialState.COMPLETE or trial.score is None:
            self._study.tell(ours, state=OptunaState.FAIL)
            return
        kept = ours.constraints
        for name, violation in trial.score.limits.items():
            if name not in kept:
                ours.set_constraint(name, violation)
        self._study.tell(ours, trial.score.value)

    def _trial_id(self, number: int) -> int:
        return int(self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))


def _numbers(score: Score | None) -> dict[str, float]:
    return {**score.values, **score.limits} if score is not None else {}
