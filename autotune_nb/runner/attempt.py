"""The results of one attempt at a trial so far, and a clock for its phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune_nb.runner.answers import Answers
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.pooling import pooled
from autotune_nb.trial.score import Score


@dataclass
class Attempt:
    """The results of one attempt at a trial so far; they are stored even if the attempt fails."""

    measurements: list[Measurement] = field(default_factory=list)
    command: tuple[str, ...] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    score: Score | None = None
    cut_reason: str = ""
    phase: str = ""
    gpus: int | None = None
    folder: Path | None = None
    #: What the engine answered, to compare with the default's answers; or why it was not asked.
    answers: Answers = field(default_factory=Answers)

    def add(self, measured: Measurement) -> None:
        """Add the measurement of a level; a further run of one is added to the previous ones."""
        place = next((i for i, one in enumerate(self.measurements) if one.level == measured.level), None)
        if place is None:
            self.measurements.append(measured)
        else:
            self.measurements[place] = pooled(self.measurements[place], measured)

    def add_fingerprint(self, values: Mapping[str, Any]) -> None:
        """Add values that add_fingerprint the environment of the attempt."""
        self.fingerprint = {**self.fingerprint, **values}


class PhaseClock:
    """Measures the time of each phase; the times of a phase that is entered twice are added."""

    def __init__(self, on_phase: Callable[[str], None], now: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self._on_phase = on_phase
        self._now = now
        self._phase: str | None = None
        self._since = 0.0

    def start(self, phase: str) -> None:
        self.stop()
        self._phase, self._since = phase, self._now()
        self._on_phase(phase)

    def stop(self) -> None:
        if self._phase is not None:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + self._now() - self._since
            self._phase = None
