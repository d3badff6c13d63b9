"""When a monitor may redraw: at once after a quiet time, and on average at most twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_S = 0.5
#: How far redraws may be ahead of their average: two may follow the first one sooner.
_AHEAD_S = 1.0
#: Redraws are at least this far apart, so that what ends together is drawn together.
_APART_S = 0.1
#: The rate that a slow page can process; if more is sent, such as for many short trials, the next redraw waits.
_BYTES_PER_S = 12_000


class Pace:
    """The times of the redraws of one monitor; each redraw uses half a second, or longer if it sent much."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = self._due = float("-inf")

    def redrawn(self, sent: int) -> None:
        """Note a redraw that sent about so many bytes."""
        self._last = self._now()
        self._due = max(self._due, self._last - _AHEAD_S) + max(EVERY_S, sent / _BYTES_PER_S)

    @property
    def wait_s(self) -> float:
        """The seconds until the next redraw may begin."""
        return max(0.0, self._due - self._now(), self._last + _APART_S - self._now())

    @property
    def rest_s(self) -> float:
        """The seconds until nothing is left of earlier redraws: what is polled waits for it, and delays no event."""
        return max(0.0, self._due + _AHEAD_S - self._now())
