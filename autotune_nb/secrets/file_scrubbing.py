"""Takes the secrets that this process knows out of files, however large, and says of which it could not."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from autotune_nb.secrets.scrubbing import REDACTED, Known, known, only_in_text

_BLOCK_BYTES = 8_000_000
#: What people read. Elsewhere a short word or a number may be data.
_TEXTS = {".log", ".txt", ".out", ".err"}
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def scrub_all(folders: Iterable[Path]) -> list[str]:
    """``scrub_files`` for each of the folders."""
    return [line for folder in folders for line in scrub_files(folder)]


def scrub_files(folder: Path) -> list[str]:
    """Every file below a folder without any known secret; one that holds none is not touched.

    One line for each that could not be read or written: secrets may have stayed in it.
    """
    missed: list[str] = []

    def unread(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            reason = error.strerror or type(error).__name__
            missed.append(f"{error.filename or folder} was not searched for secrets: {reason}; look into it yourself")

    for at, _, names in os.walk(folder, onerror=unread):
        for name in sorted(names):
            file = Path(at, name)
            try:
                if not file.is_symlink() and file.is_file():
                    _scrub_file(file, known())
            except OSError as error:
                error.filename = str(file)
                unread(error)
    return missed


def _scrub_file(file: Path, now: Known) -> None:
    forms = [form.encode("utf-8", "surrogateescape") for form in now.forms]
    longest = max(map(len, forms), default=0) + 8
    if forms and _holds(file, forms, longest):
        # In bytes: what is no text stays what it is.
        pattern = re.compile(now.pattern.pattern.encode("utf-8", "surrogateescape"))
        with file.open("rb") as source, _replacing(file) as target:
            for piece in _cleaned(source, pattern, longest):
                target.write(piece)
    if now.only_in_texts and file.suffix in _TEXTS:
        _rewrite(file, lambda text: only_in_text(text, now))
    elif (words := now.words) is not None and file.suffix == ".json":
        # The texts in it; its numbers are data.
        _rewrite(file, lambda text: _JSON_TEXT.sub(lambda found: words.sub(REDACTED, found[0]), text))


def _holds(file: Path, forms: list[bytes], longest: int) -> bool:
    with file.open("rb") as source:
        before = b""
        while block := source.read(_BLOCK_BYTES):
            if any(form in before + block for form in forms):
                return True
            before = block[-longest:]
    return False


def _cleaned(source: BinaryIO, pattern: re.Pattern[bytes], longest: int) -> Iterator[bytes]:
    """The content in pieces without what matches; a match may begin in one block and end in the next."""
    left, last = b"", False
    while not last:
        block = source.read(_BLOCK_BYTES)
        left, last = left + block, not block
        sure = len(left) if last else max(0, len(left) - longest)
        done = 0
        for found in pattern.finditer(left):
            if found.start() >= sure:
                break
            yield left[done : found.start()] + REDACTED.encode()
            done = found.end()
        edge = max(done, sure)
        yield left[done:edge]
        left = left[edge:]


def _rewrite(file: Path, clean: Callable[[str], str]) -> None:
    """Write the text anew, some thousand lines at a time, where that changes it."""

    def blocks() -> Iterator[tuple[str, str]]:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as source:
            while lines := source.readlines(_BLOCK_BYTES):
                text = "".join(lines)
                yield text, clean(text)

    if any(text != cleaned for text, cleaned in blocks()):
        with _replacing(file) as target:
            for _, cleaned in blocks():
                target.write(cleaned.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def _replacing(file: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of the old one in one step, once it is whole."""
    handle, work = tempfile.mkstemp(dir=file.parent, prefix=".scrubbing-")
    try:
        with os.fdopen(handle, "wb") as target:
            yield target
        shutil.copymode(file, work)
        Path(work).replace(file)
    except BaseException:
        Path(work).unlink(missing_ok=True)
        raise
