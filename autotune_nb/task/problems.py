"""What is wrong with a task's plain data, in the task's own words: every error, each with its field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator

from autotune_nb.errors import TaskError, UnknownNameError, did_you_mean
from autotune_nb.task.parameters import Parameter, ParameterName, parameter_name
from autotune_nb.task.space import Rule, SearchSpace
from autotune_nb.task.task import LOOKED_AT, Task
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
        found = every_error(error)
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


def first_error(error: ValidationError) -> TaskError:
    """The first thing that is wrong, and where more is."""
    details = error.errors(include_url=False)
    path, told, plain = next(_told(details))
    others = dict.fromkeys(_dotted(_own_path(d["loc"])) for d in details)
    named = [field for field in others if field not in (_dotted(path), _dotted(path[:-1]))]
    if not plain or not named:
        return told
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return TaskError(f"{told.message} (also wrong: {', '.join(named[:3])}{more})", field=told.field)


def every_error(error: ValidationError) -> list[TaskError]:
    """Everything that is wrong, the first error first."""
    return [told for _, told, _ in _told(error.errors(include_url=False))]


def _told(details: list[Any]) -> Iterator[tuple[list[int | str], TaskError, bool]]:
    """Every place with an error, what is wrong there, and whether it says so little that others are worth counting."""
    seen: list[list[int | str]] = []
    for detail in sorted(details, key=lambda d: d["type"] != "extra_forbidden"):
        path = _own_path(detail["loc"])
        if detail["type"] != "extra_forbidden":
            # Of the members of a union, the one that got deepest is the one that was meant.
            inside = [d for d in details if _own_path(d["loc"])[: len(path)] == path]
            detail = max(inside, key=lambda d: len(_own_path(d["loc"])))
            path = _own_path(detail["loc"])
        if path not in seen:
            seen.append(path)
            yield path, *_in_words(detail, path, details)


def _in_words(detail: Any, path: list[int | str], details: list[Any]) -> tuple[TaskError, bool]:
    field = _dotted(path)
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, TaskError):
        return TaskError(cause.message, field=cause.field or field), False
    if detail["type"] == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1])
        return TaskError(f"unknown field{did_you_mean(str(path[-1]), known)}", field=field), False
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "union_tag_invalid":
        tag = str(detail["ctx"]["tag"])
        return UnknownNameError("type", tag, ("choice", "bool", "int", "float"), field=f"{field}.type"), False
    if detail["type"] == "model_type":
        section = _models_named(detail["ctx"]["class_name"])
        fields = ", ".join(list(section.model_fields)[:4]) if section else "its fields"
        return TaskError(f"is a section with fields such as {fields}, not {detail['input']!r}", field=field), False
    same = [d for d in details if _own_path(d["loc"]) == path]
    wanted = [d["msg"].removeprefix("Input should be ") for d in same]
    if len(same) > 1 and not any(d["msg"] == want for d, want in zip(same, wanted, strict=True)):
        message = f"Input should be {' or '.join(dict.fromkeys(wanted))}"
    value = detail["input"]
    plain = cause is None and detail["type"] != "missing" and not isinstance(value, dict | list)
    shown = f", not {value!r}" if plain else ""
    return TaskError(f"{message[0].lower()}{message[1:]}{shown}", field=field), True


_UNION_TAG = re.compile(r"bool|(constrained-)?int|float|choice|str|none|(list|dict|literal)\[.*\]|LevelRef|\[key\]")
#: Where the keys are the user's own, so that one may look like a tag.
_OWN_KEYS = (("parameters",), ("engine", "args"), ("engine", "env"), ("workload", "request_params"))


def _own_path(loc: tuple[int | str, ...]) -> list[int | str]:
    """An error's place in the file, without what pydantic adds for the members of a union."""
    return [
        part
        for i, part in enumerate(loc)
        if loc[:i] in _OWN_KEYS or not (isinstance(part, str) and _UNION_TAG.fullmatch(part))
    ]


def _dotted(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _fields_at(loc: tuple[int | str, ...]) -> list[str]:
    """The known fields of the section at this place of a task."""
    model: Any = Task
    for part in loc:
        model = _section(model, part)
        if model is None:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _section(model: Any, part: int | str) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        if part == model.__name__:
            return model
        if part not in model.model_fields:
            return None
        model = model.model_fields[str(part)].annotation
        found = _models_in(model)
        return found[0] if len(found) == 1 else tuple(found) or None
    if isinstance(model, tuple):
        tagged = {m.model_fields["type"].default: m for m in model if "type" in m.model_fields}
        return tagged.get(part, model)
    return model


def _models_named(name: str) -> type[BaseModel] | None:
    found = [m for f in Task.model_fields.values() for m in _models_in(f.annotation)]
    return next((model for model in found if model.__name__ == name), None)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_models_in(argument))
    return found
