"""Trials as they are stored: the point as Optuna's parameters, everything else in user attributes. Without Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.study._trial_json import record_fields, require_numbers
from autotune_nb.task.space import Point
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import ConfirmationStart

RECORD, ATTEMPTS, BASELINE, ENQUEUED = "record", "attempts", "baseline", "enqueued"
REASON, CONFIRMATION = "reason", "confirmation"
#: In a shared study: the worker of a trial, its id and its name, and when the trial ended, by the database's clock.
WORKER, ENDED_AT = "worker", "ended_at"
#: The user attributes of a trial.
ATTRIBUTES = (RECORD, ATTEMPTS, BASELINE, ENQUEUED, REASON, CONFIRMATION, WORKER, ENDED_AT)


def stored_trial(
    number: int,
    params: Point,
    attributes: Mapping[str, Any],
    fingerprints: Mapping[str, Mapping[str, Any]],
    *,
    ended: bool,
) -> Trial:
    """Return a stored trial; one that did not end, to Optuna, and has no record is interrupted.

    Raises TypeError, ValueError or LookupError if it is damaged.
    """
    fields: dict[str, Any] = {"state": TrialState.INTERRUPTED}
    if (record := attributes.get(RECORD)) is not None:
        fields = record_fields(record, fingerprints)
    elif ended:
        message = "the process ended before the configuration was chosen"
        fields = {"state": TrialState.STOPPED, "failure": Failure(FailureKind.INTERRUPTED, "ask", message)}
    trial = Trial(
        number=number,
        params=params,
        baseline=bool(attributes.get(BASELINE, False)),
        attempts=int(attributes.get(ATTEMPTS, 1)),
        reason=str(attributes.get(REASON, "")),
        confirmation=confirmation_of(attributes),
        worker=worker_of(attributes)[1],
        **fields,
    )
    require_numbers(trial)
    return trial


def confirmation_of(attributes: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the round and the finalist of a start of the confirmation; None for other trials."""
    stored = attributes.get(CONFIRMATION)
    return None if stored is None else (int(stored[0]), int(stored[1]))


def confirmation_attributes(start: ConfirmationStart) -> dict[str, Any]:
    """Return the attributes of a start of the confirmation."""
    attributes: dict[str, Any] = {CONFIRMATION: [start.round, start.finalist], REASON: start.reason}
    return {**attributes, BASELINE: True} if start.params is None else attributes


def worker_of(attributes: Mapping[str, Any]) -> tuple[str, str]:
    """Return the id and the name of a trial's worker; empty in a study that is not shared."""
    id_, name = attributes.get(WORKER) or ("", "")
    return str(id_), str(name)


def fingerprint_key_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the key of a trial's fingerprint; None if its record has none."""
    record = attributes.get(RECORD)
    key = record["fingerprint"] if record is not None else None
    return key if isinstance(key, str) and key else None
