"""One trial: its number, parameters, state, measurements, score and failure. Immutable."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from autotune_nb.errors import Failure
from autotune_nb.secrets.references import command_text
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.score import Score, undecided

#: The value of a parameter: a JSON type. None omits the flag, so the engine uses its own default.
Value = bool | int | float | str | dict[str, Any] | list[Any] | None


class TrialState(StrEnum):
    """The state of a trial. A trial that breaks a limit is complete (and infeasible), not failed."""

    RUNNING = "running"
    COMPLETE = "complete"
    #: It ended before its last level, since those measured already showed that it is not the best.
    CUT = "cut"
    FAILED = "failed"
    STOPPED = "stopped"
    #: It was running when the process ended; resuming the study runs it again.
    INTERRUPTED = "interrupted"

    @property
    def finished(self) -> bool:
        return self in (TrialState.COMPLETE, TrialState.CUT, TrialState.FAILED)

    @property
    def scored(self) -> bool:
        """Whether the trial ended with a score."""
        return self in (TrialState.COMPLETE, TrialState.CUT)


#: The phases of a trial that waits: for GPUs, and for its surroundings, such as a cluster that does not respond.
QUEUE, WAIT = "queue", "wait"


@dataclass(frozen=True, repr=False)
class Trial:
    """A trial of one configuration.

    ``seconds`` is the wall time of each phase, ``command`` the engine's command line as it ran. ``baseline`` is True
    for the engine's default configuration, which sets no parameter. ``reason`` is why a strategy proposed it,
    ``cut_reason`` why it was cut.
    ``confirmation`` is the round and the number of the finalist if it is a start of the confirmation: round 0 is before
    the search, finalist 0 the default. ``gpus`` is how many GPUs it held; None if that is unknown. ``answers`` is by
    how much its answers differ from the default's if that breaks a limit, or why they were not compared. ``worker`` is
    the name of the worker of a shared study that ran it.
    """

    number: int
    params: Mapping[str, Value]
    state: TrialState = TrialState.RUNNING
    measurements: tuple[Measurement, ...] = ()
    score: Score | None = None
    failure: Failure | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    baseline: bool = False
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1
    reason: str = ""
    cut_reason: str = ""
    confirmation: tuple[int, int] | None = None
    gpus: int | None = None
    answers: str = ""
    worker: str = ""

    def __repr__(self) -> str:
        from autotune_nb.trial.summary import trial_line

        return trial_line(self)

    def _repr_html_(self) -> str:
        from autotune_nb.trial.summary import trial_html

        return trial_html(self)

    @property
    def in_round(self) -> bool:
        """Whether it is a start of a round of the confirmation."""
        return self.confirmation is not None and self.confirmation[0] > 0

    @property
    def feasible(self) -> bool:
        """Whether the trial is complete and keeps every limit."""
        return self.state is TrialState.COMPLETE and self.score is not None and self.score.feasible

    @property
    def scored_measurement(self) -> Measurement | None:
        """The measurement from which the score was read, or None."""
        if self.score is None:
            return None
        return next((m for m in self.measurements if m.level == self.score.level), None)

    @property
    def undecided(self) -> Mapping[str, str]:
        """The limits that its requests neither show to be kept nor to be broken, each with the numbers of requests."""
        scored = self.scored_measurement
        return undecided(self.score.limits, (scored,)) if self.score is not None and scored is not None else {}

    @property
    def work_s(self) -> float:
        """The seconds of its phases without waiting for GPUs or for its surroundings, which its values do not cause."""
        return sum(seconds for phase, seconds in self.seconds.items() if phase not in (QUEUE, WAIT))

    @cached_property
    def configuration_key(self) -> Hashable:
        """What the trials of one configuration have in common and no other trial has."""
        # With its type, since 1 and True are equal; lists and mappings have no hash.
        values = ((name, type(value), _hashable(value)) for name, value in sorted(self.params.items()))
        return self.baseline, tuple(values)

    def with_(self, **changes: Any) -> Trial:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the trial in the form of ``results.json``."""
        return {
            "number": self.number,
            "state": str(self.state),
            "params": dict(self.params),
            "values": dict(self.score.values) if self.score else {},
            "limits": dict(self.score.limits) if self.score else {},
            **({"undecided": dict(found)} if (found := self.undecided) else {}),
            "measurements": [m.to_dict() for m in self.measurements],
            "failure": self.failure.to_dict() if self.failure else None,
            "seconds": {phase: round(value, 3) for phase, value in self.seconds.items()},
            "baseline": self.baseline,
            "attempts": self.attempts,
            "level": str(self.score.level) if self.score and self.score.level else None,
            "command": command_text(self.command) if self.command else None,
            "fingerprint": dict(self.fingerprint),
            **({"reason": self.reason} if self.reason else {}),
            **({"cut_reason": self.cut_reason} if self.cut_reason else {}),
            **({"answers": self.answers} if self.answers else {}),
            **({"confirmation": list(self.confirmation)} if self.confirmation is not None else {}),
            **({"gpus": self.gpus} if self.gpus is not None else {}),
            **({"worker": self.worker} if self.worker else {}),
        }


def _hashable(value: Value) -> Hashable:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def configuration_text(params: Mapping[str, Value]) -> str:
    """Format a configuration in one line."""
    text = " ".join(f"{name}={value}" for name, value in params.items() if value is not None)
    return text or "the engine's default configuration"
