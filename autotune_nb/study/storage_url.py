"""The URL of the storage that holds a study's trials: its file, and its form without the password."""

from __future__ import annotations

import re
from pathlib import Path

from autotune_nb.errors import StudyError

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


def require_lasting(url: str) -> None:
    """Raise StudyError for the URL of a database in memory, which ends with the process, and for an outdated scheme."""
    scheme, separator, rest = url.partition("://")
    if scheme.startswith("sqlite") and separator and rest.partition("?")[0] in ("", "/", "/:memory:"):
        raise StudyError(f"{url} names no file, so that the trials would be lost; write sqlite:///FILE.db")
    if scheme.startswith("postgres") and scheme.partition("+")[0] != "postgresql":
        raise StudyError(f"{redact(url)} has an unknown scheme; write postgresql://USER@HOST/DATABASE")


def redact(url: str) -> str:
    """Return a URL without its password."""
    return _PASSWORD_OPTION.sub(rf"\1{REDACTED}", _PASSWORD.sub(rf"\1:{REDACTED}@", url))
