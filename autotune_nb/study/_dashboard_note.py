"""The notes of trials where optuna-dashboard shows them and edits them, beside the study's own edits.

optuna-dashboard stores no time with a note, only a version. Each note of the study is also written there, before the
edit itself, so that a text there that is not the study's own is newer than it: the later of both is read.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.study._edit import Edit, EditKind
from autotune_nb.study._notes import TrialNote, notes_of
from autotune_nb.study._study_attributes import read_edits

if TYPE_CHECKING:
    import optuna

#: The names of its attributes of a study begin with this, and so do the ids of edits that stand for what it changed.
DASHBOARD = "dashboard:"
#: optuna-dashboard stores longer notes in parts, since a database limits the length of an attribute.
_MOST = 2045


def write_dashboard_note(study: optuna.Study, number: int, note: TrialNote) -> None:
    """Store a note in the form of optuna-dashboard 0.13 and later; a trial that is not stored yet has none."""
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        return
    storage, study_id = study._storage, study._study_id
    key, text = f"{DASHBOARD}{trials[number]._trial_id}", note.text
    parts = [text[at : at + _MOST] for at in range(0, len(text), _MOST)]
    known = storage.get_study_system_attrs(study_id)
    before = sum(1 for name in known if name.startswith(f"{key}:note_str:"))
    for place in range(max(len(parts), before)):
        storage.set_study_system_attr(study_id, f"{key}:note_str:{place}", parts[place] if place < len(parts) else "")
    # Last: a page that was opened before refuses to overwrite a newer version.
    storage.set_study_system_attr(study_id, f"{key}:note_ver", int(known.get(f"{key}:note_ver", 0)) + 1)


def dashboard_edits(
    attributes: Mapping[str, Any], number_of: Callable[[int], int | None], edits: Iterable[Edit]
) -> list[Edit]:
    """Return the notes that were edited in optuna-dashboard since, as edits.

    ``attributes`` are the study's system attributes, ``number_of`` returns the number of the trial with an id, and
    ``edits`` are those that the study stores. A last paragraph ``Tags: production, eu`` becomes the tags, without it
    there are none.
    """
    found: list[Edit] = []
    own = [edit for edit in edits if edit.kind is EditKind.NOTE]
    for key, version in attributes.items():
        known = re.fullmatch(rf"{DASHBOARD}(\d+):note_ver", key)
        number = number_of(int(known[1])) if known is not None else None
        if known is None or number is None:
            continue
        text = _text(attributes, f"{DASHBOARD}{known[1]}:note_str:")
        mine = [edit for edit in own if edit.noted_trial == number]
        before = notes_of(sorted(mine, key=lambda edit: (edit.at, edit.id))).get(number, TrialNote())
        if text == before.text or _parsed(text) == before:
            continue
        note = _parsed(scrub(text))
        at = math.nextafter(max((edit.at for edit in mine), default=0.0), math.inf)
        id_ = f"{DASHBOARD}{number}:{int(version):08d}"
        found.append(Edit(EditKind.NOTE, noted_trial=number, note=note.note, tags=note.tags, at=at, id=id_))
    return found


def stored_edits(study: optuna.Study) -> list[Edit]:
    """Return the edits of a study in Optuna's storage, with the notes that were edited in optuna-dashboard since."""
    edits, storage = read_edits(study.user_attrs), study._storage

    def number_of(trial_id: int) -> int | None:
        with contextlib.suppress(KeyError):
            return storage.get_trial_number_from_id(trial_id)
        return None

    return edits + dashboard_edits(storage.get_study_system_attrs(study._study_id), number_of, edits)


def merged_edits(known: Iterable[Edit], stored: Sequence[Edit]) -> list[Edit]:
    """Return the known edits and those that are stored; a note that optuna-dashboard changed back is dropped."""
    ids = {edit.id for edit in stored}
    kept = {edit.id: edit for edit in known if edit.id in ids or not edit.id.startswith(DASHBOARD)}
    return list({**kept, **{edit.id: edit for edit in stored}}.values())


def _text(attributes: Mapping[str, Any], prefix: str) -> str:
    parts = {name.removeprefix(prefix): text for name, text in attributes.items() if name.startswith(prefix)}
    return "".join(str(parts[place]) for place in sorted(parts, key=lambda place: (len(place), place)))


def _parsed(text: str) -> TrialNote:
    note, found, tags = text.strip().rpartition("Tags: ")
    if not found or "\n" in tags or (note and not note.endswith("\n")):
        return TrialNote(text.strip())
    return TrialNote(note.strip(), tuple(dict.fromkeys(tag.strip() for tag in tags.split(",") if tag.strip())))
