"""Runners with a stub engine and a stub benchmark, which record their events."""

from __future__ import annotations

from typing import Any

from autotune_nb import events
from autotune_nb.bench import GenaiBench
from autotune_nb.errors import Failure
from autotune_nb.runner.runner import Runner
from autotune_nb.study import Study
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial
from tests.stubs import World, deployer_for, in_loop, open_study


class Watched(Runner):
    """A runner that records its events in ``seen``."""

    def __init__(self, task: Task, study: Study) -> None:
        bus = events.EventBus()
        self.seen: list[events.Event] = []
        bus.subscribe(self.seen.append)
        deployer = deployer_for(task, study.folder.path, study_id=study.id)
        benchmark = GenaiBench(task, backend="vllm", engine=None, labels={})
        super().__init__(study, deployer, benchmark, bus)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.of(events.Notice)]


def runner_for(world: World, task: Task) -> Watched:
    return Watched(task, open_study(task, world.folder))


def ran(world: World, task: Task) -> Watched:
    """Run a task to its end and return the runner."""
    runner = runner_for(world, task)
    in_loop(runner.run())
    return runner


def failure(trial: Trial) -> Failure:
    assert trial.failure is not None
    return trial.failure
