"""Values of the monitor that take long to compute: computed again only after a pause, and beside its redraws."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")
#: After a computation, the next one waits for this many times as long.
_PAUSE = 20


class Recomputed(Generic[T]):
    """A value that depends on the ended trials; ``arrived`` is called when a thread has computed a new one."""

    def __init__(self, empty: T, arrived: Callable[[], None] = lambda: None) -> None:
        self._empty = empty
        self._arrived = arrived
        self._lock = threading.Lock()
        self._computing: object = None
        self.reset()

    def reset(self) -> None:
        """Forget the value, such as that of another study."""
        with self._lock:
            self._value, self._of, self._pending, self._next_at = self._empty, -1, False, 0.0
            self._computing, self._new = None, False

    @property
    def known(self) -> bool:
        """Whether it has been computed."""
        return self._of >= 0

    @property
    def pending(self) -> bool:
        """Whether a computation waits."""
        return self._pending

    @property
    def due(self) -> bool:
        """Whether ``update`` would return a new value or begin a computation that waits."""
        return self._new or (self._pending and not self.due_in_s)

    @property
    def due_in_s(self) -> float:
        """The seconds until the waiting computation."""
        return max(0.0, self._next_at - time.monotonic())

    def postpone(self) -> T:
        """Leave the computation to the next redraw."""
        self._pending = True
        return self._value

    def update(self, num_ended: int, compute: Callable[[], T], *, may_wait: bool) -> T:
        """Return the value for so many ended trials.

        If it may wait, return the previous value if it is too early, and while a thread computes the new one.
        """
        began = time.monotonic()
        with self._lock:
            self._new = False
            changed = num_ended != self._of
            self._pending = may_wait and changed and began < self._next_at
            if not changed or self._pending or (may_wait and self._computing is not None):
                return self._value
            # What a thread still computes is out of date.
            self._computing = job = object() if may_wait else None
        if may_wait:
            # A level that ends meanwhile is drawn at once.
            args = (job, num_ended, compute)
            threading.Thread(target=self._compute, args=args, name="autotune_nb-monitor-values", daemon=True).start()
            return self._value
        self._set(job, num_ended, compute(), began)
        return self._value

    def _compute(self, job: object, num_ended: int, compute: Callable[[], T]) -> None:
        began = time.monotonic()
        try:
            value = compute()
        except Exception:  # noqa: BLE001 - the previous value stays
            _log.exception("a value of the monitor could not be computed")
            value = self._value
        if self._set(job, num_ended, value, began):
            self._arrived()

    def _set(self, job: object, num_ended: int, value: T, began: float) -> bool:
        """Keep a value unless it was computed for another study meanwhile, or again; return whether it is another."""
        with self._lock:
            if self._computing is not job:
                return False
            self._new = value != self._value
            self._value, self._of, self._computing = value, num_ended, None
            self._next_at = time.monotonic() + _PAUSE * (time.monotonic() - began)
            return self._new
