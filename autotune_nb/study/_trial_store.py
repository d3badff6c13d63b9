"""The trials of a study in Optuna's storage: starts them, ends them, and reads them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from autotune_nb.errors import StudyError
from autotune_nb.study._bulk import add_trials
from autotune_nb.study._optuna_trial import constraints_of, from_optuna, running_trial, to_optuna
from autotune_nb.study._stored_trial import (
    ATTEMPTS,
    BASELINE,
    ENDED_AT,
    REASON,
    RECORD,
    confirmation_of,
    fingerprint_key_of,
    worker_of,
)
from autotune_nb.study._study_attributes import read_fingerprints, write_fingerprint
from autotune_nb.study._trial_json import to_record
from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.task.optuna_space import decode, distributions
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.trial.score import Limit
from autotune_nb.trial.trial import Trial, TrialState


class TrialEndedOutsideError(StudyError):
    """Another program ended a running trial in the storage."""


class TrialTakenOverError(TrialEndedOutsideError):
    """Another worker of a shared study has taken over a trial, since this one seemed to be dead."""


class TrialStore:
    """Reads and writes the trials of one study; raises the errors of its storage."""

    #: The name of the worker that works on trials, in a shared study.
    worker_name = ""

    def __init__(self, study: optuna.Study, space: SearchSpace, limits: Sequence[Limit], location: str) -> None:
        self._study, self._space, self._limits, self._location = study, space, limits, location
        self._study_name = study.study_name
        self._distributions = distributions(space)
        #: The ids of trials in the storage by their numbers.
        self._ids: dict[int, int] = {}
        #: The fingerprints of trials by their keys.
        self.fingerprints: Mapping[str, Mapping[str, Any]] = read_fingerprints(study.user_attrs)

    def start(self, point: Point, attributes: Mapping[str, Any]) -> Trial:
        """Store a new running trial of a point, and return it; the baseline's point sets no parameter."""
        # At once and whole: Optuna's ``ask`` would sample, and write each parameter by itself.
        template = running_trial(point, self._space, self._distributions, attributes)
        return Trial(
            self._add(template),
            decode(self._space, template.params),
            baseline=BASELINE in attributes,
            reason=str(attributes.get(REASON, "")),
            confirmation=confirmation_of(attributes),
            worker=worker_of(attributes)[1],
        )

    def _add(self, template: FrozenTrial) -> int:
        storage = self._study._storage
        return storage.get_trial_number_from_id(storage.create_new_trial(self._study._study_id, template))

    def unfinished(self) -> list[FrozenTrial]:
        """Return the stored trials that did not end."""
        return self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING, OptunaState.WAITING))

    def fail(self, trial: Trial) -> None:
        """Store that a trial failed, without a record."""
        self._study.tell(trial.number, state=OptunaState.FAIL)

    def start_waiting(self) -> Trial:
        """Start the next trial that Optuna's own enqueueing left waiting, and return it as interrupted."""
        asked = self._study.ask(self._distributions)
        return Trial(asked.number, decode(self._space, asked.params), TrialState.INTERRUPTED, attempts=0)

    def restart(self, trial: Trial) -> Trial:
        """Store that another attempt at an interrupted trial starts, and return it as running."""
        attempts = trial.attempts + 1
        self.claim(trial, {ATTEMPTS: attempts})
        return Trial(
            trial.number,
            trial.params,
            baseline=trial.baseline,
            attempts=attempts,
            reason=trial.reason,
            confirmation=trial.confirmation,
            worker=self.worker_name,
        )

    def claim(self, trial: Trial, attributes: Mapping[str, Any]) -> None:
        """Store attributes of a trial that this process works on from now on."""
        for name, value in attributes.items():
            self._set(trial, name, value)

    def end(self, trial: Trial) -> None:
        """Store a trial that ended, its record first. Raises StudyError if another program changed the study."""
        with self._outside_changes():
            self._set(trial, RECORD, to_record(trial, self._fingerprint_of(trial)))
            self.finish(trial)

    def finish(self, trial: Trial) -> None:
        """Store the state, the value and the constraints of a trial whose record is stored."""
        if not trial.state.scored or trial.score is None:
            self._set_state(trial, OptunaState.FAIL)
            return
        values = list(trial.score.values.values())
        if constraints := constraints_of(trial.score, self._limits):
            optuna_trial = self._optuna_trial(trial)
            stored = optuna_trial.constraints
            for name, excess in constraints.items():
                if name not in stored:
                    optuna_trial.set_constraint(name, excess)
        if trial.state is TrialState.COMPLETE:
            self._set_state(trial, OptunaState.COMPLETE, values)
            return
        # Optuna's word for a trial that ended early: it is never the best, and keeps the value it had so far.
        optuna_trial = self._optuna_trial(trial)
        if len(values) == 1:  # Optuna refuses intermediate values of several objectives
            optuna_trial.report(trial.score.value, len(trial.measurements))
        self._study.tell(optuna_trial, state=OptunaState.PRUNED)

    def _set_state(self, trial: Trial, state: OptunaState, values: Sequence[float] | None = None) -> None:
        """Set the state of a running trial. Optuna's ``tell`` does the same, and reads the whole trial three times."""
        self._study._storage.set_trial_state_values(self.id_of(trial), state, values)

    def add(self, trials: Sequence[Trial]) -> None:
        """Store ended trials, numbered after the existing ones: all of them or, if it raises, none."""
        keys = [self._fingerprint_of(trial) for trial in trials]
        add_trials(
            self._study,
            [
                to_optuna(trial, key, self._space, self._distributions, self._limits)
                for trial, key in zip(trials, keys, strict=True)
            ],
        )

    def read(self, frozen: FrozenTrial) -> Trial:
        """Return a stored trial. Raises TypeError, ValueError or LookupError if it is damaged."""
        key = fingerprint_key_of(frozen.user_attrs)
        if key is not None and key not in self.fingerprints:
            self.fingerprints = read_fingerprints(self._study.user_attrs)
        return from_optuna(frozen, self._space, self.fingerprints)

    def has_parameters(self, frozen: FrozenTrial) -> bool:
        """Return whether every parameter of a stored trial is set."""
        return set(frozen.params) == set(self._distributions)

    def _fingerprint_of(self, trial: Trial) -> str:
        """Store the trial's fingerprint if it is new, and return its key."""
        key = fingerprint_key(trial.fingerprint)
        if key and key not in self.fingerprints:
            write_fingerprint(self._study, trial.fingerprint)
            self.fingerprints = {**self.fingerprints, key: dict(trial.fingerprint)}
        return key

    def _optuna_trial(self, trial: Trial) -> optuna.trial.Trial:
        return optuna.trial.Trial(self._study, self.id_of(trial))

    def id_of(self, trial: Trial) -> int:
        """Return the id of a trial in its storage."""
        if trial.number not in self._ids:
            find = self._study._storage.get_trial_id_from_study_id_trial_number
            self._ids[trial.number] = find(self._study._study_id, trial.number)
        return self._ids[trial.number]

    def _set(self, trial: Trial, name: str, value: Any) -> None:
        """Set a user attribute without reading the trial first, as Optuna's trials do."""
        self._study._storage.set_trial_user_attr(self.id_of(trial), name, value)

    @contextlib.contextmanager
    def _outside_changes(self) -> Iterator[None]:
        """Turn errors about a study or trial that another program changed into StudyError."""
        try:
            yield
        except optuna.exceptions.UpdateFinishedTrialError:
            raise TrialEndedOutsideError(
                f"another program ended it in {self._location}; its measurement is in results.json only"
            ) from None
        except KeyError:
            raise StudyError(
                f"another program deleted the study {self._study_name!r} from {self._location}; what was measured is "
                "in results.json"
            ) from None


def ended_at(frozen: FrozenTrial) -> float:
    """Return when a stored trial ended, in seconds since the epoch: in a shared study by the database's clock."""
    if (at := frozen.user_attrs.get(ENDED_AT)) is not None:
        return float(at)
    return math.inf if frozen.datetime_complete is None else frozen.datetime_complete.timestamp()
