"""What a study keeps besides its trials: the edits of people, each with its time, and what figures were measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import optuna

from autotune_nb.steering import Edit

_EDIT, _FINGERPRINT = "edit:", "fingerprint:"


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


def fingerprint_key(fingerprint: Mapping[str, Any]) -> str:
    """Equal for equal fingerprints; empty for none."""
    if not fingerprint:
        return ""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True, default=str).encode()).hexdigest()[:12]
