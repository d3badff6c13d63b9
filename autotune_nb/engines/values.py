"""How a value is written on a command line, and how the words of a command line are read back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from autotune_nb.task.parameters import Style, Value

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_FLAG = re.compile(r"--?[A-Za-z]")


def size(text: str) -> int | None:
    """Return the number of a size such as ``16k`` (16,000), ``1K`` (1,024) or ``25.6k``; None for another text."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, suffix = found.groups()
    power = _POWERS[suffix.lower()]
    if suffix.islower():
        return int(float(number) * 1000**power)
    # As in vLLM, a binary size is a whole number.
    return None if "." in number else int(number) * 1024**power


def number(value: Any, *, sizes: bool = False) -> float | None:
    """Return the number that a value stands for, also as a text; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return None
    if sizes and (meant := size(value)) is not None:
        return meant
    try:
        return int(value)
    except ValueError:
        pass
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def from_json(value: Value) -> Value:
    """Return the value of a JSON text, and everything else as it is. Raises ValueError for a text that is not JSON."""
    if not isinstance(value, str):
        return value
    found: Value = json.loads(value)
    return found


def render(flag: str, style: Style, value: Value, *, on_off: bool = False) -> list[str]:
    """Return the arguments for one flag and value."""
    if value is None:
        return []
    if style == "switch":
        return [flag] if value else []
    if style == "negatable":
        if flag.startswith("--no-"):
            return [flag if value else "--" + flag.removeprefix("--no-")]
        return [flag if value else "--no-" + flag.lstrip("-")]
    if isinstance(value, list) and style in ("list", "repeat", "comma"):
        words = [_word(one, on_off) for one in value]
        if style == "repeat":
            return [part for word in words for part in (flag, word)]
        return [flag, *words] if style == "list" else [flag, ",".join(words)]
    if style == "json" or isinstance(value, dict | list):
        return [flag, _json_text(value)]
    return [flag, _word(value, on_off)]


def _word(value: Value, on_off: bool) -> str:
    if isinstance(value, bool):
        # YAML reads a bare on/off as a boolean, so a flag with these values gets the words back.
        return ("on" if value else "off") if on_off else str(value).lower()
    return _json_text(value) if isinstance(value, dict | list) else str(value)


def _json_text(value: Value) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def is_flag(word: str) -> bool:
    """Return whether a word is a flag; a negative number is a value."""
    return _FLAG.match(word) is not None


def read_flags(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag of a command line with the words that follow it; ``--flag=value`` is a flag and its value."""
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not is_flag(word):
            continue
        flag, has_value, value = word.partition("=")
        values = [value] if has_value else []
        while not has_value and at < len(words) and not is_flag(words[at]):
            values.append(words[at])
            at += 1
        yield flag, values


def read_value(words: Sequence[str]) -> Value:
    """Return what the words after a flag mean: True for a flag alone, a number, JSON, or the text."""
    if not words:
        return True
    text = words[0]
    if (found := number(text)) is not None:
        return int(found) if found == int(found) and "." not in text else found
    if text.startswith(("{", "[")):
        try:
            return from_json(text)
        except ValueError:
            return text
    return text
