"""Edits of a running study: configurations to try next, values to exclude, changes of the budget.

The study stores each edit with its time. Together they determine the allowed space, the queue and the budget.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from autotune_nb.errors import TaskError, UnknownNameError
from autotune_nb.study._edit import Edit as Edit
from autotune_nb.study._edit import EditKind as EditKind
from autotune_nb.study._notes import TrialNote, notes_of
from autotune_nb.task.budget import Budget
from autotune_nb.task.figures import require_price
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value, other_type_text, parameter_name
from autotune_nb.task.restriction import Restriction, number_text, value_text
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import DEFAULT_TRIALS, Task, require_predictions, trials_allowed

#: The fields of the budget that edits may change.
_BUDGET_PARTS = ("trials", "minutes", "gpu_hours", "usd", "patience", "max_failures")


class Steering:
    """The combined effect of a study's edits. Immutable."""

    def __init__(self, task: Task, space: SearchSpace, edits: Iterable[Edit] = ()) -> None:
        self.task = task
        self.edits = tuple(sorted(edits, key=lambda edit: (edit.at, edit.id)))
        self.full_space = space
        restrictions: dict[str, Restriction] = {}
        for edit in self.edits:
            name = edit.parameter
            if name is None or name not in space.parameters:
                continue
            before = restrictions.get(name) or Restriction(name, space.parameters[name])
            restrictions[name] = _restricted(before, edit)
        self.restrictions = {name: one for name, one in restrictions.items() if not one.empty}
        self.space = space.restricted(self.restrictions)
        changes = _budget_changes(task.budget, self.edits)
        self.budget = Budget.model_validate({**task.budget.model_dump(), **changes}) if changes else task.budget
        # An edit that lifts the bound does not restore the default one.
        lifted = "trials" in changes and changes["trials"] is None
        self.max_trials = self.budget.trials or (None if lifted or task.strategy.sampler == "grid" else DEFAULT_TRIALS)
        self.num_trials = trials_allowed(self.budget, task.strategy, task.space, default=self.max_trials)

    @property
    def queue(self) -> list[tuple[str, Point]]:
        """The enqueued configurations with the ids of their edits, in the order in which they are tried."""
        enqueued: dict[str, Edit] = {}
        for edit in self.edits:
            if edit.kind is EditKind.ENQUEUE and edit.params is not None:
                enqueued[edit.id] = edit
            elif edit.kind is EditKind.DEQUEUE:
                enqueued = {id_: one for id_, one in enqueued.items() if id_ not in edit.ids}
            elif edit.kind is EditKind.REORDER:
                first = {id_: enqueued[id_] for id_ in edit.ids if id_ in enqueued}
                enqueued = {**first, **enqueued}
        return [(edit.id, self.full_space.canonical(dict(edit.params or {}))) for edit in enqueued.values()]

    def pending(self, started: Container[str]) -> list[tuple[str, Point]]:
        """Return the part of the queue whose edits are not among the ``started`` ids."""
        return [(id_, point) for id_, point in self.queue if id_ not in started]

    @cached_property
    def notes(self) -> Mapping[int, TrialNote]:
        """The notes and tags of trials, by their numbers."""
        return notes_of(self.edits)

    @cached_property
    def any_left(self) -> bool:
        """Whether the edits allow any point: those of two processes, each valid by itself, may allow none."""
        return not self.restrictions or self.space.may_have_points(of_grid=self._of_grid)

    @property
    def _of_grid(self) -> bool:
        return self.task.strategy.sampler == "grid"

    def with_latest_time(self, edit: Edit) -> Edit:
        """Return the edit with a time after all others, since another process's clock may be ahead."""
        known = {one.id: one for one in self.edits}
        if edit.id in known or not known or edit.at > self.edits[-1].at:
            return known.get(edit.id, edit)
        return replace(edit, at=math.nextafter(self.edits[-1].at, math.inf))

    def with_(self, edit: Edit) -> Steering:
        """Return the steering with one more edit, the last. Raises TaskError if it is invalid or allows no point."""
        if edit.id in {known.id for known in self.edits}:
            return self
        self._check(edit)
        return Steering(self.task, self.full_space, (*self.edits, self.with_latest_time(edit)))

    def _check(self, edit: Edit) -> None:
        if edit.kind is EditKind.ENQUEUE:
            self.space.check(edit.params or {})
            return
        if edit.kind in (EditKind.DEQUEUE, EditKind.REORDER, EditKind.NOTE):
            return
        if edit.kind is EditKind.BUDGET:
            _check_budget(self.task, self.budget, edit.budget or {})
            return
        name = edit.parameter or ""
        if name not in self.full_space.parameters:
            raise UnknownNameError("parameter", name, self.full_space.parameters, field="parameter")
        parameter = self.full_space.parameters[name]
        for value in edit.values:
            if not parameter.contains(value):
                problem = other_type_text(parameter, value) or f"{value_text(value)} is not in the space"
                raise TaskError(f"{problem}: {range_text(parameter)}", field=name)
        if edit.kind is EditKind.NARROW:
            _check_range(edit, parameter)
        if edit.kind is EditKind.BAN and isinstance(parameter, Float) and parameter.step is None:
            raise TaskError("is continuous and has no values to ban; narrow its range instead", field=name)
        if edit.kind in (EditKind.BAN, EditKind.PIN) and not edit.values:
            raise TaskError(f"give a value: {range_text(parameter)}", field=name)
        before = self.restrictions.get(name) or Restriction(name, parameter)
        after = _restricted(before, edit)
        if after == before or (edit.kind is EditKind.NARROW and not edit.values and _same_range(before, after)):
            raise TaskError(_no_effect_text(edit, before), field=name)
        if not after.any_left:
            raise TaskError(f"'{edit.text}' leaves no value of it: {range_text(parameter)}, {after.text}", field=name)
        if self._of_grid and not after.grid():
            raise TaskError(f"'{edit.text}' leaves no value of its grid; pin it to one instead", field=name)
        restricted = self.full_space.restricted({**self.restrictions, name: after})
        if not restricted.may_have_points(of_grid=self._of_grid):
            raise TaskError(f"'{edit.text}' leaves no configuration that satisfies the rules", field=name)


