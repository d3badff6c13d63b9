"""The active time of a run, which ``budget.minutes`` limits: without pauses and waits for the surroundings."""

from __future__ import annotations

from collections.abc import Callable, Hashable


class ActiveTime:
    """The seconds of a run and of all previous runs of its study in which something was done.

    Time does not count while no trial works and the run is paused or a trial waits for its surroundings, such as a
    cluster. ``seconds`` may be read in any thread.
    """

    def __init__(self, now: Callable[[], float], previous_s: float) -> None:
        self.now = now
        #: The seconds counted up to a time, and that time; None while nothing counts.
        self._counted: tuple[float, float | None] = (previous_s, now())
        self._working: set[Hashable] = set()
        self._waiting: set[Hashable] = set()
        self._paused = False
        #: The last time at which a trial that has stopped working did something useful.
        self._useful_until = now()

    @property
    def seconds(self) -> float:
        seconds, since = self._counted
        return seconds if since is None else seconds + self.now() - since

    def works(self, who: Hashable) -> None:
        """Count from now on: ``who``, such as a trial, starts to work or goes on."""
        self._waiting.discard(who)
        if not self._working and self._counted[1] is not None:
            self._useful_until = self.now()
        self._working.add(who)
        self._count()

    def waits(self, who: Hashable, since: float) -> None:
        """It waits for its surroundings, and what it did from ``since`` on was in vain."""
        self._working.discard(who)
        self._waiting.add(who)
        self._useful_until = max(self._useful_until, since)
        if not self._working:
            self._stop(self._useful_until)

    def ended(self, who: Hashable) -> None:
        """It neither works nor waits any more."""
        if who in self._working:
            self._useful_until = self.now()
        self._working.discard(who)
        self._waiting.discard(who)
        self._update()

    def pause(self, paused: bool) -> None:
        """The run is paused, or resumed."""
        self._paused = paused
        self._update()

    def end(self) -> None:
        """Count no more."""
        self._stop(self.now())

    def _update(self) -> None:
        if not self._working and (self._paused or self._waiting):
            self._stop(self.now())
        else:
            self._count()

    def _count(self) -> None:
        seconds, since = self._counted
        self._counted = (seconds, self.now() if since is None else since)

    def _stop(self, at: float) -> None:
        seconds, since = self._counted
        self._counted = (seconds if since is None else seconds + max(at - since, 0.0), None)
