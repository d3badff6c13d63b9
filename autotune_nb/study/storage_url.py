"""The URL of the storage that holds a study's trials: its file, and its form without the password."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path
from typing import TypeGuard

from autotune_nb.errors import StudyError
from autotune_nb.secrets.references import variable, variables_in

_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
_PASSWORD_OPTION = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
#: A password that is one reference.
_REFERENCE = re.compile(r"(?<=[:=])\$\{[A-Za-z_][A-Za-z0-9_]*\}(?=[@&]|$)")
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
    """Return a URL without its password; a password that is a reference, such as ``${PGPASSWORD}``, stays."""
    return url if _only_references(url) else _masked(url)


def same_storage(one: str | None, other: str | None) -> bool:
    """Return whether two URLs, None for a folder's own database, name the same storage, whatever their passwords."""
    return (one and _masked(absolute(one))) == (other and _masked(absolute(other)))


def with_password(url: str) -> str:
    """Return a URL with its references to environment variables filled in. Raises SetupError if one is not set."""
    for name in variables_in(url):
        url = url.replace(f"${{{name}}}", urllib.parse.quote(variable(name, field="storage"), safe=""))
    return url


def is_shared(url: str | None) -> TypeGuard[str]:
    """Return whether several processes may work on one study in this storage: a PostgreSQL database."""
    return url is not None and url.partition("://")[0].partition("+")[0] == "postgresql"


def has_literal_password(url: str) -> bool:
    """Return whether a URL has a password that is no reference to an environment variable."""
    return redact(url) != url


def _masked(url: str) -> str:
    return _PASSWORD_OPTION.sub(rf"\1{REDACTED}", _PASSWORD.sub(rf"\1:{REDACTED}@", url))


def _only_references(url: str) -> bool:
    """Return whether each password in a URL is one reference to an environment variable."""
    bare = _REFERENCE.sub(REDACTED, url)
    return bare != url and _masked(bare) == bare
