"""The cells of a table's columns whose header says secret, in a page and in the text that pandas prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotune_nb.secret_library import secret_key
from autotune_nb.secret_rules import KEYWORD, Finding, is_written_out, looks_random

_TABLE = re.compile(r"<table\b(?:(?!<table\b).)*?</table>", re.IGNORECASE | re.DOTALL)
_ROW = re.compile(r"<tr\b[^<>]*>((?:(?!<tr\b).)*?)</tr>", re.IGNORECASE | re.DOTALL)
_CELL = re.compile(r"<t([hd])\b[^<>]*>\s*((?:(?!<t[hd]\b).)*?)\s*</t\1>", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[^\s|│]+")


def secret_cells(text: str) -> Iterator[Finding]:
    """Where they stand."""
    if "<table" in text.lower():
        for table in _TABLE.finditer(text):
            yield from _in_page(text, table.start(), table.end())
    yield from _in_text(text)


def _in_page(text: str, start: int, end: int) -> Iterator[Finding]:
    columns: list[tuple[int, int]] = []
    for row in _ROW.finditer(text, start, end):
        cells = list(_CELL.finditer(text, row.start(1), row.end(1)))
        if cells and all(cell[1].lower() == "h" for cell in cells):
            # Counted from the end: an index may have a header of its own or none.
            # The names of an index are a second row of headers.
            told = [(at - len(cells), least) for at, cell in enumerate(cells) if (least := _least(cell[2]))]
            columns = told or columns
            continue
        for column, least in columns:
            if -column <= len(cells) and _is_secret(cells[column][2], least, words=True):
                yield Finding(*cells[column].span(2), KEYWORD)


def _in_text(text: str) -> Iterator[Finding]:
    # From where to where in a line a secret's header stands, and how long a secret is at least.
    columns: list[tuple[int, int, int]] = []
    indented = at = 0
    for line in text.splitlines(keepends=True):
        if not line.strip():
            columns = []
        elif headers := _headers(line):
            # Under a header that is moved in stands an index first.
            columns, indented = headers, int(line[0].isspace())
        elif columns:
            for word in list(_WORD.finditer(line))[indented:]:
                at_edge = (least for start, end, least in columns if word.start() == start or word.end() == end)
                if _is_secret(word[0], next(at_edge, 2000), words=False):
                    yield Finding(at + word.start(), at + word.end(), KEYWORD)
        at += len(line)


def _headers(line: str) -> list[tuple[int, int, int]]:
    """A header is names alone, apart from one another as in a table."""
    if len(line) > 2000 or not re.search(r"(?i)key|token|secret|pass|pw|auth|credential|cookie|pat\b|bearer", line):
        return []
    # Words with one space between them are prose or code.
    if re.search(r"[:=,;(){}\"'<>]|[^\s|│] [^\s|│]", line):
        return []
    return [(*word.span(), least) for word in _WORD.finditer(line) if (least := _least(word[0]))]


def _least(header: str) -> int:
    """How long a secret below this header is at least; 0 where none stands there. A tokenizer has tokens too."""
    told = secret_key(header)
    return 0 if told is None else 16 if told[1] else 4


def _is_secret(value: str, least: int, *, words: bool) -> bool:
    """Whether it is one; in a page's cells a bare word may be, too."""
    if len(value) < least or not is_written_out(value) or value.lower() == "nan":
        return False
    return looks_random(value) or (words and least < 16 and " " not in value)
