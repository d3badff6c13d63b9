"""The protocol of what follows a run, and what it may read of the run's study."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from autotune_nb import events
from autotune_nb.results.exporting import Best
from autotune_nb.runner.live import RunningTrial
from autotune_nb.study.steering import Steering
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial


class WatchedStudy(Protocol):
    """What is read of a study, in any thread; every ``StudyHandle`` fulfils it."""

    @property
    def path(self) -> Path: ...

    @property
    def task(self) -> Task: ...

    @property
    def state(self) -> str: ...

    @property
    def history(self) -> tuple[Trial, ...]: ...

    @property
    def running(self) -> tuple[RunningTrial, ...]: ...

    @property
    def steering(self) -> Steering: ...

    @property
    def elapsed_s(self) -> float: ...

    @property
    def end_reason(self) -> str: ...

    @property
    def best(self) -> Best | None: ...

    @property
    def verdict(self) -> object: ...

    def report(self) -> Any: ...


class Watcher(Protocol):
    """A listener that is closed once the run has ended."""

    def __call__(self, event: events.Event) -> None: ...

    async def close(self, error: BaseException | None) -> None:
        """Finish, within a deadline of its own; ``error`` is what ended the run, if it was an error."""
