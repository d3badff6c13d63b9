"""Which configuration comes next: an interrupted one, the baseline, an enqueued one, the grid's; else the sampler's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from autotune_nb.study.steering import Steering
from autotune_nb.task.space import Point, SearchSpace, point_key
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState


class Order:
    """Reads a study's trials as they are at the moment; it changes none."""

    def __init__(
        self, task: Task, trials: Mapping[int, Trial], enqueued: Mapping[int, str], steering: Callable[[], Steering]
    ) -> None:
        self._task = task
        self._trials = trials
        #: Which trial tries which enqueued configuration: the edit's id by the trial's number.
        self._enqueued = enqueued
        self._steering = steering
        self._grid: Iterator[Point] | None = None

    @property
    def _space(self) -> SearchSpace:
        return self._steering().space

    @property
    def begun(self) -> dict[str, int]:
        """The enqueued configurations that are being tried or were, as the number of the trial by the edit's id; one
        whose trial was stopped waits again."""
        found = tuple(self._enqueued.items())
        return {id_: number for number, id_ in found if number in self._trials and _counts(self._trials[number])}

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to ask for, however large the budget."""
        if self.interrupted() or self.wants_baseline or self.enqueued():
            return False
        if self._task.strategy.sampler != "grid":
            return self.all_tried()
        self.restart_grid()
        point = self.of_grid()
        self.restart_grid()
        return point is None

    @property
    def wants_baseline(self) -> bool:
        """Whether the engine's default configuration is to be measured and was not."""
        return self._task.budget.baseline and not any(t.baseline for t in self._trials.values() if _counts(t))

    def interrupted(self) -> Trial | None:
        """The earliest trial that an earlier process left unfinished and that may go on."""
        left = (self._trials[number] for number in sorted(self._trials))
        return next((t for t in left if t.state is TrialState.INTERRUPTED and self.may_go_on(t)), None)

    def may_go_on(self, trial: Trial) -> bool:
        """Whether no edit leaves its configuration out."""
        return trial.baseline or self._space.broken_rule(trial.params) is None

    def enqueued(self) -> tuple[str, Point] | None:
        """The earliest enqueued configuration that has not begun and that later edits still leave, with its edit."""
        space, waiting = self._space, self._steering().waiting(self.begun)
        return next(((id_, point) for id_, point in waiting if space.broken_rule(point) is None), None)

    def of_grid(self) -> Point | None:
        """The next point of the grid; None for the other samplers and at its end."""
        if self._task.strategy.sampler != "grid":
            return None
        if self._grid is None:
            self._grid = self._space.grid()
        tried = self.tried()
        return next((p for p in self._grid if point_key(self._space.canonical(p)) not in tried), None)

    def restart_grid(self) -> None:
        """What was left out of the grid may be in it again."""
        self._grid = None

    def tried(self) -> set[str]:
        """The keys of every configuration that is running or has finished; a stopped one may come again."""
        return {point_key(t.params) for t in self._trials.values() if _counts(t) and not t.baseline}

    def all_tried(self) -> bool:
        """Whether every configuration that is left was tried."""
        steering, space = self._steering(), self._space
        if not steering.any_left:
            return True
        size = space.num_points
        if size is None:
            return False
        if not space.restrictions:
            return len(self.tried()) >= size
        # What was tried before an edit took it out is no part of what is left.
        among = (t for t in self._trials.values() if _counts(t) and not t.baseline)
        return len({point_key(t.params) for t in among if space.broken_rule(t.params) is None}) >= size


def _counts(trial: Trial) -> bool:
    return trial.state is not TrialState.STOPPED
