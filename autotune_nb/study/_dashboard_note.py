"""The note of a trial where optuna-dashboard shows it, beside the study's own edits."""

from __future__ import annotations

import optuna

from autotune_nb.study._notes import TrialNote

#: optuna-dashboard stores longer notes in parts, since a database limits the length of an attribute.
_MOST = 2045


def write_dashboard_note(study: optuna.Study, number: int, note: TrialNote) -> None:
    """Store a note in the form of optuna-dashboard 0.13 and later; a trial that is not stored yet has none."""
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        return
    storage, study_id = study._storage, study._study_id
    key, text = f"dashboard:{trials[number]._trial_id}", note.text
    parts = [text[at : at + _MOST] for at in range(0, len(text), _MOST)]
    known = storage.get_study_system_attrs(study_id)
    before = sum(1 for name in known if name.startswith(f"{key}:note_str:"))
    for place in range(max(len(parts), before)):
        storage.set_study_system_attr(study_id, f"{key}:note_str:{place}", parts[place] if place < len(parts) else "")
    # Last: a page that was opened before refuses to overwrite a newer version.
    storage.set_study_system_attr(study_id, f"{key}:note_ver", int(known.get(f"{key}:note_ver", 0)) + 1)
