"""Values of the monitor that take long to compute: computed again only after a pause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
#: After a computation, the next one waits for this many times as long.
_PAUSE = 20


class Recomputed(Generic[T]):
    """A value that depends on the ended trials."""

    def __init__(self, empty: T) -> None:
        self._empty = empty
        self.reset()

    def reset(self) -> None:
        """Forget the value, such as that of another study."""
        self._value, self._of, self._pending, self._next_at = self._empty, -1, False, 0.0

    @property
    def pending(self) -> bool:
        """Whether a computation waits."""
        return self._pending

    @property
    def due_in_s(self) -> float:
        """The seconds until the waiting computation."""
        return max(0.0, self._next_at - time.monotonic())

    def postpone(self) -> T:
        """Leave the computation to the next redraw."""
        self._pending = True
        return self._value

    def update(self, num_ended: int, compute: Callable[[], T], *, may_wait: bool) -> T:
        """Return the value for so many ended trials, or the previous one if it is too early and it may wait."""
        began = time.monotonic()
        self._pending = may_wait and num_ended != self._of and began < self._next_at
        if num_ended != self._of and not self._pending:
            self._value, self._of = compute(), num_ended
            self._next_at = time.monotonic() + _PAUSE * (time.monotonic() - began)
        return self._value
