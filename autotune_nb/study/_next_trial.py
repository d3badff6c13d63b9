"""The order of trials: interrupted ones, the baseline, enqueued ones, the grid, and then the sampler's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from autotune_nb.study._stored_trial import ENQUEUED, REASON
from autotune_nb.study.steering import Steering
from autotune_nb.task.space import Point, SearchSpace, point_key
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState


class TrialOrder:
    """Chooses the next configuration from a study's current trials, without changing them."""

    def __init__(
        self, task: Task, trials: Mapping[int, Trial], enqueued: Mapping[int, str], steering: Callable[[], Steering]
    ) -> None:
        self._task = task
        self._trials = trials
        #: The id of the enqueuing edit by trial number.
        self._enqueued = enqueued
        self._steering = steering
        self._grid: Iterator[Point] | None = None

    @property
    def _space(self) -> SearchSpace:
        return self._steering().space

    @property
    def trial_numbers_by_edit(self) -> dict[str, int]:
        """The trial number of each enqueued configuration that has a trial, by the id of its edit.

        A configuration whose trial was stopped is pending again.
        """
        items = tuple(self._enqueued.items())
        return {id_: number for number, id_ in items if number in self._trials and _not_stopped(self._trials[number])}

    @property
    def exhausted(self) -> bool:
        """Whether no configuration is left to try, however large the budget."""
        if self.next_interrupted() or self.needs_baseline or self.next_enqueued():
            return False
        if self._task.strategy.sampler != "grid":
            return self.all_tried()
        self.restart_grid()
        point = self.next_grid_point()
        self.restart_grid()
        return point is None

    @property
    def needs_baseline(self) -> bool:
        """Whether the baseline is part of the budget and has no trial yet."""
        return self._task.budget.baseline and not any(t.baseline for t in self._trials.values() if _not_stopped(t))

    def next_interrupted(self) -> Trial | None:
        """Return the first trial that a previous process left unfinished and that edits allow."""
        trials = (self._trials[number] for number in sorted(self._trials))
        return next((t for t in trials if t.state is TrialState.INTERRUPTED and self.may_resume(t)), None)

    def may_resume(self, trial: Trial) -> bool:
        """Return whether edits allow the trial's configuration."""
        return trial.baseline or self._space.broken_rule(trial.params) is None

    def next_enqueued(self) -> tuple[str, Point] | None:
        """Return the first pending enqueued configuration that later edits allow, with the id of its edit."""
        space, pending = self._space, self._steering().pending(self.trial_numbers_by_edit)
        return next(((id_, point) for id_, point in pending if space.broken_rule(point) is None), None)

    def enqueued_attributes(self, edit_id: str) -> dict[str, str]:
        """Return the attributes of the trial of an enqueued configuration: the edit's id, and why it was enqueued."""
        origin = next((edit.origin for edit in self._steering().edits if edit.id == edit_id), None)
        return {ENQUEUED: edit_id, **({REASON: origin} if origin else {})}

    def next_grid_point(self) -> Point | None:
        """Return the next point of the grid; None at its end and for other samplers."""
        if self._task.strategy.sampler != "grid":
            return None
        if self._grid is None:
            self._grid = self._space.grid()
        tried = self.tried_keys()
        return next((p for p in self._grid if point_key(self._space.canonical(p)) not in tried), None)

    def restart_grid(self) -> None:
        """Start the grid again from its first point: an edit may have brought points back."""
        self._grid = None

    def tried_keys(self) -> set[str]:
        """Return the keys of all configurations that have a trial which was not stopped."""
        return {point_key(t.params) for t in self._trials.values() if _not_stopped(t) and not t.baseline}

    def all_tried(self) -> bool:
        """Return whether every allowed configuration was tried."""
        steering, space = self._steering(), self._space
        if not steering.any_left:
            return True
        size = space.num_points
        if size is None:
            return False
        if not space.restrictions:
            return len(self.tried_keys()) >= size
        # Configurations that an edit excluded after they were tried do not count.
        trials = (t for t in self._trials.values() if _not_stopped(t) and not t.baseline)
        return len({point_key(t.params) for t in trials if space.broken_rule(t.params) is None}) >= size


def _not_stopped(trial: Trial) -> bool:
    return trial.state is not TrialState.STOPPED
