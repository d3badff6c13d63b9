"""The events that a run publishes, and the bus that delivers them to listeners."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_nb.study.steering import Edit
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    from autotune_nb.search import Promise

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """An event; ``at`` is its time in seconds since the epoch."""

    at: float = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True)
class Notice(Event):
    """A line of text for the user, such as which leftovers were deleted or what is being taken down."""

    text: str


@dataclass(frozen=True)
class StateChanged(Event):
    """The run entered a state (see ``runner.RunState``)."""

    state: str


@dataclass(frozen=True)
class TrialStarted(Event):
    """A trial started."""

    trial: Trial


@dataclass(frozen=True)
class PhaseStarted(Event):
    """A trial entered a phase: deploy, probe, benchmark or stop."""

    number: int
    phase: str


@dataclass(frozen=True)
class LogOpened(Event):
    """A trial's engine started to write its log to this file."""

    number: int
    log: Path


@dataclass(frozen=True)
class LevelMeasured(Event):
    """A load level of a trial was measured: the ``index``-th (from 1) of ``count``."""

    number: int
    measurement: Measurement
    index: int
    count: int


@dataclass(frozen=True)
class TrialEnded(Event):
    """A trial ended and is stored; ``is_best`` is True if it is the best so far."""

    trial: Trial
    is_best: bool


@dataclass(frozen=True)
class Predicted(Event):
    """The strategy has predicted what another trial may bring."""

    promise: Promise


@dataclass(frozen=True)
class Steered(Event):
    """An edit was applied; ``num_trials`` is the number of trials planned with it, or None without a bound."""

    edit: Edit
    num_trials: int | None


@dataclass(frozen=True)
class OthersWorked(Event):
    """Other workers of a shared study started or ended trials, joined or left."""


Listener = Callable[[Event], None]


class EventBus:
    """Calls every listener with every event, in the thread that publishes it."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener and return a function that removes it. A listener must not block."""
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Call every listener with the event. An exception in a listener is logged; it never stops a run."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener is foreign code
                _log.exception("a listener failed on %s", type(event).__name__)
