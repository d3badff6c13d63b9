"""Secrets of Kubernetes in YAML: all that stands below ``data`` and ``stringData`` of a Secret, whatever it is called.

In JSON and in code they are literals (``literals``). Below a container's env the name may follow the value.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.rules import Finding
from autotune_nb.secrets.values import KEYWORD, is_written_out

_KIND = re.compile(r"(?m)^[ \t-]*kind:[ \t]*[\"']?(\w+)[\"']?[ \t]*\r?$")
_DATA = re.compile(r"(?m)^(?P<indent>[ \t]*(?:- +)*)(?:data|stringData):[ \t]*\r?\n")
_LINE = re.compile(r"(?P<indent>[ \t]*)(?P<key>[\"']?[\w.-]+[\"']?:(?:[ \t]+|$))?(?P<value>[^\n]*)(?:\n|\Z)")
_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]*\r?")
_VALUE_FIRST = re.compile(
    r"(?m)^[ \t]*-[ \t]+value:[ \t]*[\"']?(?P<value>[^\s\"'][^\n\"']*?)[\"']?[ \t]*\r?\n"
    r"[ \t]+name:[ \t]*[\"']?(?P<name>\w+)"
)


def manifest_secrets(text: str) -> Iterator[Finding]:
    """Where they stand."""
    if "Secret" in text and "ata:" in text:
        kinds = list(_KIND.finditer(text))
        if any(kind[1] == "Secret" for kind in kinds):
            for data in _DATA.finditer(text):
                # A kind comes before the data or, as kubectl sorts, after: one of the two is this object's.
                at = bisect.bisect(kinds, data.start(), key=re.Match.start)
                if any(kind[1] == "Secret" for kind in kinds[max(0, at - 1) : at + 1]):
                    yield from _values(text, data.end(), len(data["indent"]))
    if "value:" in text:
        for pair in _VALUE_FIRST.finditer(text):
            if says_secret(pair["name"]) and is_written_out(pair["value"]):
                yield Finding(*pair.span("value"), KEYWORD)


def _values(text: str, at: int, indent: int) -> Iterator[Finding]:
    """The values of the lines that are further in; of a block each line."""
    while (line := _LINE.match(text, at)) is not None and line.end() > at:
        if line["value"].strip() or line["key"]:
            if len(line["indent"]) <= indent:
                return
            value = line["value"].strip()
            if value and not (line["key"] and _BLOCK.fullmatch(value)):
                start = line.start("value") + line["value"].index(value)
                quoted = int(len(value) > 1 and value[0] == value[-1] and value[0] in "\"'")
                yield Finding(start + quoted, start + len(value) - quoted, KEYWORD)
        at = line.end()
