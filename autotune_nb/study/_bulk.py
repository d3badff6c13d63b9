"""Adds trials to Optuna's tables in one transaction, which is not repeated; ``optuna.Study.add_trials`` uses many."""

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
    """Add finished trials, numbered after the existing ones: all of them or, if it raises, none.

    In storages other than databases, Optuna adds them one by one.
    """
    backend = getattr(study._storage, "_backend", study._storage)
    if not isinstance(backend, RDBStorage):
        study.add_trials(trials)
        return
    for trial in trials:
        trial._validate()
    _insert(backend, study._study_id, trials)


def _insert(backend: RDBStorage, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    with _create_scoped_session(backend.scoped_session) as session:
        # Locks the study's row as Optuna does: two processes add trials one after the other.
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
        count = select(func.count(models.TrialModel.trial_id)).where(models.TrialModel.study_id == study_id)
        first = session.scalar(count) or 0
        trial_rows = [
            models.TrialModel(
                study_id=study_id,
                number=number,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for number, trial in enumerate(trials, first)
        ]
        session.add_all(trial_rows)
        # Assigns their ids.
        session.flush()
        identified = [(int(row.trial_id), trial) for row, trial in zip(trial_rows, trials, strict=True)]
        for model, rows in rows_of(identified).items():
            if rows:
                session.execute(insert(model), rows)


def rows_of(trials: Sequence[tuple[int, FrozenTrial]]) -> dict[Any, list[dict[str, Any]]]:
    """Return the rows of trials in the other tables, by table."""
    # Trials share their distributions: each is converted once.
    distributions = {id(one): one for _, trial in trials for one in trial.distributions.values()}
    distribution_texts = {key: distribution_to_json(one) for key, one in distributions.items()}
    return {
        models.TrialValueModel: [_value(id_, i, value) for id_, t in trials for i, value in enumerate(t.values or ())],
        models.TrialParamModel: [
            {
                "trial_id": id_,
                "param_name": name,
                "param_value": distribution.to_internal_repr(t.params[name]),
                "distribution_json": distribution_texts[id(distribution)],
            }
            for id_, t in trials
            for name, distribution in t.distributions.items()
        ],
        models.TrialUserAttributeModel: [_attribute(id_, *one) for id_, t in trials for one in t.user_attrs.items()],
        models.TrialSystemAttributeModel: [
            _attribute(id_, *one) for id_, t in trials for one in t.system_attrs.items()
        ],
    }


def _value(trial_id: int, objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}


def _attribute(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
