"""Codecs between values of a task and one line of text in a field.

``read(show(value))`` returns the value. Values are written as in a task file (YAML 1.2: ``on`` and ``off`` are words);
lists and mappings are written without their brackets.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import yaml

from autotune_nb.task.file import TaskLoader
from autotune_nb.task.scenario import split_scenarios


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


#: The value of an empty field: the task does not have it, and its default applies.
MISSING: Final = _Missing()


class _Loader(TaskLoader):
    """Reads words as in a task file, and 1e-5 as a number as in JSON."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^-?\d+(?:\.\d+)?[eE][-+]?\d+$"), list("-0123456789")
)


@dataclass(frozen=True)
class Codec:
    """Shows one kind of value in a field and reads it back. ``read`` raises ValueError."""

    show: Callable[[Any], str]
    read: Callable[[str], Any]


def _load(text: str, loader: type[Any] = _Loader) -> Any:
    try:
        value = yaml.load(text, loader)
        # A list that contains itself, by an anchor, cannot be written as JSON.
        json.dumps(value, default=str)
    except yaml.YAMLError as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ValueError(f"cannot be read: {problem}; put words with special characters in quotes") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    return value


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


_PLAIN = re.compile(r"(?:--?)?[A-Za-z_/.][\w/.+%@()=-]*(?: [\w/.+%@()=-]+)*", re.ASCII)


def _word(text: str) -> str:
    """Return a text, in quotes if it would be read as another value."""
    if _PLAIN.fullmatch(text):
        try:
            if _same(_load(f"[{text}]"), [text]):
                return text
        except ValueError:
            pass
    return quoted(text)


def quoted(text: str) -> str:
    """Return a text in double quotes, with unprintable characters escaped."""
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def show_value(value: Any) -> str:
    """Return a JSON value as text, lists and objects in YAML's flow style."""
    if isinstance(value, str):
        return _word(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show_value, value))}]"
    if isinstance(value, dict):
        return "{" + _pairs(value) + "}"
    return json.dumps(value, default=str)


def _pairs(value: dict[Any, Any]) -> str:
    return ", ".join(f"{show_value(key)}: {show_value(item)}" for key, item in value.items())


def _read_list(text: str, loader: type[Any] = _Loader) -> Any:
    value = _load(f"[{text}]", loader) if text.strip() else MISSING
    if value is not MISSING and not isinstance(value, list):
        raise ValueError("cannot be read: separate the values with commas")
    return value


def _read_items(text: str, loader: type[Any] = _Loader) -> Any:
    """Read a list that may be written in brackets, since its items are not lists."""
    value = _load(text, loader) if text.strip().startswith("[") else _read_list(text, loader)
    if value is not MISSING and not isinstance(value, list):
        raise ValueError("cannot be read: separate the values with commas")
    return value


def _read_mapping(text: str, loader: type[Any] = _Loader) -> Any:
    if not text.strip():
        return MISSING
    value = _load(text if text.strip().startswith("{") else "{" + text + "}", loader)
    if not isinstance(value, dict) or (any(v in (None, "") for v in value.values()) and not _NOTHING.search(text)):
        raise ValueError("cannot be read: write 'name: value', separated with commas")
    return value


#: Values that are empty on purpose, unlike those of ``a:`` and ``a:1``, where a value or a space is missing.
_NOTHING = re.compile(r"null|~|\"\"|''", re.IGNORECASE)


def _show_number(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1e15:
        # 600.0 is shown as 600; a negative zero keeps its sign.
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0.0"
    return quoted(value) if isinstance(value, str) and not value.strip() else str(value)


def _read_number(text: str) -> Any:
    text = text.strip()
    if not text:
        return MISSING
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _show_words(value: Any) -> str:
    """Return a text, in quotes if a field would change it."""
    text = str(value)
    return text if text and text.isprintable() and not text.startswith('"') and text == text.strip() else quoted(text)


def _read_words(text: str) -> Any:
    if not text.strip():
        return MISSING
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        try:
            value = _load(text)
        except ValueError:
            return text
        return value if isinstance(value, str) else text
    return text.strip()


def _show_command(value: Any) -> str:
    if isinstance(value, list):
        return show_value(value)
    return quoted(value) if value.startswith("[") else _show_words(value)


def _read_command(text: str) -> Any:
    return _load(text, yaml.BaseLoader) if text.strip().startswith("[") else _read_words(text)


def _read_scenarios(text: str) -> Any:
    parts = [part.strip() for part in split_scenarios(text)]
    return [part for part in parts if part] or MISSING


def _show_level(value: Any) -> str:
    return _pairs(value) or "{}" if isinstance(value, dict) else show_value(value)


def _read_level(text: str) -> Any:
    if ":" in text or text.strip().startswith("{"):
        return _read_mapping(text)
    return _read_number(text)


_COUNT = re.compile(r"\s*\d+\s*")


def _show_count_or_items(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    return f"[{show_value(value[0])}]" if len(value) == 1 else LIST.show(value) or "[]"


WORDS = Codec(_show_words, _read_words)
#: true, false or a text.
SWITCH_OR_WORDS = Codec(
    lambda value: str(value).lower() if isinstance(value, bool) else _show_words(value),
    lambda text: {"true": True, "false": False}.get(text.strip().lower(), _read_words(text)),
)
NUMBER = Codec(_show_number, _read_number)
LIST = Codec(lambda value: ", ".join(map(show_value, value)), _read_list)
#: A list whose items are not lists; an empty list is not the same as no list.
ITEMS = Codec(lambda value: LIST.show(value) or "[]", _read_items)
#: A count or a list of items: a single number is a count, and a list of one item is in brackets.
COUNT_OR_ITEMS = Codec(_show_count_or_items, lambda text: (int if _COUNT.fullmatch(text) else _read_items)(text))
MAPPING = Codec(_pairs, _read_mapping)
#: All items are words, even a bare 1.
WORD_LIST = Codec(lambda value: LIST.show(value) or "[]", lambda text: _read_items(text, yaml.BaseLoader))
WORD_MAPPING = Codec(_pairs, lambda text: _read_mapping(text, yaml.BaseLoader))
COMMAND = Codec(_show_command, _read_command)
SCENARIOS = Codec(", ".join, _read_scenarios)
LEVEL = Codec(_show_level, _read_level)
#: A text of several lines, unchanged.
LINES = Codec(str, lambda text: text or MISSING)
