"""Converts a parameter from one kind to another and keeps what it can of its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from autotune_nb.engines.base import Flag
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value

KINDS = ("choice", "bool", "int", "float")
#: A range with more values than this becomes a choice of its two ends.
_FEW = 24


def converted(old: str, data: dict[str, Any], new: str, flag: Flag | None) -> dict[str, Any]:
    """Return the fields of the new kind, converted from the old kind or else suggested by the catalog."""
    if new == "bool":
        return {}
    found = _values(old, data) if new == "choice" else _range(data, whole=new == "int")
    if not found and flag is not None:
        suggestion = flag.suggestion()
        if suggestion is not None and suggestion.type == new:
            found = suggestion.model_dump(exclude_defaults=True, exclude={"type"})
        elif new == "choice" and flag.kind == "bool":
            found = {"values": [False, True]}
    return found


def _values(old: str, data: dict[str, Any]) -> dict[str, Any]:
    if old == "bool":
        return {"values": [False, True]}
    try:
        parameter: Choice | Bool | Int | Float = (Int if old == "int" else Float)(**data)
    except (ValidationError, TypeError):
        return {}
    grid: Sequence[Value] | None = parameter.grid()
    if grid is None or len(grid) > _FEW:
        grid = list(dict.fromkeys([data["low"], data["high"]]))
    return {"values": list(grid)}


def _range(data: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    if "values" in data:
        values = data["values"] if isinstance(data["values"], list) else []
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        data = {"low": min(numbers), "high": max(numbers)} if numbers else {}
    if not whole:
        return dict(data)
    # A fractional step or end stays, to be corrected by the user.
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in data.items()}
