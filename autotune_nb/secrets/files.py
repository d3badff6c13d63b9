"""Takes the secrets that this process knows out of files, and reports the files that it could not clean."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from autotune_nb.secrets.detectors import REDACTED
from autotune_nb.secrets.scrubbing import Known, known

_BLOCK_BYTES = 8_000_000
#: Texts for people. In other files a short word or a number may be data.
_TEXTS = {".log", ".txt", ".out", ".err"}
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
# Bytes that are no text are kept, and so are the ends of lines.
_open = functools.partial(open, encoding="utf-8", errors="surrogateescape", newline="")


def scrub_files(*folders: Path) -> list[str]:
    """Clean every file below the folders; one that holds no known secret is not touched.

    Returns a line for each that could not be read or written, in which secrets may remain.
    """
    missed: list[str] = []

    def unread(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            reason = error.strerror or type(error).__name__
            missed.append(f"{error.filename} was not searched for secrets: {reason}; look into it yourself")

    for folder in folders:
        for parent, _, names in os.walk(folder, onerror=unread):
            for file in (Path(parent, name) for name in sorted(names)):
                try:
                    if not file.is_symlink() and file.is_file():
                        now = known()
                        if any(text != clean for text, clean in _blocks(file, now)):
                            with _replacing(file) as target:
                                target.writelines(clean for _, clean in _blocks(file, now))
                except OSError as error:
                    error.filename = str(file)
                    unread(error)
    return missed


def _blocks(file: Path, now: Known) -> Iterator[tuple[str, str]]:
    """Yield a file's lines, some megabytes at a time, and the same without secrets."""
    with _open(file) as source:
        while lines := source.readlines(_BLOCK_BYTES):
            text = "".join(lines)
            clean, _ = now.replaced(text)
            if file.suffix in _TEXTS:
                clean = now.without_words(clean)
            elif file.suffix == ".json" and now.words.search(clean):
                # Only its texts; its numbers are data.
                clean = _JSON_TEXT.sub(lambda found: now.words.sub(REDACTED, found[0]), clean)
            yield text, clean


@contextlib.contextmanager
def _replacing(file: Path) -> Iterator[TextIO]:
    """Open a new file that replaces the old one in one step, once it is complete."""
    handle, work = tempfile.mkstemp(dir=file.parent, prefix=".scrubbing-")
    try:
        with _open(handle, "w") as target:
            yield target
        shutil.copymode(file, work)
        Path(work).replace(file)
    except BaseException:
        Path(work).unlink(missing_ok=True)
        raise
