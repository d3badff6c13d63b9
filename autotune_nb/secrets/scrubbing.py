"""Takes the secrets that this process knows out of what is written: texts, JSON values, failures and errors.

A task refers to secrets by name only, but an engine may print its arguments, and genai-bench its key. Of a pod in a
cluster only the names of its secrets are known here, so that its texts are searched by the detectors as well.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from autotune_nb.errors import Failure
from autotune_nb.secrets.detectors import REDACTED, is_literal, redact
from autotune_nb.secrets.known_values import base64_cores, is_distinct, secret_values, written_forms

_lock = threading.Lock()
_told: set[str] = set()
_short: set[str] = set()
_named: set[str] = set()
_in_cluster = False
_known: Known | None = None

E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True)
class Known:
    """What is scrubbed: ``pattern`` matches values in every form; the rest is for texts alone."""

    forms: frozenset[str]
    pattern: re.Pattern[str]
    #: Values that are short or numbers.
    words: re.Pattern[str]
    #: Names with a value behind them that only a pod knows.
    names: re.Pattern[str]
    #: Whether detectors search as well.
    detect: bool

    @classmethod
    def of(cls, values: Iterable[str], short: Iterable[str], named: Iterable[str], detect: bool) -> Self:
        """Return what finds these values in all the forms they are written in."""
        distinct = set(filter(is_distinct, values))
        forms = {form for value in distinct for form in written_forms(value)}
        cores = {core for value in distinct for core in base64_cores(value)}
        # Beside a core are the ends of the secret.
        coded = rf"[A-Za-z0-9+/_-]{{0,4}}(?:{_either(cores)})[A-Za-z0-9+/_=-]{{0,4}}"
        return cls(
            frozenset(forms | cores),
            re.compile(f"{_either(forms)}|{coded}"),
            re.compile(rf"(?<![\w.])(?:{_either(short)})(?!\w|\.\d)"),
            _behind(named),
            detect,
        )

    def replaced(self, text: str, label: str = REDACTED) -> tuple[str, int]:
        """Return the text with a label for every value, and the number of them."""
        # A search for each is faster than one for all, and nearly every text has none.
        return self.pattern.subn(label, text) if any(form in text for form in self.forms) else (text, 0)

    def without_words(self, text: str) -> str:
        """Return the text without what is scrubbed in texts alone."""
        text = self.words.sub(REDACTED, text)
        text = self.names.sub(lambda found: found[1] + (REDACTED if is_literal(found[2]) else found[2]), text)
        return redact(text) if self.detect else text


def know(
    values: Iterable[str] = (), *, short: Iterable[str] = (), named: Iterable[str] = (), in_cluster: bool = False
) -> None:
    """Scrub these from now on, and the secret values of the environment as it is now.

    ``short`` are values that are also other words, ``named`` the names behind which a secret is printed.
    """
    global _known, _in_cluster
    with _lock:
        _told.update(values)
        _short.update(short)
        _named.update(named)
        _in_cluster = _in_cluster or in_cluster
        _known = Known.of(_told | secret_values(os.environ), _short, _named, _in_cluster)


def known() -> Known:
    """Return what is scrubbed now."""
    if _known is None:
        know()
    assert _known is not None
    return _known


def _either(texts: Iterable[str]) -> str:
    """Match any of the texts; without one, nothing."""
    # The longest first, since it may hold a shorter one.
    return "|".join(map(re.escape, sorted(texts, key=lambda text: (-len(text), text)))) or "(?!)"


def _behind(names: Iterable[str]) -> re.Pattern[str]:
    """Match ``NAME=VALUE``, ``name: 'VALUE'``, ``--name VALUE`` and ``'--name', 'VALUE'``."""
    either = _either(names).replace("_", "[-_]")
    named = rf"(?<![\w-])(?:(?:{either})[\"']?\s*[=:]\s*|--?(?:{either})[\s\"',=:]+)"
    return re.compile(rf"({named}[\[(]*[\"']*)([^\s\"',;()\[\]{{}}]{{3,}})", re.IGNORECASE)


def scrub(text: str) -> str:
    """Return the text without any known secret."""
    return known().without_words(known().replaced(text)[0])


def scrub_data(data: Any) -> Any:
    """Return a JSON value without any known secret in its texts and keys; its shape and its numbers stay."""
    # Each text once: the trials of a study repeat the names of figures thousands of times.
    replaced, texts = known().replaced, dict[str, str]()

    def scrubbed(value: Any) -> Any:
        if isinstance(value, str):
            if (text := texts.get(value)) is None:
                text = texts[value] = replaced(value)[0]
            return text
        if isinstance(value, dict):
            return {scrubbed(key): one if type(one) is float else scrubbed(one) for key, one in value.items()}
        return list(map(scrubbed, value)) if isinstance(value, list | tuple) else value

    return scrubbed(data)


def scrub_failure(failure: Failure) -> Failure:
    """Return the failure without known secrets in its texts."""
    lines = tuple(map(scrub, failure.log_lines))
    return replace(failure, message=scrub(failure.message), log_lines=lines, hint=scrub(failure.hint))


def scrub_error(error: E) -> E:
    """Return the error without known secrets, and its causes and what it carries without them too."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.args = tuple(map(_clean, one.args))
        # An OSError's text is made of what is in none of its own attributes.
        names = ["strerror", "filename", "filename2"] if isinstance(one, OSError) else []
        for name in (*names, *vars(one)):
            if (clean := _clean(value := getattr(one, name))) != value:
                setattr(one, name, clean)
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return error


def _clean(value: Any) -> Any:
    if isinstance(value, Failure):
        return scrub_failure(value)
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes):
        return scrub(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if type(value) in (list, tuple):
        return type(value)(map(_clean, value))
    return {key: _clean(one) for key, one in value.items()} if type(value) is dict else value
