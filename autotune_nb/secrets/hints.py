"""Where in a text a secret may be named at all: the closer looks are dear, and nearly all of a text needs none."""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Iterator

#: Plain searches for these are many times faster than one expression; what must come after each is looked at then.
_STEMS: tuple[tuple[str, str], ...] = (
    ("pass", r"(?!e[ds]?\b|ing|ive|age|port\b)"),
    ("pw", r""),
    ("secret", r""),
    ("cred", r""),
    ("auth", r"(?!or(?!iz))"),
    ("cookie", r""),
    ("bearer", r""),
    ("key", r"(?!word\b|board|error)"),
    ("login", r""),
    ("log_in", r""),
    ("token", r"(?!iz|s\b|s?_per)"),
    ("api", r"[_ -]?tokens\b"),
    ("auth", r"[_ -]?tokens\b"),
    ("pat", r"(?![a-z])"),
    ("identified by", r""),
    ("kennwort", r""),
    ("contrase", r""),
    ("mot de passe", r""),
    ("пароль", r""),
    ("密", r""),
    ("パスワード", r""),
)
_LOOKS = tuple((stem, re.compile(stem + after)) for stem, after in _STEMS)
#: From where to where around a name its value may stand.
_BEFORE, _AFTER = 450, 600


@functools.lru_cache(maxsize=8)
def named_at(text: str) -> tuple[int, ...]:
    """Where a word stands that may be a secret's name or a part of it, in turn."""
    lowered = text.lower()
    if len(lowered) != len(text):
        # A few letters become two.
        lowered = "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
    found: set[int] = set()
    for stem, look in _LOOKS:
        at = lowered.find(stem)
        while at >= 0:
            if look.match(lowered, at):
                found.add(at)
            at = lowered.find(stem, at + 1)
    return tuple(sorted(found))


def may_be_named(text: str) -> bool:
    """Whether a text may hold a secret's name."""
    return bool(named_at(text))


def stands_in(text: str, start: int, end: int) -> bool:
    """Whether a name may stand within these places of a text."""
    places = named_at(text)
    at = bisect.bisect_left(places, start)
    return at < len(places) and places[at] < end


@functools.lru_cache(maxsize=8)
def quoted_near(text: str) -> tuple[tuple[int, int], ...]:
    """The parts of lines around such names where something in quotes stands, from where to where."""
    return tuple(_quoted_near(text))


def _quoted_near(text: str) -> Iterator[tuple[int, int]]:
    last = (0, 0)
    for at in named_at(text):
        start = max(text.rfind("\n", max(0, at - _BEFORE), at) + 1, at - _BEFORE, 0)
        end = text.find("\n", at, at + _AFTER)
        end = min(at + _AFTER, len(text)) if end < 0 else end
        if start <= last[1] and last[1] > 0:
            last = (last[0], max(end, last[1]))
            continue
        if _has_quotes(text, *last):
            yield last
        last = (start, end)
    if _has_quotes(text, *last):
        yield last


def _has_quotes(text: str, start: int, end: int) -> bool:
    return any(text.find(quote, start, end) >= 0 for quote in "\"'`")
