"""The trials of a shared study: what a worker starts, takes over and ends, each in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from autotune_nb.study._optuna_trial import to_optuna
from autotune_nb.study._shared_tables import ChangedTrial, Changes, SharedTables
from autotune_nb.study._stored_trial import RECORD, WORKER, stored_trial
from autotune_nb.study._study_attributes import read_fingerprints
from autotune_nb.study._study_lock import StudyLock
from autotune_nb.study._trial_store import TrialStore, TrialTakenOverError
from autotune_nb.study.worker import Worker
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.trial.score import Limit
from autotune_nb.trial.trial import Trial


class SharedTrialStore(TrialStore):
    """Reads and writes the trials of one study; ``worker``, None for a reader, is the one that works on them."""

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        limits: Sequence[Limit],
        location: str,
        engine: sqlalchemy.Engine,
        lock: StudyLock,
    ) -> None:
        super().__init__(study, space, limits, location)
        self.worker: Worker | None = None
        self._engine, self._lock = engine, lock
        self._tables = SharedTables(study._study_id, space)

    def changes(self, connection: sqlalchemy.Connection) -> Changes:
        """Return what is new or may have changed since the last call, and all attributes of the study."""
        changes = self._tables.changes(connection)
        self._ids.update((one.number, one.id) for one in changes.trials)
        self.fingerprints = read_fingerprints(changes.attributes)
        return changes

    def of_change(self, changed: ChangedTrial) -> Trial:
        """Return a trial that was read. Raises TypeError, ValueError or LookupError if it is damaged."""
        number, params, attributes = changed.number, changed.params, changed.attributes
        return stored_trial(number, params, attributes, self.fingerprints, ended=changed.ended)

    def start(self, point: Point, attributes: Mapping[str, Any]) -> Trial:
        """Store a new running trial of a point, and return it. It ends the turn, so that others go on at once."""
        return super().start(point, {**attributes, **self._own_attributes()})

    def _add(self, template: FrozenTrial) -> int:
        with self._lock.held() as connection:
            # Not repeated, as Optuna would: if only the response to a commit is lost, that adds a trial twice.
            id_, number = self._tables.start(connection, template)
            self._lock.commit()
        self._ids[number] = id_
        return number

    @property
    def worker_name(self) -> str:  # type: ignore[override]
        return "" if self.worker is None else self.worker.name

    def claim(self, trial: Trial, attributes: Mapping[str, Any]) -> None:
        """Store that this worker works on a trial from now on. Raises TrialEndedOutsideError if it has ended."""
        self._lock.require()
        with self._outside_changes():
            with self._engine.begin() as connection:
                claimed = {**attributes, **self._own_attributes()}
                unfinished = self._tables.claim(connection, self.id_of(trial), claimed)
            if not unfinished:
                raise UpdateFinishedTrialError

    def end(self, trial: Trial) -> None:
        """Store a trial that ended, at once and whole.

        Raises TrialTakenOverError if it is another worker's by now, TrialEndedOutsideError if it had ended.
        """
        own = self.worker.id if self.worker is not None else ""
        with self._outside_changes():
            ended = to_optuna(trial, self._fingerprint_of(trial), self._space, self._distributions, self._limits)
            id_ = self.id_of(trial)
            with self._engine.begin() as connection:
                if self._tables.lock(connection, id_) in ("RUNNING", "WAITING"):
                    stored = self._tables.end(connection, id_, ended, own)
                else:
                    stored = self._has_ended(connection, id_, ended, own)
        if not stored:
            raise TrialTakenOverError(
                f"this worker had no heartbeat for so long that another one has taken it over, in {self._location}; "
                "its measurement is not used"
            )

    def _has_ended(self, connection: sqlalchemy.Connection, trial_id: int, trial: FrozenTrial, own: str) -> bool:
        """Return whether this worker has ended a trial in the same way: the response to the commit may be lost.

        Raises UpdateFinishedTrialError if another program has ended it.
        """
        worker = json.loads(self._tables.attribute(connection, trial_id, WORKER) or '[""]')[0]
        if worker != own:
            return False
        if self._tables.attribute(connection, trial_id, RECORD) != json.dumps(trial.user_attrs[RECORD]):
            raise UpdateFinishedTrialError
        return True

    def _own_attributes(self) -> dict[str, Any]:
        return {} if self.worker is None else {WORKER: [self.worker.id, self.worker.name]}
