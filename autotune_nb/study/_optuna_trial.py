"""Conversion of trials to Optuna's and back: the point is encoded, everything else is in user attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from autotune_nb.study._stored_trial import BASELINE, CONFIRMATION, REASON, RECORD, stored_trial
from autotune_nb.study._trial_json import to_record
from autotune_nb.task.optuna_space import decode, encode
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.trial.score import Limit, Score
from autotune_nb.trial.trial import Trial, TrialState


def constraints_of(score: Score, limits: Iterable[Limit]) -> dict[str, float]:
    """Return Optuna's constraints: how far each limit is broken, as a share of its bound.

    Samplers and charts add them up, which makes sense only without units.
    """
    bounds = {str(limit): abs(limit.bound) or 1.0 for limit in limits}
    return {name: violation / bounds.get(name, 1.0) for name, violation in score.limits.items()}


def running_trial(
    point: Point,
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution],
    attributes: Mapping[str, Any],
) -> FrozenTrial:
    """Return a new trial of a point as Optuna's FrozenTrial; the baseline's point sets no parameter."""
    return optuna.trial.create_trial(
        state=OptunaState.RUNNING,
        params=encode(space, point),
        distributions={name: distributions[name] for name in point},
        user_attrs=dict(attributes),
    )


def to_optuna(
    trial: Trial,
    fingerprint: str,
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution],
    limits: Iterable[Limit],
) -> FrozenTrial:
    """Return a finished trial as Optuna's FrozenTrial, its fingerprint by key."""
    scored = trial.state.scored and trial.score is not None
    cut = trial.state is TrialState.CUT
    # Optuna's word for a trial that ended early: it is never the best, and keeps the value it had so far.
    state = OptunaState.PRUNED if cut else OptunaState.COMPLETE
    # Optuna refuses intermediate values of several objectives.
    reported = cut and trial.score is not None and len(trial.score.values) == 1
    return optuna.trial.create_trial(
        state=state if scored else OptunaState.FAIL,
        values=list(trial.score.values.values()) if scored and trial.score else None,
        intermediate_values={len(trial.measurements): trial.score.value} if reported and trial.score else None,
        params=encode(space, dict(trial.params)),
        distributions={name: distributions[name] for name in trial.params},
        user_attrs={
            RECORD: to_record(trial, fingerprint),
            **({BASELINE: True} if trial.baseline else {}),
            **({REASON: trial.reason} if trial.reason else {}),
            **({CONFIRMATION: list(trial.confirmation)} if trial.confirmation is not None else {}),
        },
        constraints=constraints_of(trial.score, limits) if scored and trial.score else None,
    )


def from_optuna(frozen: FrozenTrial, space: SearchSpace, fingerprints: Mapping[str, Mapping[str, Any]]) -> Trial:
    """Return the trial of an Optuna FrozenTrial; one that is stored as running is interrupted.

    Raises TypeError, ValueError or LookupError if it is damaged.
    """
    point = decode(space, frozen.params)
    return stored_trial(frozen.number, point, frozen.user_attrs, fingerprints, ended=frozen.state.is_finished())
