"""Task files: JSON and YAML in, one-line errors that name the field, the prototype's layout too."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from autotune_nb.errors import TaskError, UnknownNameError, did_you_mean
from autotune_nb.prototype import from_prototype, is_prototype, prototype_field
from autotune_nb.resources import shared_folder
from autotune_nb.task import Task


class PrototypeWarning(UserWarning):
    """Something in a prototype's task file could not be carried over as it was."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans, true and false alone: a flag's ``on`` and ``off`` stay words."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def load_task(path: str | Path) -> Task:
    """Read, convert and validate a task file; a bare name is one that comes with the package. Raises TaskError."""
    file = Path(path).expanduser()
    if not file.suffix and file.name == str(path) and not file.exists():
        file = shared_folder("notebooks") / "tasks" / f"{path}.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        shipped = [f.stem for f in (shared_folder("notebooks") / "tasks").glob("*.yaml")]
        hint = did_you_mean(file.stem, shipped) if "/" not in str(path) else ""
        raise TaskError(f"there is no task file {str(path)!r}{hint}") from None
    except (OSError, ValueError) as error:
        raise TaskError(f"the task file {str(file)!r} cannot be read: {error}") from None
    return parse_task(_read(text, file))


def _read(text: str, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(text) if file.suffix == ".json" else yaml.load(text, _Loader)
    except json.JSONDecodeError as error:
        raise TaskError(f"{file.name} is not JSON: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise TaskError(f"{file.name} is not YAML{at}: {problem}") from None
    except (ValueError, RecursionError) as error:
        # A date such as 2024-13-45, or lists in lists without end.
        raise TaskError(f"{file.name} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise TaskError(f"{file.name} holds {type(data).__name__}, not a task's fields")
    return data


def parse_task(data: dict[str, Any]) -> Task:
    """A task from plain data, the prototype's layout too. Raises TaskError with the field in its message."""
    if not isinstance(data, dict):
        raise TaskError(f"a task is an object of fields, not {type(data).__name__}")
    _require_text(data)
    prototype = is_prototype(data)
    if prototype:
        data, notes = from_prototype(data)
        for note in notes:
            warnings.warn(note, PrototypeWarning, stacklevel=_user_level())
    try:
        return Task.model_validate(data)
    except ValidationError as error:
        wrong = _first_error(error)
        raise TaskError(wrong.message, field=prototype_field(wrong.field) if prototype else wrong.field) from None


def task_data(task: Task) -> dict[str, Any]:
    """A task as plain data without what is only default; ``parse_task`` gives it back unchanged."""
    data = task.model_dump(mode="json", exclude_defaults=True)
    for name, parameter in task.parameters.items():
        # The type is a default too, and all that a bool has.
        data["parameters"][name] = {"type": parameter.type, **data["parameters"][name]}
    return data


def _require_text(data: Any, field: str = "") -> None:
    """Raises TaskError for text that no program, file or database takes: a null byte, half a surrogate pair."""
    if isinstance(data, dict):
        for key, value in data.items():
            _require_text(key, field)
            _require_text(value, f"{field}.{key}" if field else str(key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            _require_text(value, f"{field}[{index}]")
    elif isinstance(data, str) and ("\x00" in data or not data.isprintable()):
        try:
            data.encode("utf-8")
        except UnicodeEncodeError:
            raise TaskError(f"{data!r} is not valid text", field=field) from None
        if "\x00" in data and not field.startswith("workload.request_params"):
            raise TaskError(f"{data!r} holds a null byte", field=field)


def _user_level() -> int:
    """How many frames up the caller outside this package is, so that a warning shows the user's own line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("autotune_nb."):
        frame, level = frame.f_back, level + 1
    return level


def save_task(task: Task, path: str | Path) -> Path:
    """Write a task so that ``load_task`` gives it back unchanged."""
    file = Path(path).expanduser()
    data = task_data(task)
    if file.suffix == ".json":
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    else:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        if set(text) & set("\x85\u2028\u2029"):
            # Line ends to YAML, which it writes unescaped and reads as spaces.
            text = yaml.safe_dump(data, sort_keys=False)
    file.write_text(text, encoding="utf-8")
    return file


def _first_error(error: ValidationError) -> TaskError:
    """The first thing that is wrong, in the task's own words, with the nearest known field where one is unknown."""
    details = error.errors(include_url=False)
    detail = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    path = _own_path(detail["loc"])
    if detail["type"] != "extra_forbidden":
        # Of the members of a union, the one that got deepest is the one that was meant.
        inside = [d for d in details if _own_path(d["loc"])[: len(path)] == path]
        detail = max(inside, key=lambda d: len(_own_path(d["loc"])))
        path = _own_path(detail["loc"])
    same = [d for d in details if _own_path(d["loc"]) == path]
    field = _dotted(path)
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, TaskError):
        return TaskError(cause.message, field=cause.field or field)
    if detail["type"] == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1])
        return TaskError(f"unknown field{did_you_mean(str(path[-1]), known)}", field=field)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "union_tag_invalid":
        tag = str(detail["ctx"]["tag"])
        return UnknownNameError("type", tag, ("choice", "bool", "int", "float"), field=f"{field}.type")
    if detail["type"] == "model_type":
        section = _models_named(detail["ctx"]["class_name"])
        fields = ", ".join(list(section.model_fields)[:4]) if section else "its fields"
        return TaskError(f"is a section with fields such as {fields}, not {detail['input']!r}", field=field)
    wanted = [d["msg"].removeprefix("Input should be ") for d in same]
    if len(same) > 1 and not any(d["msg"] == want for d, want in zip(same, wanted, strict=True)):
        message = f"Input should be {' or '.join(dict.fromkeys(wanted))}"
    value = detail["input"]
    plain = cause is None and detail["type"] != "missing" and not isinstance(value, dict | list)
    shown = f", not {value!r}" if plain else ""
    others = len({_dotted(_own_path(d["loc"])) for d in details} - {_dotted(path), _dotted(path[:-1])})
    more = f" (and {others} more)" if others else ""
    return TaskError(f"{message[0].lower()}{message[1:]}{shown}{more}", field=field)


_UNION_TAG = re.compile(r"bool|int|float|choice|str|none|(list|dict|literal)\[.*\]|LevelRef|\[key\]")
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
