"""A task in one line, and as a small table for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotune_nb.task.parameters import Bool, Choice, Float, Int
from autotune_nb.trial.formatting import levels_text

if TYPE_CHECKING:
    from autotune_nb.task.task import Task

#: Where trials run, in words.
_PLACES = {
    "local": "this machine",
    "container": "containers on this machine",
    "ome": "Kubernetes with OME",
    "replay": "a recorded table",
}
#: The most values of a parameter that are listed.
_MOST_VALUES = 8


def task_line(task: Task) -> str:
    """Return a task in one line, as its repr."""
    many = len(task.parameters)
    parts = [
        f"{_model(task)} on {task.engine.kind}",
        f"{many} parameter{'s' * (many != 1)}",
        _objective(task),
        *([f"{len(task.limits)} limit{'s' * (len(task.limits) != 1)}"] if task.limits else []),
    ]
    return f"<Task {task.name!r}: {', '.join(parts)}>"


def task_html(task: Task) -> str:
    """Return a task as a small HTML table, with its parameters below it."""
    rows = "".join(_row(name, text) for name, text in _rows(task))
    parameters = "".join(_row(name, values_text(parameter)) for name, parameter in task.parameters.items())
    rules = "".join(f"<div>{html.escape(rule)}</div>" for rule in task.rules)
    many = f"{len(task.parameters)} parameters" if len(task.parameters) != 1 else "1 parameter"
    many += f", {len(task.rules)} rule{'s' * (len(task.rules) != 1)}" if task.rules else ""
    return (
        f"<div><b>Task {html.escape(task.name)}</b><table>{rows}</table>"
        f"<details><summary>{many}</summary><table>{parameters}</table>{rules}</details></div>"
    )


def _row(name: str, text: str) -> str:
    left = "style='text-align:left'"
    return f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(text)}</td></tr>"


def _rows(task: Task) -> Iterator[tuple[str, str]]:
    if task.description:
        yield "Description", task.description
    yield "Model", _model(task)
    yield "Engine", task.engine.kind
    yield "Runs on", _PLACES[task.deploy.kind]
    yield "Traffic", levels_text(task.workload.levels)
    yield "Objective", _objective(task)
    if task.limits:
        yield "Limits", ", ".join(task.limits)
    yield "Budget", f"{task.num_trials} trials" if task.num_trials is not None else "unbounded number of trials"


def _model(task: Task) -> str:
    return task.model.id_or_path or "random weights"


def _objective(task: Task) -> str:
    goal = task.goal
    first = f"{goal.direction} {goal.figure}" + (f" at {goal.level}" if goal.level is not None else "")
    return ", ".join([first, *(f"{one.direction} {one.figure}" for one in goal.others)])


def values_text(parameter: Choice | Bool | Int | Float) -> str:
    """Return the values of a parameter: ``1, 2, 4`` or ``16 to 512``."""
    if isinstance(parameter, Bool):
        return "false, true"
    if isinstance(parameter, Choice):
        shown = ", ".join(str(value) for value in parameter.values[:_MOST_VALUES])
        return f"{shown}, …" if len(parameter.values) > _MOST_VALUES else shown
    step = f" in steps of {parameter.step:g}" if parameter.step else ""
    return f"{parameter.low:g} to {parameter.high:g}{step}{', logarithmic' if parameter.log else ''}"
