"""The current state of the running trials, collected from events; any thread may read it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune_nb import events
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    from autotune_nb.search import Promise

_NOTICES = 30


@dataclass(frozen=True)
class RunningTrial:
    """A running trial: its phase, the levels measured so far and the log of its engine. Times are epoch seconds."""

    trial: Trial
    since: float
    phase: str = "starting"
    phase_since: float = 0.0
    num_levels: int = 0
    log: Path | None = None

    @property
    def doing(self) -> str:
        """The phase in words, such as ``benchmarking level 2 of 3``."""
        match self.phase:
            case "deploy":
                return "deploying"
            case "probe":
                return "warming up"
            case "benchmark":
                done = len(self.trial.measurements)
                return f"benchmarking level {min(done + 1, self.num_levels)} of {self.num_levels}"
            case "wait":
                return "waiting for the cluster, the disk or a service to respond"
            case "stop":
                return "taking the engine down"
        return self.phase

    def to_dict(self) -> dict[str, Any]:
        return {
            "number": self.trial.number,
            "params": dict(self.trial.params),
            "baseline": self.trial.baseline,
            "reason": self.trial.reason,
            "gpus": self.trial.gpus,
            "measurements": [m.to_dict() for m in self.trial.measurements],
            "since": self.since,
            "phase": self.phase,
            "phase_since": self.phase_since,
            "num_levels": self.num_levels,
            "log": str(self.log) if self.log else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunningTrial:
        measured = tuple(Measurement.from_dict(m) for m in data["measurements"])
        trial = Trial(
            data["number"],
            data["params"],
            baseline=data["baseline"],
            measurements=measured,
            reason=str(data.get("reason", "")),
            gpus=data.get("gpus"),
        )
        log = Path(data["log"]) if data["log"] else None
        return cls(trial, data["since"], data["phase"], data["phase_since"], data["num_levels"], log)


@dataclass
class LiveTrials:
    """A listener that keeps the running trials and the latest notices. ``version`` grows with every change."""

    num_levels: int
    #: Of a start in a round of the confirmation; 0: as many as of any other trial.
    num_levels_in_round: int = 0
    version: int = 0
    notices: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=_NOTICES))
    #: What the strategy expects of another trial, if it predicts that.
    promise: Promise | None = None
    _running: dict[int, RunningTrial] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: events.Event) -> None:
        with self._lock:
            self.version += 1
            match event:
                case events.Notice(text=text):
                    self.notices.append((event.at, text))
                case events.Predicted(promise=promise):
                    self.promise = promise
                case events.TrialStarted(trial=trial):
                    levels = (trial.in_round and self.num_levels_in_round) or self.num_levels
                    self._running[trial.number] = RunningTrial(trial, event.at, num_levels=levels)
                case events.PhaseStarted(number=number, phase=phase):
                    # A second deployment is a retry, which measures every level anew.
                    self._change(number, phase=phase, phase_since=event.at, discard_levels=phase == "deploy")
                case events.LogOpened(number=number, log=log):
                    self._change(number, log=log)
                case events.LevelMeasured(number=number, measurement=one):
                    self._change(number, one)
                case events.TrialEnded(trial=trial):
                    self._running.pop(trial.number, None)

    def _change(self, number: int, *measured: Measurement, discard_levels: bool = False, **changes: Any) -> None:
        known = self._running.get(number)
        if known is None:
            return
        before = () if discard_levels else known.trial.measurements
        trial = known.trial.with_(measurements=(*before, *measured))
        self._running[number] = replace(known, trial=trial, **changes)

    @property
    def running(self) -> tuple[RunningTrial, ...]:
        """The running trials, by number."""
        with self._lock:
            return tuple(self._running[number] for number in sorted(self._running))

    def clear(self) -> None:
        """Remove every running trial."""
        with self._lock:
            self._running.clear()
            self.version += 1

    def to_dict(self, state: str) -> dict[str, Any]:
        """Return the state for readers in other processes."""
        with self._lock:
            notices = [[at, text] for at, text in self.notices]
        return {
            "state": state,
            "at": time.time(),
            "running": [r.to_dict() for r in self.running],
            "notices": notices,
            "promise": None if self.promise is None else asdict(self.promise),
        }
