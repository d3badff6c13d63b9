"""Reads, validates and writes task files in JSON and YAML, the prototype's layout included."""

from __future__ import annotations

import json
import math
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
from autotune_nb.task.problems import Examination, examine
from autotune_nb.task.prototype import from_prototype, is_prototype, prototype_field
from autotune_nb.task.task import SECRETS_CHECKED, Task
from autotune_nb.task.validation_errors import first_error
from autotune_nb.task.written_presets import as_written

#: What the storages and other programs' JSON readers accept.
_MAX_BITS, _MAX_DIGITS = 64, 40
_TOO_DEEP = "its lists or mappings are nested too deep, or contain themselves"


class PrototypeWarning(UserWarning):
    """Part of a prototype's task file was converted with changes or ignored."""


#: The values of a task file with its aliases replaced; few lines of aliases to aliases can stand for billions.
_MAX_VALUES = 1_000_000


class TaskLoader(yaml.SafeLoader):
    """A YAML loader with YAML 1.2's booleans only, so that ``on`` and ``off`` are text.

    It refuses a key that is given twice, of which YAML's readers silently keep the last, and aliases without an end.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                mark = first.setdefault((key.tag, key.value), key.start_mark)
                if mark is not key.start_mark:
                    problem = f"the key {key.value[:80]} is given twice, first at line {mark.line + 1}"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _require_finite(node)
        return node


def _require_finite(root: yaml.Node) -> None:
    """Raise ComposerError if aliases make a collection contain itself, or the whole too large."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if not isinstance(node, yaml.CollectionNode):
            return 1
        known = sizes.get(id(node))
        if known == 0:
            problem = "an alias makes this list or mapping contain itself"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        if known is None:
            sizes[id(node)] = 0
            parts = (part for item in node.value for part in (item if isinstance(item, tuple) else (item,)))
            known = sizes[id(node)] = 1 + sum(map(size, parts))
        if known > _MAX_VALUES:
            problem = f"its aliases stand for more than {_MAX_VALUES:,} values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return known

    size(root)


TaskLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
TaskLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class _TaskDumper(yaml.SafeDumper):
    """A YAML dumper that quotes every text which ``TaskLoader`` reads as something else."""


for _either in (TaskLoader, _TaskDumper):
    # Also without a dot or a sign, as in YAML 1.2: 1e-3 is a number.
    _either.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def _has_task(folder: Path) -> bool:
    try:
        return (folder / "task.json").is_file()
    except (OSError, ValueError):
        return False


