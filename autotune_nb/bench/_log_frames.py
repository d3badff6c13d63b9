"""Splits a pod's log into the files that ``_in_pod.py`` sent and all other lines."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Iterator

_FRAME = re.compile(r"AUTOTUNE-NB (\S+) (\d+)/(\d+) ([A-Za-z0-9+/=]+)")
_MAX_LINES = 400


class Frames:
    """Reads a log in pieces of any size. Yields no file twice, even if the log is read again from its beginning."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._rest = b""
        self._parts: dict[str, dict[int, str]] = {}
        self._whole: set[str] = set()
        self._restarted = False

    def restart(self) -> None:
        """Expect the log to be read from its beginning again."""
        self._rest = b""
        self._parts.clear()
        self._restarted = True

    def feed(self, piece: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of each file that is now complete."""
        if self._restarted:
            # Only now, so that the previous lines stay if the log no longer exists.
            self._restarted = False
            self.lines.clear()
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", errors="replace").rstrip("\r")
            frame = _FRAME.fullmatch(line.strip())
            if frame is None:
                self.lines.append(line)
                del self.lines[:-_MAX_LINES]
                continue
            yield from self._take(frame[1], int(frame[2]), int(frame[3]), frame[4])

    def end(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files completed by a last line without a newline."""
        if self._rest:
            yield from self.feed(b"\n")

    def _take(self, name: str, number: int, count: int, part: str) -> Iterator[tuple[str, bytes]]:
        parts = self._parts.setdefault(name, {})
        parts[number] = part
        if name in self._whole or set(parts) != set(range(1, count + 1)):
            return
        try:
            data = gzip.decompress(base64.b64decode("".join(parts[n] for n in range(1, count + 1)), validate=True))
        except (binascii.Error, OSError, EOFError, zlib.error):
            # Incomplete, so its level is missing.
            return
        self._whole.add(name)
        # The file must stay in its folder.
        yield name.replace("/", "_"), data
