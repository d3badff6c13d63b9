"""Reads the flags of a program from its help text, as llama-server and argparse print it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotune_nb.engines.schema import InstalledFlag
from autotune_nb.task.parameters import Style, parameter_name

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FLAG_LINE = re.compile(r"\s{0,8}-{1,2}[A-Za-z]")
#: The description begins after two spaces; spaces after a comma align the spellings.
_DESCRIPTION = re.compile(r"(?<![,\s])\s{2,}(?=\S)")
_SPELLING = re.compile(r"(?P<flag>--?[A-Za-z][\w.-]*)(?:[ =](?P<value>.+))?")
_ALLOWED = re.compile(r"allowed values: ([\w, .-]+?)(?= \(|$)")
#: An option that is still parsed, but only to refuse it.
_REMOVED = "argument has been removed"
_PRINTED_BY_ALL = frozenset({"help", "version", "h"})


def read_help(text: str) -> tuple[InstalledFlag, ...]:
    """Return the flags that a help text lists.

    A value's type is not in the text, so that every flag with a value accepts any, unless the text lists its choices.
    """
    return tuple(flag for lines in _entries(_COLOUR.sub("", text)) if (flag := _flag(lines)) is not None)


def _entries(text: str) -> Iterator[list[str]]:
    """Yield the lines of each flag."""
    entry: list[str] = []
    for line in text.splitlines():
        if _FLAG_LINE.match(line):
            if entry:
                yield entry
            entry = [line]
        elif entry and line.startswith((" ", "\t")):
            entry.append(line)
        elif entry:
            yield entry
            entry = []
    if entry:
        yield entry


def _flag(lines: list[str]) -> InstalledFlag | None:
    signature, *rest = _DESCRIPTION.split(lines[0].strip(), maxsplit=1)
    description = " ".join(" ".join([*rest, *lines[1:]]).split())
    spellings, value = [], ""
    # A comma within a value, as in "none,draft" or "{a,b}", is not followed by a flag.
    for part in re.split(r",\s*(?=-)", signature):
        found = _SPELLING.fullmatch(part.strip())
        if found is None:
            return None
        spellings.append(found["flag"])
        value = (found["value"] or value).strip()
    if _REMOVED in description or parameter_name(spellings[-1]) in _PRINTED_BY_ALL:
        return None
    negations = tuple(one for one in spellings if one.startswith("--no-") and len(spellings) > 1)
    positive = [one for one in spellings if one not in negations]
    written = [one for one in positive if one.startswith("--")] or positive
    ordered = (*reversed(written), *(one for one in positive if one not in written))
    name = parameter_name(ordered[0])
    if not value:
        style: Style = "negatable" if negations else "switch"
        return InstalledFlag(name, ordered, "bool", style, help=description, negations=negations)
    choices = _choices(value, description)
    return InstalledFlag(name, ordered, "choice" if choices else "any", choices=choices, help=description)


def _choices(value: str, description: str) -> tuple[str, ...]:
    if value[0] in "[{" and value[-1] in "]}":
        return tuple(part.strip() for part in re.split(r"[|,]", value[1:-1]) if part.strip())
    if "," in value and value == value.lower():
        # Several of them may be given.
        return ()
    allowed = _ALLOWED.search(description)
    return tuple(part.strip() for part in allowed[1].split(",")) if allowed else ()
