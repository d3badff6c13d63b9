"""What is wrong with a task's plain data, in the task's own words: every error, each with its field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError, model_validator

from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Parameter, ParameterName, parameter_name
from autotune_nb.task.space import Rule, SearchSpace
from autotune_nb.task.task import LOOKED_AT, Task
from autotune_nb.task.validation_errors import every_error
from autotune_nb.trial.score import Limit


class _Fields(Task):
    """A task of which each field is checked by itself."""

    @model_validator(mode="after")
    def _consistent(self) -> _Fields:
        return self


_PARAMETERS = TypeAdapter(dict[ParameterName, Parameter])
#: What stands in for a required field that is wrong, so that the rest can be looked at.
_STAND_INS: dict[str, Any] = {
    "name": "x",
    "model": "x",
    "engine": "llama_cpp",
    "parameters": {},
    "workload": {"scenarios": ["D(1,1)"]},
    "objective": "minimize ttft",
}


@dataclass(frozen=True)
class Examined:
    """Every error of a task's data, and as much of the task as is right.

    ``failed`` names the top-level fields with an error. In ``sound`` a default or a stand-in takes their place; of the
    parameters, those that are right are there all the same.
    """

    problems: tuple[TaskError, ...]
    sound: Task
    failed: frozenset[str]


def examine(data: dict[str, Any], *, search: bool = True) -> Examined:
    """Look at all of a task's data. Without ``search`` no point that keeps every rule is looked for: that may take
    seconds."""
    found: list[TaskError] = []
    failed: frozenset[str] = frozenset()
    try:
        sound: Task = _Fields.model_validate(data, context=LOOKED_AT)
    except ValidationError as error:
        found = every_error(error, Task)
        failed = frozenset(_top(e.field) for e in found)
        sound = _Fields.model_validate(_right_part(data, failed), context=LOOKED_AT)
    found += _between(data, sound, failed, search)
    return Examined(tuple(found), sound, frozenset(_top(e.field) for e in found))


def _top(field: str) -> str:
    return re.split(r"[.\[]", field, maxsplit=1)[0]


def _right_part(data: dict[str, Any], failed: frozenset[str]) -> dict[str, Any]:
    part = {key: value for key, value in data.items() if key not in failed}
    part |= {key: value for key, value in _STAND_INS.items() if key not in part}
    if "parameters" in failed and isinstance(data.get("parameters"), dict):
        right = (item for item in data["parameters"].items() if _takes(_PARAMETERS, dict([item])))
        part["parameters"] = {parameter_name(name): value for name, value in right}
    return part


def _takes(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _between(data: dict[str, Any], sound: Task, failed: frozenset[str], search: bool) -> list[TaskError]:
    """What is wrong between fields that are right by themselves, in the order in which a Task looks at it."""
    found: list[TaskError] = []
    for i, text in _texts(data.get("limits")):
        with _kept(found):
            Limit.parse(text, field=f"limits[{i}]")
    if not failed & {"objective", "workload"}:
        with _kept(found):
            sound.model_copy(update={"limits": []}).goal  # noqa: B018
    if not sound.parameters and "parameters" not in failed:
        found.append(TaskError("there is nothing to tune: name at least one parameter", field="parameters"))
    else:
        before = len(found)
        given = data.get("parameters")
        # A parameter that is wrong is known by its name all the same.
        wrong = [parameter_name(name) for name in given if isinstance(name, str)] if isinstance(given, dict) else []
        names = list(dict.fromkeys([*sound.parameters, *wrong]))
        for i, text in _texts(data.get("rules")):
            with _kept(found):
                Rule(text, names, field=f"rules[{i}]")
        if search and len(found) == before and not failed & {"parameters", "rules"}:
            with _kept(found):
                SearchSpace.of(sound.parameters, sound.rules)
    if not failed & {"parameters", "engine"}:
        for name in sorted(sound.parameters.keys() & sound.engine.args.keys()):
            found.append(TaskError(f"{name!r} is fixed here and searched in parameters", field=f"engine.args.{name}"))
    if sound.strategy.sampler == "grid" and "strategy" not in failed:
        for name, parameter in sound.parameters.items():
            with _kept(found):
                next(SearchSpace({name: parameter}).grid())
    return found


@contextmanager
def _kept(found: list[TaskError]) -> Iterator[None]:
    try:
        yield
    except TaskError as error:
        found.append(error)


def _texts(value: Any) -> list[tuple[int, str]]:
    return [(i, v) for i, v in enumerate(value) if isinstance(v, str)] if isinstance(value, list) else []
