"""The notes and tags of trials, as the edits of a study set them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from autotune_nb.study._edit import Edit, EditKind


@dataclass(frozen=True)
class TrialNote:
    """A note on a trial, in Markdown, and its tags."""

    note: str = ""
    tags: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note with the tags, as optuna-dashboard shows it."""
        tags = f"Tags: {', '.join(self.tags)}" if self.tags else ""
        return "\n\n".join(filter(None, (self.note, tags)))


def notes_of(edits: Iterable[Edit]) -> Mapping[int, TrialNote]:
    """Return the notes by trial; ``edits`` are in the order of their times."""
    found: dict[int, TrialNote] = {}
    for edit in edits:
        if edit.kind is not EditKind.NOTE or edit.noted_trial is None:
            continue
        before = found.get(edit.noted_trial, TrialNote())
        note = before.note if edit.note is None else edit.note
        found[edit.noted_trial] = replace(before, note=note, tags=before.tags if edit.tags is None else edit.tags)
    return {number: one for number, one in found.items() if one.note or one.tags}
