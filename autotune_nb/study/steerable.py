"""The methods that steer a study: each stores an edit, which applies from the next trial on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from autotune_nb.errors import TaskError
from autotune_nb.study.steering import (
    Edit,
    EditKind,
    Steering,
    ban_edit,
    budget_edit,
    enqueue_edit,
    free_edit,
    narrow_edit,
    pin_edit,
)
from autotune_nb.task.budget import Budget
from autotune_nb.task.parameters import Value
from autotune_nb.task.space import Point
from autotune_nb.task.task import Task


class _Unchanged:
    def __repr__(self) -> str:
        return "unchanged"


#: The default of a bound of the budget that an edit leaves as it is.
UNCHANGED: Any = _Unchanged()


class SteerableStudy(ABC):
    """A study that edits steer."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """The study's task."""

    @property
    @abstractmethod
    def _trial_numbers_by_edit(self) -> Mapping[str, int]:
        """The trial of each enqueued configuration that was started, by the edit's id."""

    @property
    @abstractmethod
    def steering(self) -> Steering:
        """The combined effect of all edits: the remaining space, the queue and the budget."""

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Every edit that steers the study, oldest first; notes on trials are in ``steering.notes``."""
        return tuple(edit for edit in self.steering.edits if edit.kind is not EditKind.NOTE)

    @property
    def queue(self) -> list[Point]:
        """The enqueued configurations that were not tried yet."""
        return [point for _, point in self._pending_queue]

    @property
    def _pending_queue(self) -> list[tuple[str, Point]]:
        return self.steering.pending(self._trial_numbers_by_edit)

    @property
    def budget(self) -> Budget:
        """The task's budget with the changes of edits."""
        return self.steering.budget

    @property
    def num_trials(self) -> int | None:
        """The number of trials planned, including the baseline; None if only the size of the space bounds it."""
        return self.steering.num_trials

    @abstractmethod
    def _steer(self, edit: Edit) -> None: ...

    def enqueue(self, params: dict[str, Value]) -> Edit:
        """Try a configuration next. It must set every parameter, and it counts against the budget of trials.

        Raises TaskError if the space or an edit does not allow it.
        """
        return self.steer(enqueue_edit(params))

    def remove_from_queue(self, position: int) -> Edit:
        """Remove the configuration at a position of ``queue``, from 0. Raises TaskError if there is none."""
        id_, point = self._queued(position)
        return self.steer(Edit(EditKind.DEQUEUE, params=point, ids=(id_,)))

    def move_in_queue(self, position: int, to: int) -> Edit:
        """Move the configuration at a position of ``queue`` to another one. Raises TaskError if there is none."""
        self._queued(to)
        moved = self._queued(position)[0]
        if position == to:
            raise TaskError("it is at this position already", field="queue")
        ids = [id_ for id_, _ in self._pending_queue if id_ != moved]
        return self.steer(Edit(EditKind.REORDER, ids=(*ids[:to], moved, *ids[to:])))

    def _queued(self, position: int) -> tuple[str, Point]:
        waiting = self._pending_queue
        if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < len(waiting):
            known = f"0 to {len(waiting) - 1}" if waiting else "none: the queue is empty"
            raise TaskError(f"there is no position {position!r}; expected {known}", field="queue")
        return waiting[position]

    def ban(self, parameter: str, *values: Value) -> Edit:
        """Exclude values of a parameter from now on. Raises TaskError if no value would remain."""
        return self.steer(ban_edit(parameter, *values))

    def pin(self, parameter: str, value: Value) -> Edit:
        """Try only this value of a parameter from now on. Raises TaskError if it is not in the space."""
        return self.steer(pin_edit(parameter, value))

    def narrow(
        self,
        parameter: str,
        low: float | None = None,
        high: float | None = None,
        *,
        values: Sequence[Value] = (),
    ) -> Edit:
        """Try only part of a parameter's range, or only some of its values, from now on. Raises TaskError."""
        return self.steer(narrow_edit(parameter, low, high, values))

    def free(self, parameter: str) -> Edit:
        """Undo every edit of a parameter. Raises TaskError for an unknown parameter, or if no edit restricts it."""
        return self.steer(free_edit(parameter))

    def set_budget(
        self,
        *,
        trials: int | None = UNCHANGED,
        minutes: float | None = UNCHANGED,
        patience: int | Literal["auto"] | None = UNCHANGED,
        max_failures: int | None = UNCHANGED,
        gpu_hours: float | None = UNCHANGED,
        usd: float | None = UNCHANGED,
    ) -> Edit:
        """Change when to stop; None removes a bound (for ``max_failures``: restores its default).

        It applies until the budget in the task itself changes.

        Raises TaskError for an invalid budget.
        """
        bounds = {
            "trials": trials,
            "minutes": minutes,
            "patience": patience,
            "max_failures": max_failures,
            "gpu_hours": gpu_hours,
            "usd": usd,
        }
        return self.steer(budget_edit(self.task, **{k: v for k, v in bounds.items() if v is not UNCHANGED}))

    def steer(self, edit: Edit) -> Edit:
        """Store an edit in the study; it applies from the next trial on. Raises TaskError, StudyError."""
        if not isinstance(edit, Edit):
            raise TaskError(f"expected an Edit, as enqueue, ban, narrow and pin return one, not {edit!r}", field="edit")
        steering = self.steering
        edit = steering.with_latest_time(edit)
        steering.with_(edit)
        self._steer(edit)
        return edit
