"""Measures the time of a run, without pauses in which nothing runs."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """The seconds of a study so far; ``previous_s`` are those of its previous runs, ``now`` the run's clock."""

    def __init__(self, now: Callable[[], float], previous_s: float) -> None:
        self._now = now
        self._previous_s = previous_s
        self._began = now()
        self._ended_at: float | None = None
        #: The seconds that do not count, and since when they do not count now.
        self._idle_s = 0.0
        self._idle_since: float | None = None

    @property
    def elapsed_s(self) -> float:
        now = next((at for at in (self._idle_since, self._ended_at) if at is not None), None)
        return self._previous_s + (self._now() if now is None else now) - self._began - self._idle_s

    def hold(self) -> None:
        """Stop counting until ``go_on``."""
        if self._idle_since is None:
            self._idle_since = self._now()

    def go_on(self) -> None:
        if self._idle_since is not None:
            self._idle_s += self._now() - self._idle_since
            self._idle_since = None

    def stop(self) -> None:
        """Stop for good."""
        self._ended_at = self._now()
