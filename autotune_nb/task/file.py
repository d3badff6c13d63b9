"""Task files: JSON and YAML in, one-line errors that name the field, the prototype's layout too."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from autotune_nb.errors import TaskError, did_you_mean, repr_without_contents
from autotune_nb.resources import shared_folder
from autotune_nb.secrets.literals import literal_secrets, text_without_secrets, without_secrets
from autotune_nb.task.problems import Examined, examine
from autotune_nb.task.prototype import from_prototype, is_prototype, prototype_field
from autotune_nb.task.task import LOOKED_AT, Task
from autotune_nb.task.validation_errors import first_error


class PrototypeWarning(UserWarning):
    """Something in a prototype's task file could not be carried over as it was."""


class TaskLoader(yaml.SafeLoader):
    """YAML 1.2's booleans, true and false alone: a flag's ``on`` and ``off`` stay words."""


TaskLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
TaskLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def load_task(path: str | Path) -> Task:
    """Read, convert and validate a task file; a bare name is one that comes with the package. Raises TaskError."""
    if not isinstance(path, str | Path):
        hint = "; Task.parse makes a task of plain data" if isinstance(path, dict) else ""
        raise TaskError(
            f"expected the path of a task file or the name of one that comes with the package, not "
            f"{repr_without_contents(path)}{hint}"
        )
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
        told = getattr(error, "strerror", None) or error
        raise TaskError(f"the task file {str(file)!r} cannot be read: {told}") from None
    return parse_task(_read(text, file))


def _read(text: str, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(text) if file.suffix == ".json" else yaml.load(text, TaskLoader)
    except json.JSONDecodeError as error:
        raise TaskError(f"{file.name} is not JSON: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        problem = " ".join(_unquoted(getattr(error, "problem", None) or error).split())
        hint = _YAML_HINTS.get(problem, "")
        raise TaskError(f"{file.name} is not YAML{at}: {problem}{hint}") from None
    except (ValueError, RecursionError) as error:
        # A date such as 2024-13-45, or lists in lists without end.
        raise TaskError(f"{file.name} cannot be read: {_unquoted(error)}") from None
    except (KeyError, AttributeError):
        raise TaskError(
            f"{file.name} cannot be read: what stands after a !! is no such value; leave out the !!"
        ) from None
    if not isinstance(data, dict):
        raise TaskError(f"{file.name} holds {type(data).__name__}, not a task's fields")
    return data


#: What a text without quotes is taken for.
_YAML_HINTS = {
    "found undefined alias": "; a text that begins with * needs quotes",
    "could not determine a constructor for the tag": "; a text that begins with ! needs quotes",
}


def _unquoted(error: object) -> str:
    """What a parser says without the words of the file that it quotes: one may be a secret."""
    quoted = r"(?:: )?(?:'[^']*'|\"[^\"]*\")"
    kept = re.sub(quoted, lambda found: found[0] if "'<" in found[0] or len(found[0]) <= 3 else "", str(error))
    return kept.strip()


def parse_task(data: dict[str, Any]) -> Task:
    """A task from plain data, the prototype's layout too. Raises TaskError with the field in its message."""
    if not isinstance(data, dict):
        raise _no_object(data)
    try:
        return _parsed(data)
    except TaskError as error:
        wrong = without_secrets(error, data)
    # Not within the handler: what an error comes from is kept with it, and holds the data.
    raise wrong


def _parsed(data: dict[str, Any]) -> Task:
    for wrong in chain(_text_problems(data), literal_secrets(data)):
        raise wrong
    given, prototype = data, is_prototype(data)
    if prototype:
        data, notes = from_prototype(data)
        for note in notes:
            warnings.warn(text_without_secrets(note, given), PrototypeWarning, stacklevel=_user_level())
    try:
        return Task.model_validate(data, context=LOOKED_AT)
    except ValidationError as error:
        wrong = first_error(error, Task)
        raise TaskError(wrong.message, field=prototype_field(wrong.field) if prototype else wrong.field) from None


def task_data(task: Task) -> dict[str, Any]:
    """A task as plain data without what is only default; ``parse_task`` gives it back unchanged."""
    data = task.model_dump(mode="json", exclude_defaults=True)
    for name, parameter in task.parameters.items():
        # The type is a default too, and all that a bool has.
        data["parameters"][name] = {"type": parameter.type, **data["parameters"][name]}
    return data


def problems(data: dict[str, Any]) -> list[TaskError]:
    """Everything that is wrong with a task's plain data, each with its field, the error of ``parse_task`` first."""
    return list(examined(data).problems) if isinstance(data, dict) else [_no_object(data)]


def examined(data: dict[str, Any], *, search: bool = True) -> Examined:
    """All that is wrong with a task's plain data, and the part that is right; see ``task_errors.examine``."""
    text = [*_text_problems(data), *literal_secrets(data)]
    given, prototype = data, is_prototype(data)
    if prototype:
        try:
            data, _ = from_prototype(data)
        except TaskError as error:
            return replace(
                examine({}, search=False), problems=tuple(without_secrets(one, given) for one in (*text, error))
            )
    found = examine(data, search=search)
    rest = [TaskError(p.message, field=prototype_field(p.field)) if prototype else p for p in found.problems]
    told = (*text, *(p for p in rest if p.field not in {t.field for t in text}))
    return replace(found, problems=tuple(without_secrets(one, given) for one in told))


def _no_object(data: Any) -> TaskError:
    return TaskError(f"a task is an object of fields, not {type(data).__name__}")


def _text_problems(data: Any, field: str = "") -> Iterator[TaskError]:
    """What no program, file or database takes in a text: a null byte, half a surrogate pair."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _text_problems(key, field)
            yield from _text_problems(value, f"{field}.{key}" if field else str(key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _text_problems(value, f"{field}[{index}]")
    elif isinstance(data, str) and ("\x00" in data or not data.isprintable()):
        try:
            data.encode("utf-8")
        except UnicodeEncodeError:
            yield TaskError(f"{data!r} is not valid text", field=field)
            return
        if "\x00" in data and not field.startswith("workload.request_params"):
            yield TaskError(f"{data!r} holds a null byte", field=field)


def _user_level() -> int:
    """How many frames up the caller outside this package is, so that a warning shows the user's own line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("autotune_nb."):
        frame, level = frame.f_back, level + 1
    return level


def task_yaml(task: Task) -> str:
    """A task as YAML, what belongs together in a line; ``load_task`` gives it back unchanged."""
    data = task_data(task)
    text: str = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    if set(text) & set("\x85\u2028\u2029"):
        # Line ends to YAML, which it writes unescaped and reads as spaces.
        text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=110)
    return text


def save_task(task: Task, path: str | Path) -> Path:
    """Write a task so that ``load_task`` gives it back unchanged."""
    file = Path(path).expanduser()
    if file.suffix == ".json":
        text = json.dumps(task_data(task), indent=2, ensure_ascii=False) + "\n"
    else:
        text = task_yaml(task)
    file.write_text(text, encoding="utf-8")
    return file
