"""A study handle with simulated trials: it publishes the events of a run at any rate, without an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune_nb import events
from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.handle import StudyHandle
from autotune_nb.runner.live import LiveTrials, RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.trial.measurement import Measurement
from autotune_nb.trial.trial import Trial
from tests.benchmarks.samples import Samples, crashes, sample_task

_LEVELS = 3
#: The steps of a trial, which is also the number of trials that run at the same time.
_STEPS = 8


class Feed(StudyHandle):
    """A study whose trials end ``per_s`` times a second, after ``ended`` trials that it begins with."""

    def __init__(self, folder: Path, *, trials: int, per_s: float, ended: int = 0) -> None:
        self._folder = folder
        self._task = sample_task(trials)
        self._steering = Steering(self._task, space_for(self._task, engine_for(self._task)))
        self._samples = Samples(self._task)
        self._trials: dict[int, Trial] = {}
        self._measured: dict[int, tuple[Measurement, ...]] = {}
        self._history: tuple[Trial, ...] = ()
        self._live = LiveTrials(_LEVELS)
        self._bus = events.EventBus()
        self._bus.subscribe(self._live)
        self._per_s = per_s
        self._state = RunState.RUNNING
        self._began = self._over = time.monotonic()
        self._first = ended
        for number in range(ended):
            begun = self._samples.begun(number)
            self._trials[number] = self._samples.ended(begun, self._samples.measurements(dict(begun.params)))
        self._history = tuple(self._trials.values())

    def start(self) -> None:
        threading.Thread(target=self._feed, name="feed", daemon=True).start()

    def _feed(self) -> None:
        count = (self._task.num_trials or 0) - self._first
        self._began = time.monotonic()
        for tick in range(count + _STEPS - 1):
            for place in range(max(0, tick - _STEPS + 1), min(tick + 1, count)):
                self._step(self._first + place, tick - place)
            wait_s = self._began + (tick + 1) / self._per_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
        self._over = time.monotonic()
        self._state = RunState.FINISHED
        self._bus.publish(events.StateChanged("finished"))

    def _step(self, number: int, step: int) -> None:
        """Publish the events of one step of a trial."""
        match step:
            case 0:
                trial = self._samples.begun(number)
                self._measured[number] = self._samples.measurements(dict(trial.params))
                self._keep(trial)
                self._bus.publish(events.TrialStarted(trial))
                self._bus.publish(events.PhaseStarted(number, "deploy"))
            case 1 | 2 | 6:
                self._bus.publish(events.PhaseStarted(number, {1: "probe", 2: "benchmark", 6: "stop"}[step]))
            case 3 | 4 | 5 if not crashes(number):
                level = step - 2
                self._bus.publish(events.LevelMeasured(number, self._measured[number][level - 1], level, _LEVELS))
            case 7:
                ended = self._samples.ended(self._trials[number], self._measured.pop(number))
                self._keep(ended)
                best = self.best_trial
                self._bus.publish(events.TrialEnded(ended, best is not None and best.number == number))

    def _keep(self, trial: Trial) -> None:
        self._trials[trial.number] = trial
        self._history = tuple(self._trials.values())

    @property
    def ended(self) -> bool:
        return self._state.ended

    @property
    def path(self) -> Path:
        return self._folder

    @property
    def task(self) -> Any:
        return self._task

    @property
    def state(self) -> RunState:
        return self._state

    @property
    def history(self) -> tuple[Trial, ...]:
        return self._history

    @property
    def running(self) -> tuple[RunningTrial, ...]:
        return self._live.running

    @property
    def notices(self) -> tuple[tuple[float, str], ...]:
        return tuple(self._live.notices)

    @property
    def steering(self) -> Steering:
        return self._steering

    @property
    def elapsed_s(self) -> float:
        return (self._over if self.ended else time.monotonic()) - self._began

    @property
    def error(self) -> None:
        return None

    @property
    def version(self) -> int:
        return self._live.version

    def poll(self) -> None:
        """Do nothing: the feed publishes events."""

    @property
    def _trial_numbers_by_edit(self) -> dict[str, int]:
        return {}

    def _command_of(self, trial: Any) -> str | None:
        return None

    def results(self) -> dict[str, Any]:
        raise NotImplementedError  # A feed has no study folder.

    def _steer(self, edit: Edit) -> None:
        raise NotImplementedError  # A feed has no run to steer.

    def subscribe(self, listener: events.Listener) -> Callable[[], None]:
        return self._bus.subscribe(listener)
