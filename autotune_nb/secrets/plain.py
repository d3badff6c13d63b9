"""A secret's own value in a task's plain data: found by what it is called and by how it looks, and never repeated."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from autotune_nb.errors import TaskError
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.reference import secret_of, without_variables
from autotune_nb.secrets.urls import URL_PASSWORD

STAND_INS = {"", "empty", "none", "null", "dummy", "no-key", "nokey", "not-needed", "changeme", "true", "false"}
_FILE = re.compile(
    r"(\.{0,2}/|~/)?[\w.-]+(/[\w.-]+)+|[\w-]+\.(pem|key|crt|cert|json|txt|p12|pfx|env|yaml)|(/|~/)[\w-]+\.\w+"
)
_SCHEME = re.compile(r"^(?:Bearer|Basic|Token|ApiKey|Api-Key|Digest) +", re.IGNORECASE)
#: Beside a reference so much in one piece may be part of the secret; the rest of a URL is none.
_BESIDE = re.compile(r"[^\s\"'`,;:=&|()\[\]{}<>]{6,}")
_IN_A_POD = re.compile(r"\$\([A-Za-z_][A-Za-z0-9_]*\)")
_ENGINE = ("engine.env", "engine.args", "engine.raw_args", "engine.command")
_LEAST, _LOOKED_AT = 6, 12
_HINT = "name where it is: ${VARIABLE} of the environment, or in a cluster secret://NAME/KEY (engine.env)"


def plain_secrets(data: Any, field: str = "", *, name: str = "") -> Iterator[TaskError]:
    """An error for each secret that stands in a task's plain data as it is. No error repeats it."""
    if isinstance(data, dict):
        # As Kubernetes writes a variable.
        own = data["name"] if "value" in data and isinstance(data.get("name"), str) else ""
        for key, value in data.items():
            # What a parameter is called says what its values are.
            meant = (own or name) if key in ("value", "values") else str(key)
            yield from plain_secrets(value, f"{field}.{key}" if field else str(key), name=meant)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            before = data[index - 1] if index and isinstance(data[index - 1], str) else ""
            meant = before if before.startswith("-") and "=" not in before else name
            yield from plain_secrets(value, f"{field}[{index}]", name=meant)
    elif isinstance(data, str | int | float) and not isinstance(data, bool) and _found(data, field, name):
        yield TaskError(f"this is a secret's own value, which would be written down; {_HINT}", field=field)


def _found(value: str | float, field: str, name: str) -> bool:
    text = str(value).strip()
    if secret_of(text):
        return False
    if _is_secret(name, text):
        return True
    if not isinstance(value, str):
        return False
    # The flag is the word before; any other name that says something is looked at above.
    if name in ("-u", "-U", "--user", "--proxy-user") and looks_like_one(f"--user {text}"):
        return True
    if field.startswith(_ENGINE) and any(_is_secret(flag, told) for flag, told in _assignments(text)):
        return True
    # No reference holds the secret that it names.
    return len(text) >= _LOOKED_AT and looks_like_one(text)


def looks_like_one(text: str) -> bool:
    """Whether a text has the shape of a secret, whatever it is called."""
    if any(len(without_variables(found)) >= 3 for found in URL_PASSWORD.findall(text)):
        return True
    # On first need: it compiles some forty expressions.
    from autotune_nb.secrets.redaction import Redactor

    global _redactor
    _redactor = _redactor or Redactor({})
    told = _redactor.redact(text)
    return bool(told.unclean) or any("home" not in kind for kind, _ in told.found)


_redactor: Any = None


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """Every ``NAME=VALUE``, ``--flag VALUE`` and ``Header: VALUE`` in a command line or a word of one."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    for word in words:
        flag, equals, value = word.partition("=")
        if equals:
            yield flag, value
        header, colon, value = word.partition(":")
        if colon and " " not in header:
            yield header, value.strip()
    for flag, value in pairwise(words):
        if flag.startswith("-") or flag.endswith(":"):
            yield flag, value


def _is_secret(name: str, text: str) -> bool:
    if not name or len(text) < _LEAST or not says_secret(name):
        return False
    told = _SCHEME.sub("", text)
    if told.lower() in STAND_INS or told.startswith("-"):
        return False
    beside = without_variables(told)
    if beside != told:
        # Of a URL only the password, which is looked at by itself.
        return "://" not in told and _BESIDE.search(beside) is not None
    return not (_FILE.fullmatch(told) or _IN_A_POD.fullmatch(told) or re.fullmatch(r"<\|.*\|>", told))
