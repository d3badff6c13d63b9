"""Task files: JSON and YAML in, one-line errors that name the field, the prototype's layout too."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from autotune_nb.errors import TaskError, did_you_mean
from autotune_nb.prototype import from_prototype, is_prototype, prototype_field
from autotune_nb.task import Task


class PrototypeWarning(UserWarning):
    """Something in a prototype's task file could not be carried over as it was."""


def load_task(path: str | Path) -> Task:
    """Read, convert and validate a task file. Raises TaskError."""
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TaskError(f"there is no task file {str(file)!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"the task file {str(file)!r} cannot be read: {error}") from None
    return parse_task(_read(text, file))


def _read(text: str, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise TaskError(f"{file.name} is not JSON: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        raise TaskError(f"{file.name} is not YAML{at}: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise TaskError(f"{file.name} holds {type(data).__name__}, not a task's fields")
    return data


def parse_task(data: dict[str, Any]) -> Task:
    """A task from plain data, the prototype's layout too. Raises TaskError with the field in its message."""
    prototype = is_prototype(data)
    if prototype:
        data, notes = from_prototype(data)
        for note in notes:
            warnings.warn(note, PrototypeWarning, stacklevel=3)
    try:
        return Task.model_validate(data)
    except ValidationError as error:
        wrong = _first_error(error)
        raise TaskError(wrong.message, field=prototype_field(wrong.field) if prototype else wrong.field) from None


def save_task(task: Task, path: str | Path) -> Path:
    """Write a task so that ``load_task`` gives it back unchanged."""
    file = Path(path).expanduser()
    data = task.model_dump(mode="json", exclude_defaults=True)
    if file.suffix == ".json":
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    else:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    file.write_text(text, encoding="utf-8")
    return file


def _first_error(error: ValidationError) -> TaskError:
    """The first thing that is wrong, in the task's own words, with the nearest known field where one is unknown."""
    details = error.errors(include_url=False)
    detail = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    path = _own_path(detail["loc"])
    field = _dotted(path)
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, TaskError):
        return TaskError(cause.message, field=cause.field or field)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1])
        return TaskError(f"unknown field{did_you_mean(str(path[-1]), known)}", field=field)
    message = detail["msg"].removeprefix("Value error, ")
    value = detail["input"]
    plain = cause is None and detail["type"] != "missing" and not isinstance(value, dict | list)
    shown = f", not {value!r}" if plain else ""
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return TaskError(f"{message[0].lower()}{message[1:]}{shown}{more}", field=field)


_KINDS = ("choice", "bool", "int", "float")
_UNION_TAGS = ("LevelRef", "literal['best']", "[key]")


def _own_path(loc: tuple[int | str, ...]) -> list[int | str]:
    """An error's place in the file, without what pydantic adds for the members of a union."""
    return [
        part
        for i, part in enumerate(loc)
        if part not in _UNION_TAGS and not (part in _KINDS and i == 2 and loc[0] == "parameters")
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
        if part not in model.model_fields:
            return None
        model = model.model_fields[str(part)].annotation
        found = _models_in(model)
        return found[0] if len(found) == 1 else tuple(found) or None
    if isinstance(model, tuple):
        tagged = {m.model_fields["type"].default: m for m in model if "type" in m.model_fields}
        return tagged.get(part, model)
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_models_in(argument))
    return found
