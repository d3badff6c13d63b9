"""Errors about a task's data that repeat no secret: neither what looks like one, nor what stands where one would."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.plain import STAND_INS, looks_like_one
from autotune_nb.secrets.reference import variable_of
from autotune_nb.secrets.values import looks_random

_HIDDEN = "***"
#: Where any text may be a secret, whatever it looks like.
_PLACES = re.compile(
    r"(?:engine\.(?:env|args|raw_args|command)|benchmark\.(?:api_key|pod))(?:[.\[].*)?|benchmark(?:\[.*)?"
)
_LEAST, _LOOKED_AT, _LIKELY_AT = 6, 8, 12
_WORD = re.compile(r"[^\s\"'`,;:(){}<>\[\]|&]+")
_PIECE = re.compile(r"[A-Za-z0-9]{6,}")


def discreet(error: TaskError, data: Any) -> TaskError:
    """The error without what may be a secret in the data that it is about; the same one where it repeats none."""
    message = discreet_text(error.message, data)
    # A path is made of keys.
    field = _hide(error.field, _in_keys(data, error.field, likely="unknown field" in error.message))
    # What it came from holds all of the data.
    error.__cause__ = error.__context__ = None
    if message == error.message and field == error.field:
        return error
    return TaskError(message, field=field)


def discreet_text(text: str, data: Any) -> str:
    """A sentence about the data in the same way."""
    likely = "did you mean" not in text
    return _hide(text, (*_in_keys(data, text, likely), *_in_values(data, "", text, likely)))


def _hide(text: str, hidden: Iterable[str]) -> str:
    for one in sorted(set(hidden), key=len, reverse=True):
        text = text.replace(one, f"'{_HIDDEN}'" if one.startswith(("'", '"')) else _HIDDEN)
    return text


def _in_keys(data: Any, text: str, likely: bool) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _words(str(key), text, likely)
            yield from _in_keys(value, text, likely)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _in_keys(value, text, likely)


def _in_values(data: Any, field: str, text: str, likely: bool, name: str = "") -> Iterator[str]:
    """What of the values stands in the text and may be a secret."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _in_values(value, f"{field}.{key}" if field else str(key), text, likely, str(key))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _in_values(value, f"{field}[{index}]", text, likely, name)
    elif isinstance(data, str | int | float) and not isinstance(data, bool):
        # Quoted, since the sentence may be made of the same words.
        form = repr(data)
        if len(str(data)) >= _LEAST and form in text and str(data).lower() not in STAND_INS and not variable_of(data):
            placed = _PLACES.fullmatch(field) or says_secret(name)
            if placed or (isinstance(data, str) and len(data) >= _LIKELY_AT and looks_like_one(data)):
                yield form
        yield from _words(str(data), text, likely)


def _words(value: str, text: str, likely: bool) -> Iterator[str]:
    for word in _WORD.findall(value):
        if len(word) >= _LOOKED_AT and word in text and (_mixed(word) or (likely and _likely(word))):
            yield word


def _mixed(word: str) -> bool:
    """Letters and digits in turn, as tokens have them and names have not."""
    return any(sum(a.isdigit() != b.isdigit() for a, b in pairwise(piece)) >= 3 for piece in _PIECE.findall(word))


def _likely(word: str) -> bool:
    return len(word) >= _LIKELY_AT and re.fullmatch(r"[\w+=.~-]+", word) is not None and looks_random(word)
