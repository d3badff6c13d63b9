"""Makes imported trials fit: valid levels, the levels of the task, and values of the types that its space has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Value
from autotune_nb.task.scenario import canonical_scenario
from autotune_nb.task.space import SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level, Measurement, Validity
from autotune_nb.trial.trial import Trial, TrialState

#: The most notes of one kind, and the most levels in one.
_MAX_NOTES = 5
#: How pandas and spreadsheets write booleans.
_BOOLEANS: dict[Any, bool] = {"True": True, "TRUE": True, "False": False, "FALSE": False}


def first_notes(notes: Sequence[str], more: str = "more") -> list[str]:
    """Return the first notes, and a line with the number of the others."""
    return [*notes[:_MAX_NOTES], *([f"and {len(notes) - _MAX_NOTES} {more}"] if len(notes) > _MAX_NOTES else [])]


def with_valid_levels(trials: Sequence[Trial], max_failed_requests: int) -> tuple[list[Trial], list[str]]:
    """Return the trials without levels that are invalid, and notes that name these; a trial without any keeps all."""
    notes: list[str] = []
    kept: list[Trial] = []
    for trial in trials:
        checked = [_checked(one, max_failed_requests) for one in trial.measurements]
        valid = tuple(one for one in checked if one.valid)
        if trial.state is TrialState.COMPLETE and valid:
            invalid = (one for one in checked if not one.valid)
            notes += [f"{_name(trial)}: {one.level} is left out: {'; '.join(one.problems)}" for one in invalid]
            trial = trial.with_(measurements=valid)
        elif trial.state is TrialState.COMPLETE:
            trial = trial.with_(measurements=tuple(checked))
        kept.append(trial)
    return kept, first_notes(notes)


def with_levels_of(task: Task, trials: Sequence[Trial], source: str) -> tuple[list[Trial], list[str]]:
    """Return the trials with the levels of the task alone, and notes that name the others.

    A complete trial with none of them is left out. Raises TaskError if that is every trial.
    """
    levels = set(task.workload.levels)
    kept: list[Trial] = []
    foreign: dict[Level, None] = {}
    left_out: list[str] = []
    for trial in trials:
        measured = [_canonical(one) for one in trial.measurements]
        own = tuple(one for one in measured if one.level in levels)
        foreign |= dict.fromkeys(one.level for one in measured if one.level not in levels)
        if own or not measured:
            kept.append(trial.with_(measurements=own))
        else:
            left_out.append(f"{_name(trial)} is left out: it has no level of the task")
    if left_out and not any(trial.measurements for trial in kept):
        raise TaskError(
            f"{source} has no level of the task, which has {_listed(task.workload.levels)}; it has {_listed(foreign)} "
            "(for levels that are only a number, --scenario names the scenario)",
            field="workload",
        )
    notes = [f"levels that the task does not have are left out: {_listed(foreign)}"] if foreign else []
    return kept, [*notes, *first_notes(left_out, "more are left out")]


def with_plain_types(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials with booleans and whole numbers where a parameter has nothing else, as pandas writes these."""
    seen: dict[str, list[Value]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            seen.setdefault(name, []).append(value)
    # Once each: thousands of trials have as many values.
    converted = {name for name, values in seen.items() if _have_plain_types(values)}
    return [
        trial.with_(
            params={
                name: next(_other_types(value), value) if name in converted else value
                for name, value in trial.params.items()
            }
        )
        for trial in trials
    ]


def value_in(space: SearchSpace, name: str, value: Value) -> Value:
    """Return a value as the space has it: of ``64.0`` 64, and of ``True`` true, if the space has that alone."""
    parameter = space.parameters.get(name)
    if parameter is None or parameter.contains(value):
        return value
    return next((one for one in _other_types(value) if parameter.contains(one)), value)


def _have_plain_types(values: Iterable[Value]) -> bool:
    """Return whether a parameter's values are all booleans, or all whole numbers, in another form."""
    others = [next(_other_types(one), None) for one in values if one is not None and type(one) is not int]
    return None not in others and len({type(one) for one in others}) == 1


def _other_types(value: Value) -> Iterator[Value]:
    if isinstance(value, str) and value in _BOOLEANS:
        yield _BOOLEANS[value]
    if isinstance(value, float) and value.is_integer():
        yield int(value)


def _checked(one: Measurement, max_failed_requests: int) -> Measurement:
    """Return a measurement with the problem of its failed requests; that of a table has none yet."""
    if not one.valid:
        return one
    validity = Validity(max_failed_requests=max_failed_requests, min_completed_requests=0)
    problems = validity.problems(completed=one.num_completed_requests, failed=one.num_failed_requests, figures={})
    return replace(one, problems=problems)


def _canonical(one: Measurement) -> Measurement:
    try:
        return replace(one, level=replace(one.level, scenario=canonical_scenario(one.level.scenario)))
    except ValueError:
        return one


def _name(trial: Trial) -> str:
    folder = trial.params.get("folder") if len(trial.params) == 1 else None
    return str(folder) if folder is not None else f"configuration {trial.number}"


def _listed(levels: Iterable[Level]) -> str:
    names = list(map(str, levels))
    return ", ".join(names[:_MAX_NOTES]) + (f" and {len(names) - _MAX_NOTES} more" if len(names) > _MAX_NOTES else "")
