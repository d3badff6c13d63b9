"""References to secrets in a task: ``${NAME}``, an environment variable of the process that runs the study, and
``secret://NAME/KEY``, a key of a Kubernetes Secret. Everything else is a literal."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autotune_nb.errors import SetupError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"secret://([a-z0-9]([-a-z0-9.]*[a-z0-9])?)/([-._a-zA-Z0-9]+)")


def variables_in(value: Any) -> list[str]:
    """Return the environment variables that a value refers to, alone or within a text, a list or an object."""
    if isinstance(value, dict):
        return [name for one in value.values() for name in variables_in(one)]
    if isinstance(value, list | tuple):
        return [name for one in value for name in variables_in(one)]
    return _VARIABLE.findall(value) if isinstance(value, str) else []


def without_variables(text: str) -> str:
    """Return a text without its references to variables."""
    return _VARIABLE.sub("", text)


def secret_of(value: Any) -> tuple[str, str] | None:
    """Return the name and the key of the Kubernetes Secret that a value refers to; None for any other value."""
    found = _SECRET.fullmatch(value) if isinstance(value, str) else None
    return (found[1], found[3]) if found else None


def variable(name: str, *, field: str) -> str:
    """Return a variable's value. Raises SetupError where it is not set."""
    value = os.environ.get(name)
    if not value:
        raise SetupError(f"the environment variable {name} is not set; export it before the study starts", field=field)
    return value


def resolved(value: str, *, field: str) -> str:
    """Return a text with its variables filled in. Raises SetupError where one is not set or is in a cluster."""
    if (secret := secret_of(value)) is not None:
        raise SetupError(
            f"the Secret {secret[0]} is in a cluster, and this runs here; write ${{VARIABLE}} instead", field=field
        )
    return _VARIABLE.sub(lambda found: variable(found[1], field=field), value)


def in_a_pod(word: str) -> str:
    """Return a word whose references Kubernetes fills in from the variables of the same container."""
    return _VARIABLE.sub(r"$(\1)", word)


def bearer(key: str | None) -> dict[str, str]:
    """Return the header of requests that need ``benchmark.api_key``. Raises SetupError as ``resolved``."""
    return {"Authorization": f"Bearer {resolved(key, field='benchmark.api_key')}"} if key else {}


def environment_words(env: Mapping[str, str]) -> list[str]:
    """Return the words that set variables before a command: ``env NAME=value …``, or nothing without variables.

    The key of a Kubernetes Secret becomes a reference to a variable of the same name.
    """
    words = [f"{name}=" + (f"${{{name}}}" if secret_of(value) else value) for name, value in env.items()]
    return ["env", *words] if words else []


def command_text(words: Sequence[str]) -> str:
    """Return a command line for a shell that still refers to its variables."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if not _VARIABLE.search(word):
        return shlex.quote(word)
    # The text beside a reference gets quotes of its own, so that the shell expands the reference alone.
    parts = re.split(r"(\$\{[A-Za-z_][A-Za-z0-9_]*\})", word)
    return "".join(f'"{part}"' if place % 2 else shlex.quote(part) for place, part in enumerate(parts) if part)
