"""A trial as one JSON value, kept beside Optuna's own fields."""

from __future__ import annotations

import shlex
from typing import Any

from autotune_nb.errors import Failure
from autotune_nb.measurement import Level, Measurement
from autotune_nb.score import Score
from autotune_nb.trial import Trial, TrialState


def to_record(trial: Trial) -> dict[str, Any]:
    """Everything of an ended trial that Optuna does not keep itself."""
    data = trial.to_dict()
    for name in ("number", "params", "values", "limits", "level", "baseline"):
        data.pop(name)
    if trial.score is not None:
        level = trial.score.level
        data["score"] = {
            "values": dict(trial.score.values),
            "limits": dict(trial.score.limits),
            "level": [level.scenario, level.concurrency, level.batch_size] if level else None,
        }
    return data


def with_record(trial: Trial, record: dict[str, Any]) -> Trial:
    """The trial with what its record holds."""
    score = record.get("score")
    return trial.with_(
        state=TrialState(record["state"]),
        measurements=tuple(Measurement.from_dict(m) for m in record["measurements"]),
        score=Score(score["values"], score["limits"], Level(*score["level"]) if score["level"] else None)
        if score
        else None,
        failure=Failure.from_dict(record["failure"]) if record["failure"] else None,
        seconds=record["seconds"],
        command=tuple(shlex.split(record["command"] or "")),
        fingerprint=record["fingerprint"],
    )