def _same_range(before: Restriction, after: Restriction) -> bool:
    """Return whether a narrower range allows the same values."""
    own = before.parameter
    if isinstance(own, Choice | Bool):
        return False
    ends = [
        (
            own.low if one.low is None else max(own.low, one.low),
            own.high if one.high is None else min(own.high, one.high),
        )
        for one in (before, after)
    ]
    return ends[0] == ends[1]


def _no_effect_text(edit: Edit, before: Restriction) -> str:
    now = before.text.removeprefix(before.name).strip() or f"no edit restricts it; {range_text(before.parameter)}"
    if edit.kind is EditKind.FREE:
        return f"there is nothing to free: {now}"
    return f"'{edit.text}' changes nothing: {now}"


def named_point(params: Mapping[str, Value]) -> Point:
    """Return a configuration with canonical parameter names. Raises TaskError if it is not a mapping of names."""
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise TaskError(
            f"expected a mapping of parameter names to values, such as best.params, not {params!r}",
            field="point",
        )
    return {parameter_name(name): value for name, value in params.items()}


def _parameter(name: str) -> str:
    if not isinstance(name, str):
        raise TaskError(f"expected the name of a parameter, not {name!r}", field="parameter")
    return parameter_name(name)


def enqueue_edit(params: Mapping[str, Value], *, origin: str | None = None) -> Edit:
    """Return an edit that enqueues a configuration. Raises TaskError if it is not a mapping of names."""
    return Edit(EditKind.ENQUEUE, params=named_point(params), origin=origin)


def ban_edit(parameter: str, *values: Value) -> Edit:
    """Return an edit that excludes values of a parameter."""
    return Edit(EditKind.BAN, _parameter(parameter), values)


def pin_edit(parameter: str, value: Value) -> Edit:
    """Return an edit that allows one value of a parameter only."""
    return Edit(EditKind.PIN, _parameter(parameter), (value,))


def narrow_edit(
    parameter: str, low: float | None = None, high: float | None = None, values: Sequence[Value] = ()
) -> Edit:
    """Return an edit that allows part of a parameter's range, or some of its values."""
    name = _parameter(parameter)
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TaskError(f"expected a list of values, not {values!r}", field=name)
    return Edit(EditKind.NARROW, name, tuple(values), low, high)


