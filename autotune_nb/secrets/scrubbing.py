"""Takes the secrets that this process knows out of what is written or said.

Known are the values of its environment's variables whose names say secret, the passwords in its URLs, and those that a
task refers to; in a cluster, where only the pods see the values, what stands behind their names and what looks like a
secret. It is the last line of defence: a task names secrets only, and yet an engine may print its arguments, and
genai-bench its key.
"""

from __future__ import annotations

import html
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

from autotune_nb.errors import Failure
from autotune_nb.secrets.values import base64_cores, is_written_out, secret_values

REDACTED = "***"
LEAST = 8
_lock = threading.Lock()
_told: set[str] = set()
_short: set[str] = set()
_named: set[str] = set()
_shapes = False
_known: Known | None = None

E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True)
class Known:
    """What is scrubbed. ``forms`` stand for nothing else, wherever they are; the rest is for texts alone: ``words`` are
    short or numbers, after ``names`` comes a value that nobody here knows, ``shapes`` is whether looks tell too."""

    forms: tuple[str, ...]
    pattern: re.Pattern[str]
    words: re.Pattern[str] | None = None
    names: re.Pattern[str] | None = None
    shapes: bool = False

    @property
    def only_in_texts(self) -> bool:
        """Whether a text has to be looked at beyond the forms."""
        return self.words is not None or self.names is not None or self.shapes


def know(
    values: Iterable[str] = (), *, short: Iterable[str] = (), named: Iterable[str] = (), shapes: bool = False
) -> None:
    """From now on these are scrubbed, and what the environment holds by now.

    ``short`` are values that could stand for other things too, ``named`` the names behind which a secret is printed.
    """
    global _known, _shapes
    with _lock:
        _told.update(values)
        _short.update(short)
        _named.update(named)
        _shapes = _shapes or shapes
        certain = {value for value in _told | secret_values(os.environ) if tells_one(value)}
        forms = {form for value in certain for form in _forms(value)}
        cores = {core for value in certain for core in base64_cores(value)}
        texts = "|".join(map(re.escape, _longest_first(forms)))
        # What is beside a core holds the secret's ends.
        coded = rf"[A-Za-z0-9+/_-]{{0,4}}(?:{'|'.join(map(re.escape, _longest_first(cores)))})[A-Za-z0-9+/_=-]{{0,4}}"
        words = "|".join(map(re.escape, _longest_first(_short)))
        _known = Known(
            tuple(_longest_first(forms | cores)),
            re.compile(f"{texts}|{coded}" if forms else r"(?!)"),
            re.compile(rf"(?<![\w.])(?:{words})(?!\w|\.\d)") if words else None,
            _behind(_named) if _named else None,
            _shapes,
        )


def known() -> Known:
    """What is scrubbed by now."""
    if _known is None:
        know()
    assert _known is not None
    return _known


def _longest_first(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=lambda text: (-len(text), text))


def _forms(value: str) -> Iterator[str]:
    """A value as it stands, and as JSON, a page and a URL write it."""
    yield from (value, value.strip(), html.escape(value), quote(value, safe="", errors="replace"))
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1])


def _behind(names: Iterable[str]) -> re.Pattern[str]:
    """``NAME=VALUE``, ``name: 'VALUE'``, ``--name VALUE`` and ``'--name', 'VALUE'``."""
    either = "|".join(re.escape(name).replace("_", "[-_]") for name in sorted(names))
    separator = r"(?:[\"']?\s*[=:]\s*|[\"'],\s*(?=[\"']))"
    named = rf"(?<![\w-])(?:(?:{either}){separator}|--?(?:{either})(?:{separator}|\s+))"
    return re.compile(rf"({named}[\[(]*[\"']*)([^\s\"',;()\[\]{{}}]{{3,}})", re.IGNORECASE)


def tells_one(value: str) -> bool:
    """Whether a value stands for nothing else: a short word or a number is found in any file."""
    return len(value.strip()) >= LEAST and not re.fullmatch(r"[-+.\deE]*", value.strip())


def scrub(text: str) -> str:
    """The text without any known secret."""
    return only_in_text(_certain(text, known()), known())


def _certain(text: str, now: Known) -> str:
    # A search for each is faster than one for all, and nearly every text has none.
    return now.pattern.sub(REDACTED, text) if any(form in text for form in now.forms) else text


def only_in_text(text: str, now: Known) -> str:
    """What is scrubbed in texts alone."""
    if now.words is not None:
        text = now.words.sub(REDACTED, text)
    if now.names is not None:
        text = now.names.sub(_without_value, text)
    if now.shapes and len(text) >= LEAST:
        # On first need, and a new one each time, since it keeps what it has seen.
        from autotune_nb.secrets.redaction import Redactor

        text = Redactor({}, homes=False).redact(text).text
    return text


def _without_value(found: re.Match[str]) -> str:
    return found[1] + REDACTED if is_written_out(found[2]) else found[0]


def scrub_data(data: Any) -> Any:
    """A JSON value without any known secret in its texts and keys; its shape and its numbers stay."""
    return _scrub_data(data, known(), {})


def _scrub_data(data: Any, now: Known, keys: dict[Any, Any]) -> Any:
    if isinstance(data, str):
        return _certain(data, now)
    if isinstance(data, dict):
        for key in data:
            # A study has a few, each of them thousands of times.
            if key not in keys:
                keys[key] = _certain(key, now) if isinstance(key, str) else key
        return {keys[key]: _scrub_data(value, now, keys) for key, value in data.items()}
    return [_scrub_data(value, now, keys) for value in data] if isinstance(data, list | tuple) else data


def scrub_failure(failure: Failure) -> Failure:
    """The failure without known secrets in its words."""
    lines = tuple(map(scrub, failure.log_lines))
    return replace(failure, message=scrub(failure.message), log_lines=lines, hint=scrub(failure.hint))


def scrub_error(error: E) -> E:
    """The error without any known secret in its words, and what it came from and what it carries with it."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        _scrub_one(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return error


def _scrub_one(error: BaseException) -> None:
    error.args = tuple(_clean(arg) for arg in error.args)
    for name, value in vars(error).items():
        if (clean := _clean(value)) != value:
            setattr(error, name, clean)
    if isinstance(error, OSError):
        # These are no attributes of its own, and its text is made of them.
        for name in ("strerror", "filename", "filename2"):
            if (clean := _clean(value := getattr(error, name))) != value:
                setattr(error, name, clean)


def _clean(value: Any) -> Any:
    if isinstance(value, Failure):
        return scrub_failure(value)
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes):
        return scrub(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_clean, value))
    return {key: _clean(one) for key, one in value.items()} if type(value) is dict else value
