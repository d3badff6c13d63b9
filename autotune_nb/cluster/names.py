"""Names and labels of the objects in a cluster: deterministic, so that no object is created twice and all are found."""

from __future__ import annotations

import hashlib
import re

#: Every object has the first two labels, an object of a trial also the third. OME copies them to Deployments,
#: ReplicaSets and pods.
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "autotune-nb"
STUDY_LABEL = "autotune-nb/study"
TRIAL_LABEL = "autotune-nb/trial"
#: Identifies an object whose creation had no response, so that it is not mistaken for another client's.
REQUEST_ANNOTATION = "autotune-nb/request"

_INVALID = re.compile(r"[^a-z0-9]+")
#: OME derives longer names and truncates some at the front, so the unique part comes last.
MAX_NAME = 50
_SLUG = 20


def slug(text: str, limit: int = _SLUG) -> str:
    """Return text as a part of a name: lower case, digits and single dashes; empty if no character is valid."""
    return _INVALID.sub("-", text.lower()).strip("-")[:limit].strip("-")


def study_name(task_name: str, study_label: str) -> str:
    """Return the name of a study's anchor and lease: ``at-<task>-<hash of the study>``."""
    return "-".join(filter(None, ("at", slug(task_name), _hash(study_label, 8))))


def trial_name(task_name: str, study_label: str, trial: int) -> str:
    """Return the name of a trial's objects: ``at-<task>-t0007-<hash>``."""
    return "-".join(filter(None, ("at", slug(task_name), f"t{trial:04d}", _hash(f"{study_label}/{trial}", 8))))


def study_labels(study_label: str) -> dict[str, str]:
    """Return the labels of a study's objects."""
    return {MANAGED_LABEL: MANAGED_BY, STUDY_LABEL: study_label}


def trial_labels(study_label: str, trial: int) -> dict[str, str]:
    """Return the labels of a trial's objects."""
    return {**study_labels(study_label), TRIAL_LABEL: str(trial)}


def study_selector(study_label: str) -> str:
    """Return the label selector of a study's objects."""
    return f"{STUDY_LABEL}={study_label}"


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
