"""What a run tells while it goes on. Events are facts of the past; reading them changes nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autotune_nb.study.steering import Edit
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """Something that happened, at seconds since the epoch."""

    at: float = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True)
class Notice(Event):
    """A line for the person who watches: what was swept, adopted or is being taken down."""

    text: str


@dataclass(frozen=True)
class StateChanged(Event):
    """The run is now in this state (see ``runner.RunState``)."""

    state: str


@dataclass(frozen=True)
class TrialStarted(Event):
    """A trial began."""

    trial: Trial


@dataclass(frozen=True)
class PhaseStarted(Event):
    """A trial entered a phase: deploy, probe, benchmark or stop."""

    number: int
    phase: str


@dataclass(frozen=True)
class LogOpened(Event):
    """A trial's engine writes its log here from now on."""

    number: int
    log: Path


@dataclass(frozen=True)
class LevelMeasured(Event):
    """A trial's load level landed: the ``index``-th (from 1) of ``count``."""

    number: int
    measurement: Measurement
    index: int
    count: int


@dataclass(frozen=True)
class TrialEnded(Event):
    """A trial ended and is kept; ``is_best`` says that it is the best so far."""

    trial: Trial
    is_best: bool


@dataclass(frozen=True)
class Steered(Event):
    """An edit counts from now on; ``num_trials`` is how many trials there are to be with it, None where open."""

    edit: Edit
    num_trials: int | None


Listener = Callable[[Event], None]


class EventBus:
    """Calls every listener with every event, in the thread that publishes it."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Listen from now on; what is returned ends it. A listener must not block."""
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Tell everybody. What a listener raises is logged; it never stops a run."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener is somebody else's code
                _log.exception("a listener failed on %s", type(event).__name__)
