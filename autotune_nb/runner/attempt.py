"""What one attempt at a trial has given so far, and how long its phases took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.score import Score


@dataclass
class Attempt:
    """What one attempt at a trial has given so far; kept also where it fails."""

    measurements: list[Measurement] = field(default_factory=list)
    command: tuple[str, ...] = ()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    score: Score | None = None
    phase: str = ""
    folder: Path | None = None

    def identify(self, told: Mapping[str, Any]) -> None:
        """Add to what is known of where it ran."""
        self.fingerprint = {**self.fingerprint, **told}


class PhaseClock:
    """Wall time by phase; a phase entered twice adds up."""

    def __init__(self, on_phase: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._on_phase = on_phase
        self._phase: str | None = None
        self._since = 0.0

    def start(self, phase: str) -> None:
        self.stop()
        self._phase, self._since = phase, time.monotonic()
        self._on_phase(phase)

    def stop(self) -> None:
        if self._phase is not None:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + time.monotonic() - self._since
            self._phase = None
