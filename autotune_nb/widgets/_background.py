"""Work beside the kernel's own thread, of which only the newest counts."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Latest:
    """Does the newest of the jobs it is given, in a thread of its own; one that has not begun is dropped for a newer.

    The thread ends where there is nothing left to do. Jobs raise nothing.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next: Callable[[], None] | None = None
        self._busy = False

    def submit(self, job: Callable[[], None]) -> None:
        """Do this next; returns at once."""
        with self._changed:
            self._next = job
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name="autotune_nb form", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                job, self._next = self._next, None
                if job is None:
                    self._busy = False
                    self._changed.notify_all()
                    return
            job()

    def settled(self, timeout_s: float) -> bool:
        """Wait until nothing is left to do; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout_s)
