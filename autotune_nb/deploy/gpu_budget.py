"""Limits the number of GPUs that trials hold together."""

from __future__ import annotations

import asyncio
from collections import deque

from autotune_nb.errors import DeployError, Failure, FailureKind


class GpuBudget:
    """Counts the GPUs that trials hold; on a cluster its scheduler chooses which.

    Requests are served in order, so that small trials cannot starve a large one. ``ceiling`` None means no limit.
    """

    def __init__(self, ceiling: int | None) -> None:
        self.ceiling = ceiling
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def free(self, count: int) -> bool:
        """Whether ``take`` would return at once."""
        return self.ceiling is None or (not self._waiting and self.held + count <= self.ceiling)

    def hold(self, count: int) -> None:
        """Add GPUs that are held already, even beyond the ceiling."""
        self.held += count

    async def take(self, count: int) -> None:
        """Wait for ``count`` GPUs and hold them. Raises DeployError if ``count`` exceeds the ceiling."""
        if self.ceiling is not None and count > self.ceiling:
            message = f"the configuration needs {count} GPUs, and trials may hold {self.ceiling} together"
            raise DeployError(Failure(FailureKind.CONFIGURATION, "deploy", message, hint="check deploy.gpus"))
        if self.free(count):
            self.held += count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # They were allocated just before the cancellation.
                self.give(count)
            else:
                self._waiting = deque(one for one in self._waiting if one[1] is not turn)
                self._serve()
            raise

    def give(self, count: int) -> None:
        """Release ``count`` GPUs."""
        self.held -= count
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self.ceiling is not None and self.held + self._waiting[0][0] <= self.ceiling:
            count, turn = self._waiting.popleft()
            if not turn.done():
                self.held += count
                turn.set_result(None)
