"""Jobs in a background thread, where a new job replaces a waiting one."""

from __future__ import annotations

import threading
from collections.abc import Callable


class LatestJob:
    """Runs jobs one at a time in a background thread; a new job replaces one that has not started.

    The thread ends when there is no job left. Jobs must not raise.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next: Callable[[], None] | None = None
        self._busy = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run this job next; return at once."""
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

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no job is left; return False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout_s)
