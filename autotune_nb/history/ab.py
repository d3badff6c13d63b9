"""A/B: a task that compares two given configurations by the confirmation alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autotune_nb.engines.given_flags import nearest_flag
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import StudyError, TaskError, UnknownNameError
from autotune_nb.opened import OpenedStudy
from autotune_nb.task.budget import CONFIRM_ROUNDS
from autotune_nb.task.parameters import Value, parameter_name
from autotune_nb.task.task import Task

#: Of a study's trial: ``runs/a:7``, or its best: ``runs/a:best``.
_OF_STUDY = re.compile(r"(?P<study>.+):(?P<trial>\d+|best)")
_FORMS = (
    "write NAME=VALUE,NAME=VALUE, the name of a YAML or JSON file, STUDY:TRIAL or STUDY:best, or default for the "
    "engine's default"
)


def configuration_of(source: str) -> dict[str, Value]:
    """Return the configuration that a text names: values, a file, a trial of a study, or ``default``.

    Raises TaskError for another text, StudyError if there is no such trial.
    """
    if source == "default":
        return {}
    if found := _OF_STUDY.fullmatch(source):
        return _of_trial(Path(found["study"]), found["trial"])
    if Path(source).expanduser().is_file():
        return _of_file(Path(source).expanduser())
    pairs = [part.partition("=") for part in source.split(",")]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise TaskError(f"{source!r} is no configuration; {_FORMS}", field="configuration")
    try:
        return {name.strip(): yaml.safe_load(text) for name, _, text in pairs}
    except yaml.YAMLError:
        raise TaskError(f"the values of {source!r} cannot be read; {_FORMS}", field="configuration") from None


def _of_trial(folder: Path, trial: str) -> dict[str, Value]:
    opened = OpenedStudy(folder)
    if trial == "best":
        best = opened.best_configuration
        if best is None:
            raise StudyError(f"the study in {folder} has no trial that keeps every limit")
        return dict(best.params)
    found = next((one for one in opened.history if one.number == int(trial)), None)
    if found is None:
        raise StudyError(f"the study in {folder} has no trial {trial}; it has {len(opened.history)} trials")
    return dict(found.params)


def _of_file(file: Path) -> dict[str, Value]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TaskError(f"{file} cannot be read: {' '.join(str(error).split())}", field="configuration") from None
    if not isinstance(data, dict):
        raise TaskError(f"{file} has {type(data).__name__}, not names with values", field="configuration")
    return {str(name): value for name, value in data.items()}


def ab_task(task: Task, a: Mapping[str, Value], b: Mapping[str, Value], *, rounds: int | None = None) -> Task:
    """Return the task that measures A, as its engine's default, and B, each once and then in rounds.

    Its other parameters are those of the engine's default. Raises TaskError if both are the same, or for a misspelled
    name.
    """
    data: dict[str, Any] = task.model_dump()
    # A parameter without a value is as one left out.
    first, second = ({parameter_name(name): v for name, v in one.items() if v is not None} for one in (a, b))
    for name in {**first, **second}:
        _require_no_misspelt(name, task)
    fixed = task.engine.args
    args: dict[str, Value] = {**fixed, **first}
    # What only A changes is in B as the task has it; None omits the flag.
    only_a = {name: fixed.get(name) for name in first.keys() - second.keys()}
    searched: dict[str, Value] = {**only_a, **second}
    differing = {name: value for name, value in searched.items() if not _equal(args.get(name), value)}
    if not differing:
        raise TaskError("A and B are the same configuration", field="configuration")
    own = task.parameters
    parameters = {
        name: {
            "type": "choice",
            "values": [value],
            **({"flag": own[name].flag, "style": own[name].style} if name in own else {}),
        }
        for name, value in differing.items()
    }
    most = rounds or task.confirm.rounds or CONFIRM_ROUNDS
    confirm = {**data["confirm"], "rounds": most, "budget": max(task.confirm.budget, 2 * most + 1)}
    changes = {
        "engine": {**data["engine"], "args": args},
        "parameters": parameters,
        # Both are given, whether or not the task's rules allow them; the engine's own still apply.
        "rules": [],
        "expanded_presets": [],
        "warm_start": [],
        "budget": {**data["budget"], "trials": 2, "baseline": True, "remeasure_default": False, "cut": False},
        "strategy": {"sampler": "grid"},
        "confirm": confirm,
    }
    return Task.parse({**data, **changes})


def _require_no_misspelt(name: str, task: Task) -> None:
    """Raise UnknownNameError for a flag that is unknown and resembles a known one."""
    engine = engine_for(task)
    if name in task.parameters or name in task.engine.args or engine.flag_named(name.partition(".")[0]) is not None:
        return
    known = list(dict.fromkeys([*task.parameters, *(flag.name for flag in engine.flags)]))
    if nearest_flag(name, known):
        hint = "to pass it anyway, name it in the parameters of the task"
        raise UnknownNameError(f"flag of {engine.name}", name, known, field="configuration", hint=hint)


def _equal(one: Value, other: Value) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
