"""The URL of the storage that keeps a study's trials: which file it names, and how it is told without its password."""

from __future__ import annotations

import re
from pathlib import Path

_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
_PASSWORD_OPTION = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
#: Stands in the place of a password.
REDACTED = "***"
#: The environment variable that gives a storage's URL with its password, which no file and no notebook keeps.
STORAGE_VARIABLE = "AUTOTUNE_NB_STORAGE"


def absolute(url: str) -> str:
    """A SQLite file's URL that means the same file from every folder; any other URL as it is."""
    scheme, _, file = url.partition(":///")
    return url if sqlite_file(url) is None or file.startswith("/") else f"{scheme}:///{Path(file).absolute()}"


def sqlite_file(url: str) -> Path | None:
    """The file that a SQLite URL names; None for any other URL."""
    scheme, separator, file = url.partition(":///")
    named = separator and scheme.startswith("sqlite") and file and not file.startswith((":memory:", "file:", "?"))
    return Path(file.partition("?")[0]) if named else None


def redact(url: str) -> str:
    """A URL without its password."""
    return _PASSWORD_OPTION.sub(rf"\1{REDACTED}", _PASSWORD.sub(rf"\1:{REDACTED}@", url))
