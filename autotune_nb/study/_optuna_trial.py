"""A trial as Optuna keeps it, there and back: its point encoded, the rest in attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.study._sampler import decode, encode
from autotune_nb.study._trial_json import require_sound, to_record, with_record
from autotune_nb.task.space import SearchSpace
from autotune_nb.trial.trial import Trial, TrialState

RECORD, ATTEMPTS, BASELINE, ENQUEUED = "record", "attempts", "baseline", "enqueued"


def freeze(
    trial: Trial, fingerprint: str, space: SearchSpace, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    """A trial that ended, for Optuna to add; its fingerprint by key."""
    complete = trial.state is TrialState.COMPLETE and trial.score is not None
    limits = trial.score.limits if complete and trial.score else {}
    return optuna.trial.create_trial(
        state=OptunaState.COMPLETE if complete else OptunaState.FAIL,
        value=trial.score.value if complete and trial.score else None,
        params=encode(space, dict(trial.params)),
        distributions={name: distributions[name] for name in trial.params},
        user_attrs={RECORD: to_record(trial, fingerprint), **({BASELINE: True} if trial.baseline else {})},
        # As Trial.set_constraint keeps them.
        system_attrs={f"constraints:{name}": violation for name, violation in limits.items()},
    )


def thaw(frozen: FrozenTrial, space: SearchSpace, fingerprints: Mapping[str, Mapping[str, Any]]) -> Trial:
    """The trial that Optuna keeps; one that is on record as running is one that nobody works on any more.

    Raises TypeError and the like for something else than what was written.
    """
    trial = Trial(
        number=frozen.number,
        params=decode(space, frozen.params),
        baseline=bool(frozen.user_attrs.get(BASELINE, False)),
        attempts=int(frozen.user_attrs.get(ATTEMPTS, 1)),
    )
    record = frozen.user_attrs.get(RECORD)
    if record is not None:
        trial = with_record(trial, record, fingerprints)
        require_sound(trial)
        return trial
    if frozen.state.is_finished():
        failure = Failure(FailureKind.INTERRUPTED, "ask", "the process ended before the configuration was chosen")
        return trial.with_(state=TrialState.STOPPED, failure=failure)
    return trial.with_(state=TrialState.INTERRUPTED)


def fingerprint_of(frozen: FrozenTrial) -> str | None:
    """The key of the fingerprint that its record names, if it names one."""
    record = frozen.user_attrs.get(RECORD)
    key = record["fingerprint"] if record is not None else None
    return key if isinstance(key, str) and key else None
