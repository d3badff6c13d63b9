"""The earlier states of the form's task, to undo edits and redo them."""

from __future__ import annotations

import time
from typing import Any

#: Edits of one field within this time are undone together.
_TYPING_S = 2.0
_MOST = 200


class History:
    """States of a task as plain data, with the current one among them."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._states = [data]
        self._at = 0
        self._last: tuple[frozenset[str], float] = (frozenset(), 0.0)

    @property
    def can_undo(self) -> bool:
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        return self._at < len(self._states) - 1

    def record(self, data: dict[str, Any]) -> None:
        """Add a state; it replaces the previous one while the same field is being typed in."""
        current = self._states[self._at]
        if data == current:
            return
        fields, now = _changed_fields(current, data), time.monotonic()
        typing = fields == self._last[0] and now - self._last[1] < _TYPING_S and self.can_undo and not self.can_redo
        self._last = (fields, now)
        if typing:
            self._states[self._at] = data
            return
        self._states[self._at + 1 :] = [data]
        del self._states[: len(self._states) - _MOST]
        self._at = len(self._states) - 1

    def move(self, steps: int) -> dict[str, Any]:
        """Return the state so many steps later, or earlier if negative, as the current one."""
        self._at = min(max(self._at + steps, 0), len(self._states) - 1)
        self._last = (frozenset(), 0.0)
        return self._states[self._at]


def _changed_fields(old: dict[str, Any], new: dict[str, Any]) -> frozenset[str]:
    found = set()
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found |= {f"{key}.{name}" for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        elif before != after:
            found.add(key)
    return frozenset(found)
