"""Secrets written out in a task's plain data: found for their refusal, and kept out of every error about the data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.secrets.detectors import REDACTED, find_secrets, is_literal
from autotune_nb.secrets.known_values import MIN_LENGTH, SCHEME
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.references import secret_of
from autotune_nb.secrets.scrubbing import scrub

#: Where a text is a command line or a part of one.
_COMMANDS = ("engine.env", "engine.args", "engine.raw_args", "engine.command", "deploy.run_args", "on_end.command")
#: A cell of a shell; a line for a shell or a magic, with the lines that continue it.
_SHELL = re.compile(r"\A\s*%%(?:bash|sh|script)\b[\s\S]*|(?m:^)[ \t]*[!%].*(?:(?<=\\)\n.*)*")
#: A line that is a variable or a header with its value, as ``env``, ``%env`` and ``curl -v`` print it.
_NAMED = r"(?m)^(?:> |env: )?(?:([A-Z][A-Z0-9_]*)=|([\w-]+): +(?:\w+ +)?(?=\S*\d)(?=\S*[A-Za-z]))(\S+)\s*$"
_MAX_BITS = 64
_HINT = "name where it is: ${VARIABLE} of the environment, or in a cluster secret://NAME/KEY (engine.env)"


def literal_secrets(data: Any) -> Iterator[TaskError]:
    """Yield an error for each secret that is written out in a task's plain data. No error repeats it."""
    fields = (field for field, _ in secrets_in(data) if field)
    for field in dict.fromkeys(fields):
        yield TaskError(f"this is a secret's own value, which would be written down; {_HINT}", field=field)


def has_secret(text: str) -> bool:
    """Return whether a text holds a value known as secret or found by a detector."""
    return len(text) >= MIN_LENGTH and (scrub(text) != text or bool(find_secrets(text)))


def without_secrets(error: TaskError, data: Any) -> TaskError:
    """Return the error without the secrets of the data that it is about; the same one where it repeats none."""
    message, field = text_without_secrets(error.message, data), text_without_secrets(error.field, data)
    # What it came from holds all of the data.
    error.__cause__ = error.__context__ = None
    return error if (message, field) == (error.message, error.field) else TaskError(message, field=field)


def text_without_secrets(text: str, data: Any) -> str:
    """Return a sentence about the data without the secrets in it."""
    for secret in sorted({secret for _, secret in secrets_in(data, inherit=True)}, key=len, reverse=True):
        text = text.replace(repr(secret)[1:-1], REDACTED).replace(secret, REDACTED)
    return scrub(text)


def secrets_in(data: Any, field: str = "", name: str = "", *, inherit: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each literal secret in plain data with its field; an empty field where it is in a key.

    A value is one under a name that says secret, or where a detector finds it. With ``inherit`` a name counts for
    everything below it.
    """
    if isinstance(data, dict):
        # As Kubernetes writes a variable.
        named = data["name"] if "value" in data and isinstance(data.get("name"), str) else name
        for key, value in data.items():
            yield from (("", str(key)[one.start : one.end]) for one in find_secrets(str(key)))
            # The name of a parameter says what its values are.
            kept = key in ("value", "values") or (inherit and says_secret(name) and not says_secret(str(key)))
            below = f"{field}.{key}" if field else str(key)
            yield from secrets_in(value, below, named if kept else str(key), inherit=inherit)
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            before = data[index - 1] if index and isinstance(data[index - 1], str) else ""
            flag = before if before.startswith("-") and "=" not in before else name
            yield from secrets_in(value, f"{field}[{index}]", flag, inherit=inherit)
    elif isinstance(data, int) and data.bit_length() > _MAX_BITS:
        # No value of a task; Python refuses to format one of thousands of digits.
        return
    elif isinstance(data, str | int | float) and not isinstance(data, bool):
        yield from ((field, secret) for secret in _secrets_of(data, field, name))


def _secrets_of(value: str | float, field: str, name: str) -> Iterator[str]:
    text = str(value).strip()
    if secret_of(text):
        return
    if says_secret(name) and is_literal(text):
        yield text
    if isinstance(value, str):
        yield from (text[one.start : one.end] for one in find_secrets(text))
        if field.startswith(_COMMANDS):
            yield from (one for flag, one in _assignments(text) if says_secret(flag) and is_literal(one))


def named_in_shell(source: str) -> Iterator[str]:
    """Yield the values beside names that say secret in the shell lines and magics of a cell."""
    for line in "\n".join(_SHELL.findall(source)).replace("\\\n", " ").splitlines():
        yield from _named(_assignments(line))


def named_in_lines(text: str) -> Iterator[str]:
    """Yield the values beside names that say secret in lines that have nothing else."""
    return _named((variable or header, value) for variable, header, value in re.findall(_NAMED, text))


def _named(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    values = ((name, SCHEME.sub("", value.strip().strip("\"'"))) for name, value in pairs)
    return (value for name, value in values if says_secret(name) and is_literal(value))


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """Yield every ``NAME=VALUE``, ``--flag VALUE`` and ``Header: VALUE`` of a command line or a word of one."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    for word in words:
        for separator in ("=", ":"):
            name, found, value = word.partition(separator)
            if found and " " not in name:
                yield name, value
    yield from ((flag, value) for flag, value in pairwise(words) if flag.startswith("-") or flag.endswith(":"))
