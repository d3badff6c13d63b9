"""Numbers that are typed into fields."""

from __future__ import annotations

from autotune_nb.errors import TaskError


def number_in(text: str, field: str) -> float | None:
    """Return the number in a field, or None if it is empty. Raises TaskError."""
    text = text.strip()
    if not text:
        return None
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise TaskError(f"{text!r} is not a number", field=field) from None
