"""What a screen reader reads out by itself: changes of the state, and new notices; never a figure."""

from __future__ import annotations

from typing import Any

from autotune_nb.handle import StudyHandle
from autotune_nb.runner.runner import RunState
from autotune_nb.trial.trial import WAIT
from autotune_nb.widgets._running_text import idle_text

#: Nobody wants to hear the whole of a long error.
_MOST = 300


def state_lines(handle: StudyHandle) -> list[str]:
    """Return what is read out: the state of the study, and its latest notice."""
    name, state = handle.task.name, str(handle.state)
    running = handle.running
    if state == RunState.RUNNING:
        waits = bool(running) and all(one.phase == WAIT for one in running)
        text = f"{name}: {running[0].doing if waits else state}"
    elif handle.error is not None:
        text = f"{name}: {state}: {handle.error}"
    else:
        text = f"{name}: {idle_text(handle) or state}"
    return [one[:_MOST] for one in (text, handle.notices[-1][1] if handle.notices else "")]


class StateAnnouncer:
    """``box`` is the live region, which is not seen; None without anywidget."""

    def __init__(self) -> None:
        self.box: Any = _live_region()

    def update(self, handle: StudyHandle) -> int:
        """Send what changed and return about how many bytes it was."""
        lines = state_lines(handle)
        if self.box is None or self.box.lines == lines:
            return 0
        self.box.lines = lines
        return sum(map(len, lines)) + 150


def _live_region() -> Any:
    try:
        from autotune_nb.widgets._live_region import LiveRegion
    except ImportError:
        return None
    region = LiveRegion()
    region.add_class("at-read")
    return region
