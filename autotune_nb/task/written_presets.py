"""The presets of a task once it is parsed: as they were written, and what they expand to."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Choice, Parameter
from autotune_nb.task.preset_expansion import KEY, expand
from autotune_nb.task.presets import merged, with_expansion, written_as
from autotune_nb.task.task import Task

_PARAMETER: TypeAdapter[Any] = TypeAdapter(Parameter)


def as_written(data: dict[str, Any], task: Task) -> dict[str, Any]:
    """Return a task's plain data with the names of its presets in place of what they expand to.

    The expansion stays where the names would not give the same task, such as after a change of this package.
    """
    rest = {key: value for key, value in data.items() if key != "expanded_presets"}
    if not task.expanded_presets:
        return rest
    try:
        expansion = expand(task.expanded_presets, task.engine.kind)
    except TaskError:
        return rest
    of_preset = {name for name in expansion.parameters if is_expanded(task, name)}
    own = {name: value for name, value in data["parameters"].items() if name not in of_preset}
    _, rules = merged(expansion, own, task.engine.args, task.engine.kind)
    short = {
        **rest,
        "parameters": {KEY: written_as(task.expanded_presets), **own},
        "rules": [rule for rule in task.rules if rule not in rules],
    }
    if not short["rules"]:
        del short["rules"]
    long = with_expansion(short)
    same = list(long["parameters"]) == list(task.parameters) and long.get("rules", []) == task.rules
    parsed = {name: _PARAMETER.validate_python(value) for name, value in long["parameters"].items()}
    return short if same and parsed == task.parameters else rest


def is_expanded(task: Task, name: str) -> bool:
    """Return whether a parameter of a task is its presets', not the task's own."""
    if not task.expanded_presets or name not in task.parameters:
        return False
    try:
        values = expand(task.expanded_presets, task.engine.kind).parameters.get(name)
    except TaskError:
        return False
    return values is not None and task.parameters[name] == Choice(values=list(values))


def preset_lines(task: Task) -> list[str]:
    """Return what the presets of a task expand to, as lines of text; none if it names no preset."""
    if not task.expanded_presets:
        return []
    names = ", ".join(one.name for one in task.expanded_presets)
    parameters = {name: one for name, one in task.parameters.items() if is_expanded(task, name)}
    shown = [f"{name}: {_values(one)}" for name, one in parameters.items()]
    own = [name for name in task.parameters if name not in parameters]
    of_presets = [*shown, *(f"rule: {rule}" for rule in task.rules)]
    lines = [f"preset {names} expands to {'; '.join(of_presets)}"]
    return [*lines, f"the task itself sets {', '.join(own)}"] if own else lines


def _values(parameter: Any) -> str:
    return ", ".join("unset" if value is None else str(value) for value in parameter.grid())
