"""Names and labels of what is made in a cluster: deterministic, so that nothing is made twice and a sweep finds all."""

from __future__ import annotations

import hashlib
import re

#: Everything made in a cluster carries the first two; what belongs to a trial the third too. OME hands them on to
#: Deployments, ReplicaSets and pods.
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "autotune-nb"
STUDY_LABEL = "autotune-nb/study"
TRIAL_LABEL = "autotune-nb/trial"
#: Tells an object made by a request whose answer got lost from one made by somebody else.
REQUEST_ANNOTATION = "autotune-nb/request"

_UNFIT = re.compile(r"[^a-z0-9]+")
#: OME derives longer names, and keeps the last characters of some: the unique part comes last.
MAX_NAME = 50
_SLUG = 20


def slug(text: str, limit: int = _SLUG) -> str:
    """Text as a part of a name: lower case, digits and single dashes; empty where nothing of it fits."""
    return _UNFIT.sub("-", text.lower()).strip("-")[:limit].strip("-")


def study_name(task_name: str, study_label: str) -> str:
    """The name of a study's own objects: ``at-<task>-<hash of the study>``."""
    return "-".join(filter(None, ("at", slug(task_name), _hash(study_label, 8))))


def trial_name(task_name: str, study_label: str, trial: int) -> str:
    """The name of a trial's objects, the same whenever it is asked for: ``at-<task>-t0007-<hash>``."""
    return "-".join(filter(None, ("at", slug(task_name), f"t{trial:04d}", _hash(f"{study_label}/{trial}", 8))))


def study_labels(study_label: str) -> dict[str, str]:
    return {MANAGED_LABEL: MANAGED_BY, STUDY_LABEL: study_label}


def trial_labels(study_label: str, trial: int) -> dict[str, str]:
    return {**study_labels(study_label), TRIAL_LABEL: str(trial)}


def study_selector(study_label: str) -> str:
    return f"{STUDY_LABEL}={study_label}"


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
