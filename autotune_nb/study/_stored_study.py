"""What is stored of a study, as it was at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune_nb.study.steering import Steering
from autotune_nb.trial.trial import Trial


@dataclass(frozen=True)
class LastRun:
    """What only a study's last run could write: its state, and the command line of the best trial, by its number.

    A process that reads the study may have another working directory, or no engine installed.
    """

    state: str
    best: int | None = None
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        best = None if self.best is None else {"number": self.best, "command": self.command}
        return {"state": self.state, "best": best}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LastRun:
        """Return it from ``to_dict`` or from the content of ``results.json``.

        Raises LookupError, TypeError, ValueError or AttributeError if it is damaged.
        """
        state, best = data["state"], data["best"]
        if not isinstance(state, str):
            raise TypeError(f"its state is {state!r}")
        if best is None:
            return cls(state)
        if not isinstance(best["number"], int):
            raise TypeError(f"its best trial is {best['number']!r}")
        return cls(state, best["number"], str(best.get("command") or ""))


@dataclass(frozen=True)
class StoredStudy:
    """A study's trials by number, its edits and its runs; ``last_run`` is None if an earlier version ran it last."""

    trials: tuple[Trial, ...]
    steering: Steering
    #: The number of the trial of an enqueued configuration, by the id of its edit.
    trial_numbers_by_edit: Mapping[str, int]
    elapsed_s: float
    end_reason: str
    last_run: LastRun | None
    #: Of a shared study the workers that are alive, each with its name, host and process, and their last command.
    workers: tuple[str, ...] = ()
    command: str = ""
