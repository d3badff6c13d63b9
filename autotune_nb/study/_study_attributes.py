"""What a study stores in Optuna's user attributes: edits, fingerprints and the duration of its runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna

from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.steering import Edit

_EDIT, _FINGERPRINT, _ELAPSED = "edit:", "fingerprint:", "elapsed_s"
_END_REASON = "end_reason"


def read_edits(study: optuna.Study) -> list[Edit]:
    """Return the edits of the study, made by any process."""
    return [Edit.from_dict(value) for key, value in study.user_attrs.items() if key.startswith(_EDIT)]


def write_edit(study: optuna.Study, edit: Edit) -> None:
    """Store an edit under its own key, so that two processes never overwrite each other's."""
    study.set_user_attr(_EDIT + edit.id, edit.to_dict())


def read_fingerprints(study: optuna.Study) -> dict[str, dict[str, Any]]:
    """Return the fingerprints by their keys."""
    return {k.removeprefix(_FINGERPRINT): v for k, v in study.user_attrs.items() if k.startswith(_FINGERPRINT)}


def write_fingerprint(study: optuna.Study, fingerprint: Mapping[str, Any]) -> None:
    """Store a fingerprint under its key, which trials refer to."""
    study.set_user_attr(_FINGERPRINT + fingerprint_key(fingerprint), dict(fingerprint))


def read_elapsed(study: optuna.Study) -> float:
    """Return the total duration of the study's runs in seconds. Raises ValueError if the stored value is invalid."""
    elapsed_s = study.user_attrs.get(_ELAPSED, 0.0)
    if not (isinstance(elapsed_s, int | float) and 0 <= elapsed_s < math.inf):
        raise ValueError(f"{_ELAPSED} is {elapsed_s!r}; expected seconds")
    return float(elapsed_s)


def write_elapsed(study: optuna.Study, seconds: float) -> None:
    """Store the total duration of all runs in seconds."""
    study.set_user_attr(_ELAPSED, round(seconds, 3))


def read_end_reason(study: optuna.Study) -> str:
    """Return why the last run ended by itself; empty if none did."""
    return str(study.user_attrs.get(_END_REASON, ""))


def write_end_reason(study: optuna.Study, reason: str) -> None:
    """Store why a run ended by itself."""
    study.set_user_attr(_END_REASON, reason)
