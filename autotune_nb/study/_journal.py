"""What a study keeps besides its trials: people's edits, what figures were measured on, how long its runs took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna

from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.steering import Edit

_EDIT, _FINGERPRINT, _ELAPSED = "edit:", "fingerprint:", "elapsed_s"


def read_edits(study: optuna.Study) -> list[Edit]:
    """Every edit of the study, whichever process made it."""
    return [Edit.from_dict(value) for key, value in study.user_attrs.items() if key.startswith(_EDIT)]


def write_edit(study: optuna.Study, edit: Edit) -> None:
    """Keep an edit; an entry of its own, so that two processes never overwrite each other's."""
    study.set_user_attr(_EDIT + edit.id, edit.to_dict())


def read_fingerprints(study: optuna.Study) -> dict[str, dict[str, Any]]:
    """Every fingerprint by its key."""
    return {k.removeprefix(_FINGERPRINT): v for k, v in study.user_attrs.items() if k.startswith(_FINGERPRINT)}


def write_fingerprint(study: optuna.Study, fingerprint: Mapping[str, Any]) -> None:
    """Keep a fingerprint once, however many trials have it."""
    study.set_user_attr(_FINGERPRINT + fingerprint_key(fingerprint), dict(fingerprint))


def read_elapsed(study: optuna.Study) -> float:
    """Seconds that all runs of the study took together. Raises ValueError for what are none."""
    elapsed_s = study.user_attrs.get(_ELAPSED, 0.0)
    if not (isinstance(elapsed_s, int | float) and 0 <= elapsed_s < math.inf):
        raise ValueError(f"{_ELAPSED} is {elapsed_s!r}; expected are seconds")
    return float(elapsed_s)


def write_elapsed(study: optuna.Study, seconds: float) -> None:
    """Keep how many seconds all runs took together."""
    study.set_user_attr(_ELAPSED, round(seconds, 3))
