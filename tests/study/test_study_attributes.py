"""What a study keeps besides its trials: edits and fingerprints, entries of their own."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.study._study_attributes import (
    read_edits,
    read_fingerprints,
    write_edit,
    write_fingerprint,
)
from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.steering import Edit, ban_edit, budget_edit, enqueue_edit, free_edit, narrow_edit, pin_edit
from tests.stubs import open_study

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


def test_every_kind_of_an_edit_comes_back_equal(study: optuna.Study, make_task: Any) -> None:
    made = [
        enqueue_edit({"threads": 1, "x": None, "y": {"k": [1, "ü"]}}),
        ban_edit("threads", 1, None, {"k": 1}),
        pin_edit("threads", [1, 2]),
        narrow_edit("batch_size", 0, 0.5),
        narrow_edit("batch_size", values=["a", False]),
        free_edit("threads"),
        budget_edit(make_task(), trials=None, minutes=1.5),
    ]
    for edit in made:
        write_edit(study, edit)
    assert {edit.id: edit for edit in read_edits(study.user_attrs)} == {edit.id: edit for edit in made}
    # Other entries of the study are none.
    study.set_user_attr("task", {"name": "edit:"})
    assert len(read_edits(study.user_attrs)) == len(made)
    assert read_fingerprints(study.user_attrs) == {}


def test_an_edit_that_is_written_twice_is_one(study: optuna.Study) -> None:
    edit = ban_edit("threads", 1)
    write_edit(study, edit)
    write_edit(study, edit)
    assert read_edits(study.user_attrs) == [edit]


def test_what_a_later_version_adds_to_an_edit_is_left_out(study: optuna.Study) -> None:
    edit = ban_edit("threads", 1)
    study.set_user_attr(f"edit:{edit.id}", {**edit.to_dict(), "who": "somebody"})
    study.set_user_attr("edit:later", {**edit.to_dict(), "id": "later", "kind": "a later kind"})
    assert read_edits(study.user_attrs) == [edit]


@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_a_fingerprint_is_kept_under_a_key_of_its_own(fingerprint: dict[str, Any]) -> None:
    study = optuna.create_study()
    key = fingerprint_key(fingerprint)
    assert bool(key) == bool(fingerprint)
    assert fingerprint_key(dict(reversed(fingerprint.items()))) == key
    assert fingerprint_key({**fingerprint, "one more": 1}) != key
    write_fingerprint(study, fingerprint)
    write_fingerprint(study, fingerprint)
    assert read_fingerprints(study.user_attrs) == {key: fingerprint}


def _ban(folder: str, first: int, go: Any) -> None:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
    go.wait(30)
    for number in range(first, first + 10):
        write_edit(study, Edit.from_dict(ban_edit("batch_size", number).to_dict()))


def test_processes_that_write_at_once_lose_nothing(make_task: Any, tmp_path: Path) -> None:
    study = open_study(make_task(), tmp_path)
    context = multiprocessing.get_context("spawn")
    go = context.Barrier(2)
    writers = [context.Process(target=_ban, args=(str(tmp_path), 100 * n, go)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(180)
        assert writer.exitcode == 0
    wanted = {n + i for n in (100, 200) for i in range(10)}
    assert {edit.values[0] for edit in read_edits(study._study.user_attrs)} == wanted
    assert len(study.apply_new_edits()) == 20
