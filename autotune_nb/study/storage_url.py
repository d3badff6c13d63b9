"""The URL of the storage that holds a study's trials: its file, and its form without the password."""

from __future__ import annotations

import re
from pathlib import Path

_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
_PASSWORD_OPTION = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
#: Replaces a password.
REDACTED = "***"
#: The environment variable with the URL of a storage and its password, which is written to no file.
STORAGE_VARIABLE = "AUTOTUNE_NB_STORAGE"


def absolute(url: str) -> str:
    """Return the URL of a SQLite file with an absolute path; any other URL unchanged."""
    scheme, _, file = url.partition(":///")
    return url if sqlite_file(url) is None or file.startswith("/") else f"{scheme}:///{Path(file).absolute()}"


def sqlite_file(url: str) -> Path | None:
    """Return the file that a SQLite URL names; None for any other URL."""
    scheme, separator, file = url.partition(":///")
    named = separator and scheme.startswith("sqlite") and file and not file.startswith((":memory:", "file:", "?"))
    return Path(file.partition("?")[0]) if named else None


def redact(url: str) -> str:
    """Return a URL without its password."""
    return _PASSWORD_OPTION.sub(rf"\1{REDACTED}", _PASSWORD.sub(rf"\1:{REDACTED}@", url))
