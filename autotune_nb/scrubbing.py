"""Takes the secrets that this process knows out of what is written or said.

Known are the values of its environment's variables whose names say secret, and those that a task refers to. It is the
last line of defence: a task names secrets only, and yet an engine may print its arguments, and genai-bench its key.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from autotune_nb.errors import AutotuneError
from autotune_nb.secret_rules import secret_values

REDACTED = "***"
_LARGEST_BYTES = 200_000_000
_LEAST = 8
_lock = threading.Lock()
_told: set[str] = set()
_pattern: re.Pattern[str] | None = None

E = TypeVar("E", bound=BaseException)


def know(values: Iterable[str] = ()) -> None:
    """From now on these are scrubbed, and what the environment holds by now."""
    global _pattern
    with _lock:
        _told.update(values)
        known = {value for value in _told | secret_values(os.environ) if _tells_one(value)}
        # As they stand, and as JSON writes them.
        forms = {form for value in known for form in (value, value.strip(), json.dumps(value)[1:-1])}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        _pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else re.compile(r"(?!)")


def scrub(text: str) -> str:
    """The text without any known secret."""
    if _pattern is None:
        know()
    assert _pattern is not None
    return _pattern.sub(REDACTED, text)


def scrub_data(data: Any) -> Any:
    """A JSON value without any known secret in its texts; its shape and its numbers stay."""
    if isinstance(data, str):
        return scrub(data)
    if isinstance(data, dict):
        return {key: scrub_data(value) for key, value in data.items()}
    return [scrub_data(value) for value in data] if isinstance(data, list | tuple) else data


def _tells_one(value: str) -> bool:
    """Whether a value stands for nothing else: a short word or a number is found in any file."""
    return len(value.strip()) >= _LEAST and not re.fullmatch(r"[-+.\deE]*", value.strip())


def scrub_error(error: E) -> E:
    """The error without any known secret in its words."""
    if isinstance(error, AutotuneError):
        error.args = tuple(scrub(arg) if isinstance(arg, str) else arg for arg in error.args)
    return error


def scrub_files(folder: Path) -> None:
    """Every file below a folder without any known secret; one that holds none is not touched."""
    for file in folder.rglob("*") if folder.is_dir() else ():
        try:
            if file.is_symlink() or not file.is_file() or file.stat().st_size > _LARGEST_BYTES:
                continue
            content = file.read_bytes()
            # Bytes that are no text stay what they are.
            text = content.decode("utf-8", errors="surrogateescape")
            clean = scrub(text)
            if clean != text:
                file.write_bytes(clean.encode("utf-8", errors="surrogateescape"))
        except OSError:
            continue
