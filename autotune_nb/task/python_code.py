"""Python code that creates a task, for a notebook cell."""

from __future__ import annotations

import math
from typing import Any

from autotune_nb.task.file import task_data
from autotune_nb.task.task import Task

_WIDTH = 100


def task_code(task: Task) -> str:
    """Return Python code that creates an equal task."""
    return f"import autotune_nb as at\n\ntask = at.Task.parse({_literal(task_data(task), 0, 0, split=True)})\n"


def _literal(value: Any, indent: int, before: int, *, split: bool = False) -> str:
    """Return a Python literal; a list or object is split into one item per line if it does not fit in one line."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if not isinstance(value, dict | list):
        return repr(value)
    ends = "{}" if isinstance(value, dict) else "[]"
    if (not split and value) or not value:
        line = ends[0] + ", ".join(_items(value, 0)) + ends[1]
        if "\n" not in line and indent + before + len(line) <= _WIDTH:
            return line
    inner = indent + 4
    return ends[0] + "".join(f"\n{' ' * inner}{item}," for item in _items(value, inner)) + f"\n{' ' * indent}{ends[1]}"


def _items(value: Any, indent: int) -> list[str]:
    if isinstance(value, list):
        return [_literal(item, indent, 1) for item in value]
    return [f"{key!r}: {_literal(item, indent, len(repr(key)) + 3)}" for key, item in value.items()]
