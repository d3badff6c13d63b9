"""The cells of a table's columns and rows whose header says secret: in pages, CSV, Markdown, as pandas prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from autotune_nb.secrets.hints import may_be_named, stands_in
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.rules import Finding
from autotune_nb.secrets.values import KEYWORD, has_digits, is_secret_value, looks_random

_TABLE = re.compile(r"<table\b(?:(?!<table\b).)*?</table>", re.IGNORECASE | re.DOTALL)
_ROW = re.compile(r"<tr\b[^<>]*>((?:(?!<tr\b).)*?)</tr>", re.IGNORECASE | re.DOTALL)
_CELL = re.compile(r"<t([hd])\b[^<>]*>\s*((?:(?!<t[hd]\b).)*?)\s*</t\1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"[^\s|│]+")
_LONGEST_LINE = 2000
#: Between the cells of one line, the rarer ones first.
_BETWEEN = ("│", "┃", "|", "\t", ";", ",", "&")
_RULE = re.compile(r"[-=+:|\s─-╿]+")
_QUOTED_CELLS = re.compile(r'"(?:[^"]|"")*"|[^"]')
_NAME = re.compile(r"[\w\\.-]{0,40}")
_SEVERAL = re.compile(r"[\w\\.-]{0,40}(?: [\w\\.-]{1,40}){0,3}")
_ROW_OF = re.compile(r"[ \t]*(?P<name>[\w.-]{2,60}):?(?:[ \t]{2,}|\t)(?P<cells>\S.*)")
#: Below a Series stands what it is called.
_FOOTER = re.compile(r"Name: (?P<name>[\w.-]{2,60}), (?:Length: \d+, )?dtype: (?:object|str|string)")

_INNER = re.compile(r"(?:<[^<>]*>\s*)*(.*?)(?:\s*<[^<>]*>)*", re.DOTALL)
_AROUND = "\"'`* "

_Line = tuple[int, str]


class _Delimited(NamedTuple):
    """A table whose cells are parted by a sign: how many there are in a row, and which columns are of secrets."""

    sign: str
    width: int
    columns: list[tuple[int, str]]


def secret_cells(text: str) -> Iterator[Finding]:
    """Where they stand."""
    if not may_be_named(text):
        return
    lowered = text.lower()
    if "<table" in lowered:
        for table in _TABLE.finditer(text):
            if stands_in(text, *table.span()):
                yield from _in_page(text, [row.span(1) for row in _ROW.finditer(text, *table.span())])
    elif "<td" in lowered:
        # A piece of a table.
        yield from _in_page(text, [row.span(1) for row in _ROW.finditer(text)] or [(0, len(text))])
    yield from _in_text(text)


def _in_page(text: str, rows: list[tuple[int, int]]) -> Iterator[Finding]:
    columns: list[tuple[int, str]] = []
    for row in rows:
        cells = list(_CELL.finditer(text, *row))
        names = [_TAG.sub("", cell[2]).strip().rstrip(":") for cell in cells]
        if len(cells) > 1 and all(cell[1].lower() == "h" for cell in cells):
            # Counted from the end: an index may have a header of its own or none.
            # The names of an index are a second row of headers.
            told = [(at - len(cells), name) for at, name in enumerate(names) if says_secret(name)]
            columns = told or columns
            continue
        meant = {len(cells) + column: name for column, name in columns}
        for at, name in enumerate(names[:-1]):
            if says_secret(name):
                # A row's own header is that of all its cells, any other cell's the next one's.
                meant |= dict.fromkeys(range(1, len(cells)) if at == 0 else (at + 1,), name)
        for at, name in meant.items():
            if 0 <= at < len(cells) and is_secret_value(names[at], name):
                inner = _INNER.fullmatch(cells[at][2])
                start, end = inner.span(1) if inner is not None else (0, len(cells[at][2]))
                yield Finding(cells[at].start(2) + start, cells[at].start(2) + end, KEYWORD)


def _in_text(text: str) -> Iterator[Finding]:
    lines: list[_Line] = []
    between = None
    under: list[tuple[int, int, str]] = []
    indented = filled = False
    typed = None
    at = 0
    for line in text.split("\n"):
        start, at = at, at + len(line) + 1
        lines.append((start, line))
        if len(line) > _LONGEST_LINE or not line.strip():
            between, under = None, []
            continue
        if between is not None and not _RULE.fullmatch(line):
            cells = _cells(line, between.sign)
            if len(cells) == between.width:
                yield from _in_cells(start, line, cells, between.columns)
            else:
                between = None
        named = stands_in(text, start, at)
        if named and (headers := _headers(line)):
            # Under a header that is moved in stands an index first, as pandas has it.
            under, indented, filled = headers, line[:1].isspace(), line.endswith("  ")
        elif under:
            yield from _aligned(start, line, under, indented, filled)
        if not named:
            continue
        if footer := _FOOTER.match(line):
            yield from _above(lines, footer["name"])
        elif row := _ROW_OF.fullmatch(line):
            typed = "dtype: " in text if typed is None else typed
            yield from _beside(start, row, typed=typed)
        if (sign := next((sign for sign in _BETWEEN if sign in line), None)) is not None:
            yield from _pair_of_cells(start, line, sign)
            between = between or _delimited(line, sign)


def _above(lines: list[_Line], name: str) -> Iterator[Finding]:
    """The values of a Series, each the last word of its line."""
    for at, line in reversed(lines[-200:-1]):
        words = list(_WORD.finditer(line))
        if len(words) < 2 or len(line) > _LONGEST_LINE or _FOOTER.fullmatch(line):
            return
        if is_secret_value(words[-1][0], name):
            yield Finding(at + words[-1].start(), at + words[-1].end(), KEYWORD)
        # In a dict of several the next one begins where the one before ends.
        if _FOOTER.match(line):
            return


def _beside(at: int, row: re.Match[str], *, typed: bool) -> Iterator[Finding]:
    """A line that begins with a name, its cells apart from one another."""
    if not says_secret(row["name"]):
        return
    cells = list(re.finditer(r"\S+(?: \S+)*", row["cells"]))
    for cell in cells:
        # Without digits it is as well a word of some explanation.
        certain = looks_random(cell[0]) and has_digits(cell[0])
        if " " not in cell[0] and (certain or typed) and is_secret_value(cell[0], row["name"]):
            start = at + row.start("cells")
            yield Finding(start + cell.start(), start + cell.end(), KEYWORD)


def _pair_of_cells(at: int, line: str, sign: str) -> Iterator[Finding]:
    """In a row with a frame the cells beside a name in the first of them."""
    if sign not in "│┃|" or line.strip()[0] != sign:
        return
    cells = _cells(line, sign)
    names = [line[start:end].strip(_AROUND) for start, end in cells]
    if len(names) <= 3 or not says_secret(names[1]) or any(map(says_secret, names[2:])):
        return
    # A Secret's name may stand over columns, and words beside it be their headers.
    if "secret" not in names[1].lower() or not any(map(str.isalpha, names[2:])):
        yield from _in_cells(at, line, cells, [(column, names[1]) for column in range(2, len(cells))])


def _delimited(line: str, sign: str) -> _Delimited | None:
    """The table whose header a line is, its cells all parted by the same sign; None where it is no header."""
    cells = _cells(line, sign)
    named = _SEVERAL if sign in "│┃|&\t" else _NAME
    names = [line[start:end].strip(_AROUND).replace("\\_", "_") for start, end in cells]
    columns = [(column, name) for column, name in enumerate(names) if says_secret(name)]
    if not columns or len(names) < 2 or not all(named.fullmatch(name) for name in names):
        return None
    # A list in code goes on after its last comma.
    if sign in ",;" and (not names[-1] or sum(map(bool, names)) < 2):
        return None
    return _Delimited(sign, len(cells), columns)


def _in_cells(at: int, line: str, cells: list[tuple[int, int]], columns: list[tuple[int, str]]) -> Iterator[Finding]:
    for column, name in columns:
        start, end = cells[column]
        if is_secret_value(line[start:end].strip(_AROUND), name):
            yield Finding(at + start, at + end, KEYWORD)


def _cells(line: str, between: str) -> list[tuple[int, int]]:
    """From where to where each cell's text goes, without the blanks and quotes around it."""
    edges = [-1]
    if '"' in line and between in ",;\t":
        edges += [piece.start() for piece in _QUOTED_CELLS.finditer(line) if piece[0] == between]
    else:
        edges += [at for at, letter in enumerate(line) if letter == between]
    edges.append(len(line.removesuffix("\r").removesuffix("\\\\")))
    found = []
    for left, right in pairwise(edges):
        cell = line[left + 1 : right]
        start = left + 1 + len(cell) - len(cell.lstrip(' "'))
        found.append((start, max(start, left + 1 + len(cell.rstrip(' "')))))
    return found