def free_edit(parameter: str) -> Edit:
    """Return an edit that undoes the restrictions of a parameter."""
    return Edit(EditKind.FREE, _parameter(parameter))


def budget_edit(task: Task, **changes: Any) -> Edit:
    """Return an edit of the budget, which applies until the task itself changes that field."""
    asked = {name: getattr(task.budget, name, None) for name in changes}
    return Edit(EditKind.BUDGET, budget=changes, asked=asked)


def range_text(parameter: Choice | Bool | Int | Float) -> str:
    """Return a description of a parameter's values."""
    match parameter:
        case Choice(values=values):
            return f"it is one of {', '.join(map(value_text, values))}"
        case Bool():
            return "it is true or false"
        case Int(low=low, high=high, step=step):
            return f"it is from {low} to {high}" + (f" in steps of {step}" if step != 1 else "")
        case Float(low=low, high=high, step=step):
            text = f"it is from {number_text(low)} to {number_text(high)}"
            return text + (f" in steps of {number_text(step)}" if step else "")


def _restricted(before: Restriction, edit: Edit) -> Restriction:
    match edit.kind:
        case EditKind.FREE:
            return Restriction(before.name, before.parameter)
        case EditKind.BAN:
            return before.with_banned(edit.values)
        case EditKind.PIN:
            return before.with_only(edit.values[:1])
        case EditKind.NARROW:
            return before.with_only(edit.values) if edit.values else before.with_range(edit.low, edit.high)
    return before


def _check_range(edit: Edit, parameter: Choice | Bool | Int | Float) -> None:
    name = edit.parameter or ""
    if edit.values and (edit.low is not None or edit.high is not None):
        raise TaskError("give a range or values, not both", field=name)
    if edit.values:
        return
    if isinstance(parameter, Choice | Bool):
        raise TaskError(f"has no range; give the allowed values: {range_text(parameter)}", field=name)
    if edit.low is None and edit.high is None:
        raise TaskError(f"give low, high or both: {range_text(parameter)}", field=name)
    for end in (edit.low, edit.high):
        if end is not None and (isinstance(end, bool) or not isinstance(end, int | float)):
            raise TaskError(f"{end!r} is not a number", field=name)
        if end is not None and not abs(end) <= sys.float_info.max:
            raise TaskError(f"{end!r} is not a finite number", field=name)
    if edit.low is not None and edit.high is not None and edit.low > edit.high:
        raise TaskError(f"low {number_text(edit.low)} is above high {number_text(edit.high)}", field=name)


def _check_budget(task: Task, budget: Budget, changes: Mapping[str, Any]) -> None:
    if not changes:
        raise TaskError(f"give {', '.join(_BUDGET_PARTS[:-1])} or {_BUDGET_PARTS[-1]}", field="budget")
    for name in changes:
        if name not in _BUDGET_PARTS:
            raise UnknownNameError("part of the budget", name, _BUDGET_PARTS, field="budget")
        if isinstance(changes[name], bool):
            raise TaskError(f"{changes[name]} is not a number", field=f"budget.{name}")
    try:
        after = Budget.model_validate({**budget.model_dump(), **changes})
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        message = f"{wrong['msg'][0].lower()}{wrong['msg'][1:]}, not {wrong['input']!r}"
        raise TaskError(message, field=f"budget.{wrong['loc'][0]}") from None
    require_predictions(after, task.strategy, task.goal)
    require_price(after, task.price)
    for name in ("minutes", "gpu_hours", "usd"):
        if math.isinf(getattr(after, name) or 0.0):
            raise TaskError("give None for no limit", field=f"budget.{name}")


def _budget_changes(requested: Budget, edits: Sequence[Edit]) -> dict[str, Any]:
    """Return the budget fields that edits change, without those that the task has changed since."""
    changes: dict[str, Any] = {}
    for edit in edits:
        for name, value in (edit.budget or {}).items():
            if (edit.asked or {}).get(name) == getattr(requested, name):
                changes[name] = value
    return changes
