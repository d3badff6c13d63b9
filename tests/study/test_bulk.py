"""Trials that are added in one transaction: Optuna reads them as it reads those that it added itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune_nb.study._bulk import add_trials

SPREAD = {
    "low": FloatDistribution(0.001, 1, log=True),
    "count": IntDistribution(1, 9, step=2),
    "kind": CategoricalDistribution([None, "a", 1, True, 0.5]),
}


def ended(number: int) -> FrozenTrial:
    """Another one for each number: with values of every kind, failed ones without a value."""
    failed = number % 3 == 2
    return create_trial(
        state=TrialState.FAIL if failed else TrialState.COMPLETE,
        value=None if failed else (float("inf") if number == 1 else number / 7),
        params={"low": 0.5, "count": 3, "kind": [None, "a", 1, True, 0.5][number % 5]},
        distributions=SPREAD,
        user_attrs={"record": {"text": "größe 🚀", "deep": [1, {"a": None}]}, "baseline": True},
        system_attrs={"constraints:x": -0.5},
    )


def facts(trial: FrozenTrial) -> dict[str, object]:
    """Everything but what the database chose."""
    return {**vars(trial), "_trial_id": None}


@pytest.mark.parametrize("kept", [0, 3])
def test_optuna_reads_them_as_it_reads_its_own(tmp_path: Path, kept: int) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    trials = [ended(number) for number in range(12)]
    ours, theirs = (optuna.create_study(storage=url, study_name=name) for name in ("ours", "theirs"))
    for study in (ours, theirs):
        study.add_trials([ended(7)] * kept)
        # One that came between has taken an id of the database.
        optuna.load_study(storage=url, study_name="theirs" if study is ours else "ours").add_trial(ended(3))
    add_trials(ours, trials)
    theirs.add_trials(trials)
    read = [optuna.load_study(storage=url, study_name=name).trials for name in ("ours", "theirs")]
    assert [t.number for t in read[0]] == list(range(kept + 13))
    assert [facts(t) for t in read[0][-12:]] == [facts(t) for t in read[1][-12:]]
    assert [t.number for t in ours.trials] == [t.number for t in theirs.trials]
    assert isinstance(read[0][-1].datetime_start, datetime)
    assert ours.best_trial.number == theirs.best_trial.number


def test_where_one_is_wrong_none_is_added(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    wrong = ended(0)
    wrong.user_attrs = {"record": {1, 2}}
    with pytest.raises(TypeError):
        add_trials(study, [ended(0), wrong])
    add_trials(study, [])
    assert study.trials == []


def test_a_storage_that_is_no_database_gets_them_too() -> None:
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    add_trials(study, [ended(number) for number in range(3)])
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
