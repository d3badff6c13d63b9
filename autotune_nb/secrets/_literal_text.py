"""Literals within any text, as Python, JSON and their reprs write them: brackets, strings, and the names before them.

A text is no program: what does not fit is passed over, and what a text breaks off in the middle of is read as far as it
goes. Every string keeps its place, so that it can be taken out where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_DEPTH = 30
#: A string whose quote is never closed ends with its line, so that none is read twice.
_TOKEN = re.compile(
    r"""(?P<prefix>(?<!\w)[rbfuRBFU]{1,2})?(?P<string>\"{3}(?:[^\"\\]|\\.|\"(?!\"\"))*+(?:\"{3})?
        |'{3}(?:[^'\\]|\\.|'(?!''))*+(?:'{3})?|\"(?:\\.|[^\"\\\n])*+\"?|'(?:\\.|[^'\\\n])*+'?
        |\u201c[^\u201c\u201d\n]{0,200}\u201d|\u2018[^\u2018\u2019\n]{0,200}\u2019|`[^`\n]{0,200}`)
    |(?P<name>[^\W\d][\w.-]*+(?:'(?:s|t|re|ll|ve|d)\b)?)|(?P<open>[(\[{])|(?P<close>[)\]}])
    |(?P<sign>:=|=>|[=!]=|->|[:=])|(?P<comma>,)|(?P<end>[\n;])|(?P<other>[^\w\"'\u201c\u2018`(\[{)\]}:=!,;\n-]++|\d[\w.-]*+|.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Text:
    """A string: what stands between its quotes, and from where to where that is."""

    value: str
    start: int
    end: int


@dataclass(slots=True)
class Group:
    """What stands in a pair of brackets; ``name`` is the word right before it, as a function's is."""

    bracket: str
    name: str = ""
    items: list[Item] = field(default_factory=list)
    #: How many commas came so far.
    slot: int = 0
    keys: set[str] = field(default_factory=set)

    def at(self, *keys: str) -> Text | Group | None:
        """What stands behind the first of these keys that is there."""
        return next((item.value for key in keys for item in self.items if item.key == key), None)

    def texts(self) -> list[Text]:
        return [item.value for item in self.items if isinstance(item.value, Text)]


@dataclass(frozen=True, slots=True)
class Item:
    """A string or a group: which of its group's it is, and the name or key that it stands behind."""

    slot: int
    key: str | None
    value: Text | Group


@dataclass(slots=True)
class _Open:
    """A group that is not closed yet."""

    group: Group
    key: str | None = None
    #: What came last, and may become a key or a function's name.
    last: str | Text | Group | None = None
    annotated: bool = False

    def rest(self) -> None:
        self.key, self.last, self.annotated = None, None, False


def literals(text: str) -> Iterator[Group]:
    """The outermost groups, in turn; what is in no brackets is a group of its own, line by line."""
    stack = [_Open(Group(""))]
    for token in _TOKEN.finditer(text):
        top, kind = stack[-1], token.lastgroup
        if kind == "string":
            value = _string(token)
            # In prose a word may stand between a sign and what is quoted.
            key = None if isinstance(top.last, str) else top.key
            top.group.items.append(Item(top.group.slot, key, value))
            top.last = value
        elif kind == "name":
            # A value has come already: what follows is an expression that goes on.
            top.key = None if isinstance(top.last, Text | Group) else top.key
            top.last = token[0]
        elif kind == "open":
            if len(stack) < _DEPTH:
                group = Group(token[0], top.last if isinstance(top.last, str) else "")
                top.group.items.append(Item(top.group.slot, top.key, group))
                top.last = group
                stack.append(_Open(group))
        elif kind == "close":
            if any(one.group.bracket == _CLOSES[token[0]] for one in stack[1:]):
                while stack.pop().group.bracket != _CLOSES[token[0]]:
                    pass
        elif kind == "sign":
            _becomes_key(top, token[0])
        elif kind == "comma":
            top.group.slot += 1
            top.rest()
        elif kind == "end":
            top.rest()
            if len(stack) == 1 and (top.group.items or top.group.slot):
                yield top.group
                stack = [_Open(Group(""))]
    yield stack[0].group


def _string(token: re.Match[str]) -> Text:
    start, end = token.span("string")
    text = token["string"]
    quote = text[:3] if text[:3] in ('"""', "'''") else text[0]
    closed = {"\u201c": "\u201d", "\u2018": "\u2019"}.get(quote, quote)
    start += len(quote)
    if end - len(closed) >= start and text.endswith(closed):
        end -= len(closed)
    return Text(token.string[start:end], start, end)


def _becomes_key(top: _Open, sign: str) -> None:
    """What comes after a sign stands behind what came before it."""
    last = top.last
    if top.annotated and sign == "=":
        # In ``name: type = value`` it is the name.
        top.annotated, top.last = False, None
        return
    if isinstance(last, Group):
        inside = last.texts()
        last = inside[0] if last.bracket == "[" and len(inside) == 1 else None
    elif isinstance(last, Text):
        top.group.items.pop()
    top.annotated, top.last = False, None
    if last is None:
        top.key = None
        return
    top.key = last.value if isinstance(last, Text) else last
    top.group.keys.add(top.key)
    top.annotated = sign == ":" and isinstance(last, str)
