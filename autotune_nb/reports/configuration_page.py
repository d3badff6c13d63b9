"""The table of configurations as HTML: plain, or sorted and filtered by a script of its own that needs no network."""

from __future__ import annotations

import functools
import html
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from autotune_nb.results.configuration_columns import Cell, Column
from autotune_nb.results.configurations import BEST, LEVEL, ConfigurationTable, Row

#: The type of the table's data in a notebook's output.
TABLE_MIME = "application/vnd.autotune-nb.configurations+json"
_SIGNS = {"kept": "✓ kept", "broken": "✗ broken", "undecided": "? undecided"}
_SENTENCES = ("cut", "failure", "note")
#: The most rows of the plain table; the script has all of them.
_MOST = 200
#: The alignment once instead of in each of thousands of cells: n is a number, w a text whose words stay whole.
_STYLE = "<style>.at-table-plain .n{text-align:right}.at-table-plain .w{overflow-wrap:normal}</style>"


@functools.cache
def table_script() -> str:
    """Return the JavaScript module of the table, which the monitor and the report's page share."""
    folder = files("autotune_nb") / "reports"
    names = ("configuration_filter.js", "configuration_style.js", "configuration_menu.js", "configuration_table.js")
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def table_message(table: ConfigurationTable) -> dict[str, Any]:
    """Return the whole table for a notebook, by column; the page's script makes rows of it.

    It is a third of the size of its rows, since a text that many rows have is there once.
    """
    packed = {
        "numbers": [row.number for row in table.rows],
        "trials": {str(row.number): list(row.trials) for row in table.rows if len(row.trials) > 1},
        "baseline": [row.number for row in table.rows if row.baseline],
        "cells": [_packed(cells) for cells in zip(*(row.cells for row in table.rows), strict=True)],
    }
    return {"all": True, "columns": [column.to_dict() for column in table.columns], "packed": packed}


def _packed(cells: Sequence[Cell]) -> list[Cell] | dict[str, Any]:
    """Return the cells of a column; of texts, each once with the place of each row's; once if all are equal."""
    if all(cell is None or isinstance(cell, str | bool) for cell in cells):
        places = {word: place for place, word in enumerate(dict.fromkeys(cells))}
        if len(places) == 1:
            return {"words": list(places)}
        if 2 * len(places) <= len(cells):
            return {"words": list(places), "places": [places[cell] for cell in cells]}
    return list(cells)


def row_message(row: Row) -> list[Any]:
    """Return a row in the form that the script reads: its trials are 0 if there is one, and the last are its cells."""
    return [row.number, list(row.trials) if len(row.trials) > 1 else 0, int(row.baseline), list(row.cells)]


def to_json(message: Any) -> str:
    """Return compact JSON that a browser parses; numbers that JSON does not have become null, surrogates ``?``."""
    try:
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(message), separators=(",", ":"), ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode("utf-8")


def script_json(message: Any) -> str:
    """Return JSON for an element ``script``, which no text in it can end."""
    return to_json(message).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def plain_table_html(table: ConfigurationTable, *, most: int = _MOST) -> str:
    """Return the shown columns without a script: the default first, then the best; at most so many rows."""
    columns = [column for column in table.columns if column.shown]
    rows = _ranked(table)[:most]
    head = "".join(
        f'<th title="{html.escape(column.help)}"{_numeric(column)}>{html.escape(column.title)}</th>'
        for column in columns
    )
    body = "".join(f"<tr>{''.join(_cell_html(table, row, column) for column in columns)}</tr>" for row in rows)
    more = len(table.rows) - len(rows)
    rest = f"<p>The best {len(rows)} of {len(table.rows):,} configurations.</p>" if more > 0 else ""
    return f"{_STYLE}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}" if rows else ""


def cell_text(value: Cell, column: Column, row: Row) -> str:
    """Format a cell as the script does: to four digits, in the unit of the column's head."""
    if value is None:
        unset = column.group == "parameter" and row.baseline
        return ("default" if column.default is None else str(column.default)) if unset else ""
    if column.key == "trial":
        return f"{value} +{len(row.trials) - 1}" if len(row.trials) > 1 else str(value)
    if column.group == "limit":
        return _SIGNS.get(str(value), str(value))
    if isinstance(value, dict | list | bool):
        return json.dumps(value)
    if isinstance(value, int | float) and column.group != "parameter":
        number = value * column.scale
        if column.key == "gain":
            return f"{number:+.3g}"
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
    return str(value)


def _cell_html(table: ConfigurationTable, row: Row, column: Column) -> str:
    text = html.escape(cell_text(table.cell(row, column.key), column, row))
    marked = f"<b>{text}</b>" if table.changed(row, column) else text
    # On paper other texts may be broken anywhere, so that a wide table fits.
    whole = " class=w" if column.key == LEVEL else ""
    # There a sentence takes several lines and not the width of all other columns.
    long = " class=long" if column.key in _SENTENCES else ""
    return f"<td{_numeric(column) or whole or long}>{marked}</td>"


def _numeric(column: Column) -> str:
    return " class=n" if column.kind == "number" else ""


def _ranked(table: ConfigurationTable) -> list[Row]:
    """Return the best row, the default, then those that keep every limit by their gain, or without one by objective."""
    objective = next((column for column in table.columns if column.group == "figure"), None)
    sign = -1 if objective is not None and "less is better" in objective.help else 1

    def rank(row: Row) -> tuple[bool, bool, bool, float, int]:
        state = str(table.cell(row, "state"))
        gain = table.cell(row, "gain")
        if gain is None and objective is not None:
            value = table.cell(row, objective.key)
            gain = sign * value if isinstance(value, int | float) else None
        number = float(gain) if isinstance(gain, int | float) else -math.inf
        return not state.startswith(BEST), not row.baseline, "complete" not in state, -number, row.number

    return sorted(table.rows, key=rank)
