"""Adding many ended trials to Optuna's tables in one transaction: ``optuna.Study.add_trials`` makes one a trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial
from sqlalchemy import func, insert, select


def add_trials(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Add trials that ended, numbered on from those that are there: all of them or, where it raises, none.

    Storages other than databases get them through Optuna, one by one.
    """
    backend = getattr(study._storage, "_backend", study._storage)
    if not isinstance(backend, RDBStorage):
        study.add_trials(trials)
        return
    for trial in trials:
        trial._validate()
    study_id = study._study_id
    with _create_scoped_session(backend.scoped_session) as session:
        # As Optuna does: who adds trials to a study waits for who does so already.
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        count = select(func.count(models.TrialModel.trial_id)).where(models.TrialModel.study_id == study_id)
        first = session.scalar(count) or 0
        own_rows = [
            models.TrialModel(
                study_id=study_id,
                number=number,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for number, trial in enumerate(trials, first)
        ]
        session.add_all(own_rows)
        # That gives them their ids.
        session.flush()
        identified = [(int(row.trial_id), trial) for row, trial in zip(own_rows, trials, strict=True)]
        for model, rows in _rows(identified).items():
            if rows:
                session.execute(insert(model), rows)


def _rows(trials: Sequence[tuple[int, FrozenTrial]]) -> dict[Any, list[dict[str, Any]]]:
    """The rows of trials by their ids, in the tables beside the trials' own."""
    told: dict[int, str] = {}
    return {
        models.TrialValueModel: [_value(id_, i, value) for id_, t in trials for i, value in enumerate(t.values or ())],
        models.TrialParamModel: [
            {
                "trial_id": id_,
                "param_name": name,
                "param_value": spread.to_internal_repr(t.params[name]),
                "distribution_json": told.setdefault(id(spread), distribution_to_json(spread)),
            }
            for id_, t in trials
            for name, spread in t.distributions.items()
        ],
        models.TrialUserAttributeModel: [_attribute(id_, *one) for id_, t in trials for one in t.user_attrs.items()],
        models.TrialSystemAttributeModel: [
            _attribute(id_, *one) for id_, t in trials for one in t.system_attrs.items()
        ],
    }


def _value(trial_id: int, objective: int, value: float) -> dict[str, Any]:
    kept, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial_id, "objective": objective, "value": kept, "value_type": kind}


def _attribute(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
