"""Names are valid for Kubernetes and OME, and deterministic."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.cluster.names import (
    MAX_NAME,
    STUDY_LABEL,
    TRIAL_LABEL,
    slug,
    study_labels,
    study_name,
    trial_labels,
    trial_name,
)

_FITS = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
texts = st.text(min_size=1, max_size=60)
STUDY = "0123456789ab-01234567"


@given(texts, st.integers(0, 99_999))
def test_a_name_of_any_task_fits(task: str, trial: int) -> None:
    for name in (study_name(task, STUDY), trial_name(task, STUDY, trial)):
        assert _FITS.fullmatch(name)
        assert len(name) <= MAX_NAME
        # OME derives names from it, the longest a ConfigMap's.
        assert "--" not in name


@given(texts, st.integers(0, 9999), st.integers(0, 9999))
def test_names_are_deterministic_and_tell_trials_and_studies_apart(task: str, one: int, other: int) -> None:
    assert trial_name(task, STUDY, one) == trial_name(task, STUDY, one)
    assert (trial_name(task, STUDY, one) == trial_name(task, STUDY, other)) is (one == other)
    assert trial_name(task, STUDY, one) != trial_name(task, "another-study", one)
    assert study_name(task, STUDY) != study_name(task, "another-study")


def test_the_unique_part_comes_last_where_ome_keeps_the_end() -> None:
    one, other = trial_name("x" * 60, STUDY, 1), trial_name("x" * 60, STUDY, 2)
    assert one[-20:] != other[-20:]
    assert trial_name("chat", STUDY, 1)[-8:] != trial_name("chat", "another", 1)[-8:]


@given(texts)
def test_a_slug_is_what_fits_of_a_text(text: str) -> None:
    found = slug(text)
    assert len(found) <= 20
    assert re.fullmatch(r"([a-z0-9]+(-[a-z0-9]+)*)?", found)


def test_labels_are_labels() -> None:
    labels = trial_labels(STUDY, 7)
    assert labels[STUDY_LABEL] == STUDY
    assert labels[TRIAL_LABEL] == "7"
    assert study_labels(STUDY).items() <= labels.items()
    assert all(len(value) <= 63 and _LABEL.fullmatch(value) for value in labels.values())
