"""A trial of a study with its note and its tags, which may be changed at any time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.study._edit import Edit, EditKind
from autotune_nb.study._notes import TrialNote
from autotune_nb.study.steerable import SteerableStudy
from autotune_nb.trial.summary import trial_html, trial_line
from autotune_nb.trial.trial import Trial


class NotedTrial:
    """A trial as ``run.trial(7)`` returns it: it has the attributes of ``Trial``, a ``note`` and ``tags``.

    Setting these stores them in the study, also while another process works on it. optuna-dashboard shows the note,
    with the tags as its last paragraph, ``Tags: production, eu``, and may change both: whatever was changed last is
    read, there or here. A run of this process reads what was changed there before each trial, and after its end.
    """

    def __init__(self, study: SteerableStudy, trial: Trial) -> None:
        self._study = study
        #: The trial as it was when it was asked for.
        self.trial = trial

    @property
    def _noted(self) -> TrialNote:
        return self._study.steering.notes.get(self.trial.number, TrialNote())

    @property
    def note(self) -> str:
        """A text in Markdown, which the report and optuna-dashboard show; empty if there is none."""
        return self._noted.note

    @note.setter
    def note(self, text: str) -> None:
        if not isinstance(text, str):
            raise TaskError(f"expected a text, not {text!r}", field="note")
        self._set(note=scrub(text.strip()))

    @property
    def tags(self) -> tuple[str, ...]:
        """Short words, such as ``production``, by which the table of trials can be filtered."""
        return self._noted.tags

    @tags.setter
    def tags(self, words: Iterable[str]) -> None:
        # A text is iterable, too.
        given = [words] if isinstance(words, str) else list(words)
        if not all(isinstance(word, str) for word in given):
            raise TaskError(f"expected words, such as ['production'], not {words!r}", field="tags")
        parts = [part.strip() for word in given for part in word.split(",")]
        self._set(tags=tuple(dict.fromkeys(scrub(part) for part in parts if part)))

    def _set(self, **changes: Any) -> None:
        if any(getattr(self._noted, name) != value for name, value in changes.items()):
            self._study.steer(Edit(EditKind.NOTE, noted_trial=self.trial.number, **changes))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.trial, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # A misspelt name would otherwise be set, and stored nowhere.
        if name not in ("note", "tags", "trial", "_study"):
            raise AttributeError(f"a trial has no {name!r} to set; note and tags may be set")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        tags = f" [{', '.join(self.tags)}]" if self.tags else ""
        return f"{trial_line(self.trial).removesuffix('>')}{tags}>"

    def _repr_html_(self) -> str:
        return trial_html(self.trial, note=self.note, tags=self.tags)

    def __dir__(self) -> list[str]:
        """List the names of the trial too, for tab completion."""
        return sorted({"note", "tags", "trial", *(name for name in dir(self.trial) if not name.startswith("_"))})
