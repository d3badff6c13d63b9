"""The monitor's strip of what runs now: each running trial, with the last lines of its engine's log."""

from __future__ import annotations

from pathlib import Path

import ipywidgets

from autotune_nb.deploy.engine_log import tail
from autotune_nb.handle import StudyHandle
from autotune_nb.widgets import _panels
from autotune_nb.widgets._texts import send_texts, text_widget

_LOG_LINES, _LOG_BYTES, _LOG_WIDTH = 4, 4096, 240


class RunningStrip:
    """What runs now; logs grow without an event, so ``update`` is called twice a second while a trial runs."""

    def __init__(self) -> None:
        self.running = text_widget("running")
        self.box = ipywidgets.VBox([self.running])
        self._logs: dict[Path, tuple[int, list[str]]] = {}

    def follow(self) -> None:
        """Forget the logs of the previous study."""
        self._logs.clear()

    def update(self, handle: StudyHandle) -> int:
        """Send what changed and return about how many bytes it was."""
        reasons = {one.trial.number: handle.reason(one.trial) for one in handle.running}
        text = _panels.running_html(handle.running, self._tails(handle), handle.task.goal, reasons)
        return send_texts({self.running: text})

    def _tails(self, handle: StudyHandle) -> dict[int, list[str]]:
        tails = {}
        for one in handle.running:
            if one.log is None:
                continue
            try:
                size = one.log.stat().st_size
            except OSError:
                continue
            known = self._logs.get(one.log)
            if known is None or known[0] != size:
                lines = tail(one.log, _LOG_BYTES)[-_LOG_LINES:]
                known = self._logs[one.log] = (size, [line[:_LOG_WIDTH] for line in lines])
            tails[one.trial.number] = known[1]
        # Forget the logs of ended trials.
        self._logs = {one.log: self._logs[one.log] for one in handle.running if one.log in self._logs}
        return tails
