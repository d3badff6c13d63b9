"""A trial as JSON: its record, which is stored beside Optuna's own fields."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.secrets.scrubbing import scrub_data, scrub_failure
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState

_NUMERIC = frozenset((int, float, bool))


def to_record(trial: Trial, fingerprint: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a finished trial that Optuna does not store itself, its fingerprint by key or whole."""
    data = {**trial.to_dict(), "fingerprint": fingerprint}
    own = ("number", "params", "values", "limits", "level", "baseline", "reason", "undecided", "confirmation", "worker")
    for name in own:
        data.pop(name, None)
    if trial.score is not None:
        level = trial.score.level
        data["score"] = {
            "values": dict(trial.score.values),
            "limits": dict(trial.score.limits),
            "level": _level_fields(level) if level else None,
        }
    return data


def with_finite_score(trial: Trial) -> Trial:
    """Return the trial; one whose score is not finite as failed."""
    numbers = {**trial.score.values, **trial.score.limits} if trial.score is not None else {}
    not_finite = [f"{name} = {value}" for name, value in numbers.items() if not math.isfinite(value)]
    if not not_finite:
        return trial
    failure = Failure(FailureKind.MEASUREMENT, "benchmark", f"no finite number: {', '.join(not_finite)}")
    return trial.with_(state=TrialState.FAILED, score=None, failure=failure)


def _level_fields(level: Level) -> list[Any]:
    """Return the arguments of a Level; the rate only if it has one, as in studies of previous versions."""
    fields = [level.scenario, level.concurrency, level.batch_size]
    return [*fields, level.rate] if level.rate else fields


def without_secrets(trial: Trial) -> Trial:
    """Return the trial without known secrets in its failure, its command line and its fingerprint."""
    return trial.with_(
        failure=scrub_failure(trial.failure) if trial.failure else None,
        command=tuple(scrub_data(trial.command)),
        fingerprint=scrub_data(trial.fingerprint),
    )


def record_fields(record: Mapping[str, Any], fingerprints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of a trial that its record has."""
    score = record.get("score")
    fingerprint = record["fingerprint"]
    return {
        **common_fields(record),
        "score": Score(score["values"], score["limits"], Level(*score["level"]) if score["level"] else None)
        if score
        else None,
        # A previous version stored the whole fingerprint in every record.
        "fingerprint": fingerprint if isinstance(fingerprint, dict) else fingerprints.get(fingerprint, {}),
    }


def require_numbers(trial: Trial) -> None:
    """Raise TypeError if a trial has anything but numbers where numbers are expected."""
    score = trial.score
    numeric: list[tuple[str, Any]] = [("seconds", trial.seconds)]
    if score is not None:
        numeric += [("score", score.values), ("limits", score.limits)]
    for one in trial.measurements:
        counts = (one.duration_s, one.num_requests, one.num_completed_requests, one.num_failed_requests)
        numeric += [("figures", one.figures), ("conditions", one.conditions), ("counts", dict(enumerate(counts)))]
    for name, numbers in numeric:
        # By its type first: an abstract class takes much longer to check.
        if not (
            (type(numbers) is dict or isinstance(numbers, Mapping)) and _NUMERIC.issuperset(map(type, numbers.values()))
        ):
            raise TypeError(f"trial {trial.number}: its {name} are not numbers")
    if trial.gpus is not None and not isinstance(trial.gpus, int):
        raise TypeError(f"trial {trial.number}: its number of GPUs is {trial.gpus!r}")
    if score is not None and not score.values:
        raise TypeError(f"trial {trial.number}: its score is empty")


def common_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a trial that a record and ``results.json`` have in common."""
    return {
        "state": TrialState(data["state"]),
        "measurements": tuple(Measurement.from_dict(m) for m in data["measurements"]),
        "failure": Failure.from_dict(data["failure"]) if data["failure"] else None,
        "seconds": data["seconds"],
        # Trials of a previous version have none.
        "cut_reason": str(data.get("cut_reason", "")),
        "answers": str(data.get("answers", "")),
        "command": _split_command(data["command"] or ""),
        "gpus": data.get("gpus"),
    }


def _split_command(command: str) -> tuple[str, ...]:
    # Without quotes, a plain split returns the same in a tenth of the time.
    return tuple(shlex.split(command) if "'" in command or '"' in command else command.split())