def _headers(line: str) -> list[tuple[int, int, str]]:
    """A header is names alone, apart from one another as in a table: from where to where those of secrets stand."""
    # Words with one space between them are prose or code.
    if re.search(r"[:=,;(){}\"'<>]|[^\s|│] [^\s|│]", line) or line.strip() == "pass":
        return []
    words = list(_WORD.finditer(line))
    # A word alone in its line is one of a column only beside an index, or where it is an index's own, filled up.
    if len(words) == 1 and not line[:1].isspace() and not line.endswith("  "):
        return []
    return [(*word.span(), word[0]) for word in words if says_secret(word[0])]


def _aligned(at: int, line: str, under: list[tuple[int, int, str]], indented: bool, filled: bool) -> Iterator[Finding]:
    """What stands below a header, as its place in the line says."""
    # Beside an index whatever stands below the header; elsewhere its edge is what tells.
    table = (indented or filled) and not line[:1].isspace() and "  " in line.strip()
    for word in list(_WORD.finditer(line))[int(indented) :]:
        start, end = word.span()
        for left, right, name in under:
            if (start == left or end == right or (table and start < right and end > left)) and (
                is_secret_value(word[0], name) and (table or looks_random(word[0]))
            ):
                yield Finding(at + start, at + end, KEYWORD)
                break


def secret_columns(data: dict[Any, Any]) -> dict[int, str]:
    """Of a frame whose columns' names stand apart from its rows the secret ones; none where it is no such frame."""
    names, rows = data.get("columns"), data.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return {}
    # With several levels of names any of them may say it.
    levels = [name if isinstance(name, list | tuple) else [name] for name in names]
    told = [next((str(level) for level in name if says_secret(str(level))), None) for name in levels]
    return {at: name for at, name in enumerate(told) if name is not None}
