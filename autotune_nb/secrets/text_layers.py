"""A text as it stands and as it reads, each part of the second traced to the first.

A secret may be split by ANSI codes or tags, or written with entities, percent codes or backslashes.
"""

from __future__ import annotations

import bisect
import html
import re
import unicodedata
from collections.abc import Callable, Iterator

_BLOCKS = re.compile(r"</?(?:span|b|i|a|em|code|font|mark|u|s|strong|wbr|tspan|tt|kbd|var|small|big|sub|sup)\b", re.I)
_NESTED = 4
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z^_]")


class Layer:
    """A text as it reads, and where in the text that stands each part of it comes from."""

    def __init__(self, text: str, parent: Layer | None = None) -> None:
        self.text = text
        self.parent = parent
        self._at: list[int] = []
        self._from: list[tuple[int, int, bool]] = []

    def decoded(self, pattern: re.Pattern[str], decode: Callable[[re.Match[str]], str]) -> Layer:
        """Each match replaced by what it stands for; this layer itself where nothing matches."""
        parts: list[str] = []
        layer, size, last = Layer("", self), 0, 0

        def add(part: str, start: int, end: int, verbatim: bool) -> None:
            nonlocal size
            if part:
                parts.append(part)
                layer._at.append(size)
                layer._from.append((start, end, verbatim))
                size += len(part)

        for match in pattern.finditer(self.text):
            add(self.text[last : match.start()], last, match.start(), True)
            add(decode(match), match.start(), match.end(), False)
            last = match.end()
        if last == 0:
            return self
        add(self.text[last:], last, len(self.text), True)
        layer.text = "".join(parts)
        return layer

    def pieces(self, start: int, end: int) -> list[tuple[int, int]]:
        """From where to where in the text that stands: several pieces where something between was left out."""
        if self.parent is None:
            return [(start, end)]
        found: list[tuple[int, int]] = []
        index = bisect.bisect_right(self._at, start) - 1
        while index < len(self._at) and self._at[index] < end:
            at, (source, stop, verbatim) = self._at[index], self._from[index]
            if verbatim:
                source, stop = source + max(0, start - at), min(stop, source + end - at)
            for piece in self.parent.pieces(source, stop):
                if found and found[-1][1] == piece[0]:
                    found[-1] = (found[-1][0], piece[1])
                elif not found or piece[0] >= found[-1][1]:
                    found.append(piece)
            index += 1
        return found


def layers(text: str) -> Iterator[Layer]:
    layer = Layer(text)
    yield layer
    # JSON in JSON in JSON, a URL in a URL.
    for _ in range(_NESTED):
        before = layer
        for hint, pattern, decode in _DECODERS:
            if hint in layer.text:
                deeper = layer.decoded(pattern, decode)
                if deeper is not layer:
                    layer = deeper
                    yield layer
        if layer is before:
            break
    for pattern, decode in (*(() if layer.text.isascii() else _UNSEEN), *((_TAGS,) if "<" in layer.text else ())):
        deeper = layer.decoded(pattern, decode)
        if deeper is not layer:
            layer = deeper
            yield layer


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code is None:
        return ""
    if len(code) > 1:
        number = int(code[1:], 16)
        return "" if 0xD800 <= number < 0xE000 else chr(number)
    return _ESCAPES.get(code, code)


def _unquote(match: re.Match[str]) -> str:
    return bytes.fromhex(match.group().replace("%", "")).decode(errors="replace")


_DECODERS: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    ("\x1b", _ANSI, lambda _: ""),
    (
        "&",
        re.compile(r"&(?:[A-Za-z]{2,8};|#\d{1,12};?|#[xX][0-9A-Fa-f]{1,10};?)"),
        lambda match: html.unescape(match.group()),
    ),
    ("%", re.compile(r"%[0-7][0-9A-Fa-f]|(?:%[89A-Fa-f][0-9A-Fa-f])+"), _unquote),
    # The quotes around JSON in JSON would pair with those within.
    (
        "\\",
        re.compile(
            r"\\([\"'\\/nrtbf]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})|\"(?=[{\[]\s*\\+\")|(?<=[}\]])\"(?=[,}\]\s]|\Z)"
        ),
        _unescape,
    ),
)
#: What nobody sees between two letters, and letters as wide as those of Chinese.
_UNSEEN: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile("[\u00ad\u034f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]+"), lambda _: ""),
    (re.compile("[\uff01-\uff5e\U0001d400-\U0001d7ff]+"), lambda match: unicodedata.normalize("NFKC", match.group())),
)
#: A tag within a word leaves it one word; others part cells, lines and paragraphs.
_TAGS = (
    re.compile(r"</?[A-Za-z!][^<>]{0,2000}>"),
    lambda match: "" if _BLOCKS.match(match.group()) else "\n",
)
