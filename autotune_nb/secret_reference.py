"""Secrets in a task: by name only. ``${NAME}`` is an environment variable of the process that runs the study,
``secret://NAME/KEY`` a key of a Kubernetes Secret; the value itself is refused, and never repeated."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from autotune_nb.errors import SetupError, TaskError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"secret://([a-z0-9]([-a-z0-9.]*[a-z0-9])?)/([-._a-zA-Z0-9]+)")
#: Names whose value is a secret, anywhere in a task; those of variables are told more broadly.
_NAME = re.compile(
    r"(^|_)(api_?key|access_?key(_id)?|secret|secret_key|client_secret|password|passwd|private_?key|credentials?|bearer"
    r"|(api|auth|access|hf|hub|github|gitlab|id|refresh|bearer)_?token)$|^token$",
    re.IGNORECASE,
)
_VARIABLE_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_SHAPE = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{18,}"
    r"|nvapi-[\w-]{20,}|AKIA[A-Z0-9]{16}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_STAND_INS = {"", "empty", "none", "null", "dummy", "no-key", "nokey", "not-needed", "token", "key", "true", "false"}
_HINT = "name where it is: ${VARIABLE} of the environment, or in a cluster secret://NAME/KEY (engine.env)"


def variable_of(value: Any) -> str | None:
    """The environment variable that a value stands for; None for any other value."""
    found = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def secret_of(value: Any) -> tuple[str, str] | None:
    """The Kubernetes Secret and its key that a value stands for; None for any other value."""
    found = _SECRET.fullmatch(value) if isinstance(value, str) else None
    return (found[1], found[3]) if found else None


def resolved(value: str, *, field: str) -> str:
    """The value itself. Raises SetupError where the variable is not set, or the value lies in a cluster."""
    if (secret := secret_of(value)) is not None:
        raise SetupError(
            f"the Secret {secret[0]} is in a cluster, and this runs here; write ${{VARIABLE}} instead", field=field
        )
    name = variable_of(value)
    if name is None:
        return value
    told = os.environ.get(name)
    if not told:
        raise SetupError(f"the environment variable {name} is not set; export it before the study starts", field=field)
    return told


def resolved_words(words: Iterable[str], *, field: str) -> list[str]:
    """A command line with every reference in it resolved, also one after ``=``. Raises as ``resolved``."""
    found = []
    for word in words:
        flag, equals, value = word.partition("=")
        found.append(f"{flag}={resolved(value, field=field)}" if equals else resolved(word, field=field))
    return found


def bearer(key: str | None) -> dict[str, str]:
    """The header of requests to a server that wants ``benchmark.api_key``. Raises SetupError as ``resolved``."""
    return {"Authorization": f"Bearer {resolved(key, field='benchmark.api_key')}"} if key else {}


def command_text(words: Sequence[str]) -> str:
    """A command line for a shell: a reference to a variable stays one."""
    return " ".join(f'"{word}"' if variable_of(word) else _word(word) for word in words)


def _word(word: str) -> str:
    flag, equals, value = word.partition("=")
    return f'{flag}="{value}"' if equals and variable_of(value) and flag.startswith("-") else shlex.quote(word)


def plain_secrets(data: Any, field: str = "", *, name: str = "", variables: bool = False) -> Iterator[TaskError]:
    """An error for each secret that stands in a task's plain data as it is. No error repeats it."""
    if isinstance(data, dict):
        # As Kubernetes writes a variable.
        own = str(data["name"]) if "value" in data and isinstance(data.get("name"), str) else ""
        for key, value in data.items():
            inside = f"{field}.{key}" if field else str(key)
            meant = (own, True) if own and key == "value" else (str(key), field == "engine.env")
            # What a parameter is called says what its values are.
            meant = (name, variables) if key in ("values", "value") and name and not own else meant
            yield from plain_secrets(value, inside, name=meant[0], variables=meant[1])
    elif isinstance(data, list):
        for index, value in enumerate(data):
            before = data[index - 1] if index and isinstance(data[index - 1], str) else ""
            flag = before.lstrip("-") if before.startswith("--") else ""
            yield from plain_secrets(value, f"{field}[{index}]", name=flag or name, variables=variables)
    elif isinstance(data, str | int | float) and not isinstance(data, bool) and _is_plain(data, name, variables):
        yield TaskError(f"this is a secret's own value, which would be written down; {_HINT}", field=field)


def _is_plain(value: str | float, name: str, variable: bool) -> bool:
    text = str(value).strip()
    if isinstance(value, str):
        flag, equals, inside = text.partition("=")
        if equals and flag.startswith("--"):
            name, text = flag, inside
        words = text.split()
        for before, after in pairwise(words):
            if before.startswith("--") and _is_plain(after, before, False):
                return True
    if variable_of(text) or secret_of(text) or text.lower() in _STAND_INS:
        return False
    if _SHAPE.search(text):
        return True
    named = (_VARIABLE_NAME if variable else _NAME).search(name.strip().lstrip("-").replace("-", "_"))
    # A file that holds it is a name too.
    return bool(named) and len(text) >= 6 and not text.startswith(("/", "./", "~/", "~", "$("))
