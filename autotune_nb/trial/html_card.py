"""A small card for a notebook: a title, a table of names and texts, and what is folded below it; without scripts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_LEFT = "style='text-align:left'"


def card_html(title: str, rows: Iterable[tuple[str, str]], *parts: str) -> str:
    """Return a card; ``title`` and ``rows`` are text, ``parts`` are HTML. Rows without a text are left out."""
    cells = "".join(
        f"<tr><th {_LEFT}>{html.escape(name)}</th><td {_LEFT}>{html.escape(text)}</td></tr>"
        for name, text in rows
        if text
    )
    table = f"<table>{cells}</table>" if cells else ""
    return f"<div><b>{html.escape(title)}</b>{table}{''.join(parts)}</div>"


def folded_html(title: str, content: str) -> str:
    """Return HTML below a title, which is shown by a click on it; nothing if there is no content."""
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>" if content else ""


def preformatted_html(text: str) -> str:
    """Return a text with its line ends, such as a command; nothing if there is none."""
    return f"<pre>{html.escape(text)}</pre>" if text else ""


def table_html(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts; nothing without rows."""
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""