def load_task(path: str | Path) -> Task:
    """Read, convert and validate a task file; a bare name is a task of this package. Raises TaskError."""
    if not isinstance(path, str | Path):
        hint = "; use Task.parse for plain data" if isinstance(path, dict) else ""
        raise TaskError(
            f"expected the path of a task file or the name of a task of this package, not "
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
        reason = getattr(error, "strerror", None) or error
        hint = f"; it is the folder of a study, whose task is {file / 'task.json'}" if _has_task(file) else ""
        raise TaskError(f"the task file {str(file)!r} cannot be read: {reason}{hint}") from None
    return parse_task(_read(text, file))


def _read(text: str, file: Path) -> dict[str, Any]:
    try:
        data = json.loads(text, object_pairs_hook=_object) if file.suffix == ".json" else yaml.load(text, TaskLoader)
    except json.JSONDecodeError as error:
        raise TaskError(f"{file.name} is not valid JSON: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        problem = " ".join(_without_quotations(getattr(error, "problem", None) or error).split())
        hint = _YAML_HINTS.get(problem, "")
        raise TaskError(f"{file.name} is not valid YAML{at}: {problem}{hint}") from None
    except RecursionError:
        raise TaskError(f"{file.name} cannot be read: {_TOO_DEEP}") from None
    except ValueError as error:
        # A date such as 2024-13-45.
        hint = ": an integer has at most 64 bits" if "set_int_max_str_digits" in str(error) else ""
        reason = "a number has thousands of digits" if hint else _without_quotations(error)
        raise TaskError(f"{file.name} cannot be read: {reason}{hint}") from None
    except (KeyError, AttributeError):
        raise TaskError(f"{file.name} cannot be read: a value does not match its !! tag; remove the tag") from None
    if not isinstance(data, dict):
        raise TaskError(f"{file.name} contains {type(data).__name__}, not the fields of a task")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON. Raises ValueError if it has a key twice, of which Python's reader keeps the last."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]} is given twice in the same object")
        found[key] = value
    return found


#: Hints for the errors of text that should have been quoted.
_YAML_HINTS = {
    "found undefined alias": "; a text that begins with * needs quotes",
    "could not determine a constructor for the tag": "; a text that begins with ! needs quotes",
}


def _without_quotations(error: object) -> str:
    """Return a parser's message without its quotations from the file, which may hold secrets."""
    quoted = r"(?:: )?(?:'[^']*'|\"[^\"]*\")"
    text = re.sub(quoted, lambda found: found[0] if "'<" in found[0] or len(found[0]) <= 3 else "", str(error))
    return text.strip()


def parse_task(data: dict[str, Any]) -> Task:
    """Return the task of plain data, in this layout or the prototype's. Raises TaskError naming the field."""
    if not isinstance(data, dict):
        raise _not_an_object(data)
    try:
        return _parse(data)
    except RecursionError:
        wrong = TaskError(f"the task cannot be read: {_TOO_DEEP}")
    except TaskError as error:
        wrong = without_secrets(error, data)
    # Not within the handler: what an error comes from is kept with it, and holds the data.
    raise wrong


def _parse(data: dict[str, Any]) -> Task:
    for wrong in chain(_value_problems(data), literal_secrets(data)):
        raise wrong
    given, prototype = data, is_prototype(data)
    if prototype:
        data, notes = from_prototype(data)
        for note in notes:
            warnings.warn(text_without_secrets(note, given), PrototypeWarning, stacklevel=_caller_stacklevel())
    try:
        return Task.model_validate(data, context=SECRETS_CHECKED)
    except ValidationError as error:
        wrong = first_error(error, Task)
        raise TaskError(wrong.message, field=prototype_field(wrong.field) if prototype else wrong.field) from None


def task_data(task: Task, *, expanded: bool = False) -> dict[str, Any]:
    """Return a task as plain data without default values; ``parse_task`` returns an equal task.

    Presets are written by name, or with ``expanded`` as the parameters and rules that they stand for, without names.
    """
    data = task.model_dump(mode="json", exclude_defaults=True)
    for name, parameter in task.parameters.items():
        # The type is a default too, and the only field of a bool.
        data["parameters"][name] = {"type": parameter.type, **data["parameters"][name]}
    if task.objectives:
        # It is the first of them.
        del data["objective"]
    if expanded:
        data.pop("expanded_presets", None)
        return data
    return as_written(data, task)


def problems(data: dict[str, Any]) -> list[TaskError]:
    """Return every error in a task's plain data, each with its field; the error that ``parse_task`` raises first."""
    return list(examine_task(data).problems) if isinstance(data, dict) else [_not_an_object(data)]


def examine_task(data: dict[str, Any], *, search: bool = True) -> Examination:
    """Return every error in a task's plain data, and its valid part; see ``problems.examine``."""
    text = [*_value_problems(data), *literal_secrets(data)]
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
    errors = (*text, *(p for p in rest if p.field not in {t.field for t in text}))
    return replace(found, problems=tuple(without_secrets(one, given) for one in errors))


def _not_an_object(data: Any) -> TaskError:
    return TaskError(f"a task is an object of fields, not {type(data).__name__}")


def _value_problems(data: Any, field: str = "") -> Iterator[TaskError]:
    """Yield an error for every value that cannot be stored or passed on.

    Texts with a null byte or half a surrogate pair, and numbers that are not finite or have more than 64 bits.
    """
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _value_problems(key, field)
            yield from _value_problems(value, f"{field}.{key}" if field else str(key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _value_problems(value, f"{field}[{index}]")
    elif isinstance(data, int) and not -(2 ** (_MAX_BITS - 1)) <= data < 2 ** (_MAX_BITS - 1):
        yield TaskError(f"{_digits(data)} is too large: an integer has at most {_MAX_BITS} bits", field=field)
    elif isinstance(data, float) and not math.isfinite(data):
        yield TaskError(f"{data!r} is not a finite number", field=field)
    elif isinstance(data, str) and ("\x00" in data or not data.isprintable()):
        try:
            data.encode("utf-8")
        except UnicodeEncodeError:
            yield TaskError(f"{data!r} is not valid text", field=field)
            return
        if "\x00" in data and not field.startswith("workload.request_params"):
            yield TaskError(f"{data!r} contains a null byte", field=field)


def _digits(number: int) -> str:
    """Return an integer, only its first digits if it is long; Python refuses to format one of thousands of digits."""
    digits = int(number.bit_length() * math.log10(2))
    return str(number) if digits < _MAX_DIGITS else f"an integer of about {digits} digits"


def _caller_stacklevel() -> int:
    """Return the ``stacklevel`` of the caller outside this package, so that a warning shows the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("autotune_nb."):
        frame, level = frame.f_back, level + 1
    return level


def task_yaml(task: Task) -> str:
    """Return a task as YAML; ``load_task`` reads it back unchanged."""
    data = task_data(task)
    form: dict[str, Any] = {"Dumper": _TaskDumper, "sort_keys": False, "default_flow_style": None, "width": 110}
    text: str = yaml.dump(data, **form, allow_unicode=True)
    if set(text) & set("\x85\u2028\u2029"):
        # YAML reads these as line ends; unescaped they would come back as spaces.
        text = yaml.dump(data, **form)
    return text


def save_task(task: Task, path: str | Path) -> Path:
    """Write a task so that ``load_task`` reads it back unchanged."""
    file = Path(path).expanduser()
    if file.suffix == ".json":
        text = json.dumps(task_data(task), indent=2, ensure_ascii=False) + "\n"
    else:
        text = task_yaml(task)
    file.write_text(text, encoding="utf-8")
    return file
