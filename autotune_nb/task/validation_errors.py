"""Converts pydantic's validation errors to TaskErrors, one per field, named as in the task file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from autotune_nb.errors import TaskError, UnknownNameError, did_you_mean
from autotune_nb.task.parameters import NO_VALUES

#: How many errors a message lists beside the first.
_NUM_OTHERS = 5


def first_error(error: ValidationError, model: type[BaseModel]) -> TaskError:
    """Return the first error of a model's validation; its message lists the others."""
    first, *others = every_error(error, model)
    if not others:
        return first
    more = f"; and {len(others) - _NUM_OTHERS} more" if len(others) > _NUM_OTHERS else ""
    listed = "; ".join(str(other).partition("\n")[0] for other in others[:_NUM_OTHERS])
    return TaskError(f"{first.message} (also wrong: {listed}{more})", field=first.field)


def every_error(error: ValidationError, model: type[BaseModel]) -> list[TaskError]:
    """Return every error of a model's validation, one per field, in order."""
    return list(_errors_by_path(error.errors(include_url=False), model))


def _errors_by_path(details: list[Any], model: type[BaseModel]) -> Iterator[TaskError]:
    seen: list[list[int | str]] = []
    for detail in sorted(details, key=lambda d: d["type"] != "extra_forbidden"):
        path = _own_path(detail["loc"])
        if detail["type"] != "extra_forbidden":
            # Of the members of a union, the one with the deepest error is probably the intended one.
            inside = [d for d in details if _own_path(d["loc"])[: len(path)] == path]
            detail = max(inside, key=lambda d: len(_own_path(d["loc"])))
            path = _own_path(detail["loc"])
        if path not in seen:
            seen.append(path)
            yield _task_error(detail, path, details, model)


def _task_error(detail: Any, path: list[int | str], details: list[Any], model: type[BaseModel]) -> TaskError:
    field = _dotted(path)
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, TaskError):
        return TaskError(cause.message, field=cause.field or field)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1], model)
        return TaskError(f"unknown field{did_you_mean(str(path[-1]), known)}", field=field)
    if detail["type"] == "missing" and path[0] == "parameters" and path[-1] == "values":
        return TaskError(NO_VALUES, field=field)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "union_tag_invalid":
        tag = str(detail["ctx"]["tag"])
        return UnknownNameError("type", tag, ("choice", "bool", "int", "float"), field=f"{field}.type")
    if detail["type"] == "model_type":
        section = _models_named(detail["ctx"]["class_name"], model)
        fields = ", ".join(list(section.model_fields)[:4]) if section else "its fields"
        return TaskError(f"is a section with fields such as {fields}, not {detail['input']!r}", field=field)
    same = [d for d in details if _own_path(d["loc"]) == path]
    wanted = [d["msg"].removeprefix("Input should be ") for d in same]
    if len(same) > 1 and not any(d["msg"] == want for d, want in zip(same, wanted, strict=True)):
        message = f"Input should be {' or '.join(dict.fromkeys(wanted))}"
    value = detail["input"]
    plain = cause is None and detail["type"] != "missing" and not isinstance(value, dict | list)
    shown = f", not {value!r}" if plain else ""
    if plain and detail["type"] == "list_type" and len(same) == 1 and value is not None:
        shown += f"; write [{json.dumps(value, default=str)}]"
    if detail["type"] == "string_type" and isinstance(value, int | float):
        # How a boolean was written is not known: yes, on, true.
        shown += "; put it in quotes" + ("" if isinstance(value, bool) else f', as "{value}"')
    return TaskError(f"{message[0].lower()}{message[1:]}{shown}", field=field)


_UNION_TAG = re.compile(r"bool|(constrained-)?(int|str)|float|choice|none|(list|dict|literal)\[.*\]|LevelRef|\[key\]")
#: Fields whose keys are chosen by the user, so that a key may look like a tag.
_OWN_KEYS = (("parameters",), ("engine", "args"), ("engine", "env"), ("workload", "request_params"))


def _own_path(loc: tuple[int | str, ...]) -> list[int | str]:
    """Return the path of an error in the file, without the parts that pydantic adds for members of a union."""
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


def _fields_at(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Return the field names of the section at this path of a model."""
    section: Any = model
    for part in loc:
        section = _section(section, part)
        if section is None:
            return []
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []


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


def _models_named(name: str, model: type[BaseModel]) -> type[BaseModel] | None:
    found = [m for f in model.model_fields.values() for m in _models_in(f.annotation)]
    return next((one for one in found if one.__name__ == name), None)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_models_in(argument))
    return found
