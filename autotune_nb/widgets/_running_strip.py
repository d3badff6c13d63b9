"""The monitor's strip of what runs now: each running trial, its tokens per second, and the log of its engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets

from autotune_nb.deploy.engine_log import tail
from autotune_nb.handle import StudyHandle
from autotune_nb.reports.metric_series import latest_attempt, live_tokens_per_s
from autotune_nb.study.folder import StudyFolder
from autotune_nb.widgets._disclosure import Disclosure
from autotune_nb.widgets._panels import escaped
from autotune_nb.widgets._running_text import Latest, running_html
from autotune_nb.widgets._sparklines import live_html
from autotune_nb.widgets._texts import send_texts, text_widget

_LOG_BYTES, _LOG_WIDTH = 4096, 240
#: What is shown of a log that is opened by a click.
_FULL_LINES, _FULL_BYTES, _FULL_WIDTH = 200, 60_000, 500


class RunningStrip:
    """What runs now; logs grow without an event, so ``update`` is called twice a second while a trial runs."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.running, self.log = text_widget("running"), text_widget("log")
        self.logs = Disclosure("Log of the engine", self.log, "at-monitor-logs", wake)
        self.logs.box.layout.display = "none"
        self.box = ipywidgets.VBox([self.running, self.logs.box])
        self.box.add_class("at-monitor-strip")
        self._lines: dict[Path, tuple[Any, str]] = {}

    def follow(self) -> None:
        """Forget the logs of the previous study."""
        self._lines.clear()

    def update(self, handle: StudyHandle) -> int:
        """Send what changed and return about how many bytes it was."""
        latest = {one.trial.number: self._latest(handle, one.trial.number, one.log) for one in handle.running}
        # Forget the logs of ended trials.
        self._lines = {one.log: self._lines[one.log] for one in handle.running if one.log in self._lines}
        logs = [one for one in handle.running if one.log is not None]
        sent = self._show_logs(bool(logs))
        opened = logs and self.logs.open
        texts = {self.running: running_html(handle, latest)}
        if opened:
            texts[self.log] = "".join(map(_log_html, ((one.trial.number, one.log) for one in logs[:2] if one.log)))
        return sent + send_texts(texts)

    def _show_logs(self, any_log: bool) -> int:
        display = None if any_log else "none"
        if self.logs.box.layout.display == display:
            return 0
        self.logs.box.layout.display = display
        return 150

    def _latest(self, handle: StudyHandle, number: int, log: Path | None) -> Latest:
        line = ""
        try:
            size = log.stat().st_size if log is not None else None
        except OSError:
            size = None
        if log is not None and size is not None:
            known = self._lines.get(log)
            if known is None or known[0] != size:
                lines = [one for one in tail(log, _LOG_BYTES) if one.strip()]
                known = self._lines[log] = (size, lines[-1][:_LOG_WIDTH] if lines else "")
            line = known[1]
        rates = live_tokens_per_s(latest_attempt(StudyFolder(handle.path).trial_folder(number)))
        return Latest(line, live_html(rates) if rates is not None else "")


def _log_html(given: tuple[int, Path]) -> str:
    number, log = given
    lines = [line[:_FULL_WIDTH] for line in tail(log, _FULL_BYTES)[-_FULL_LINES:]]
    text = escaped("\n".join(lines)) or "empty so far"
    return (
        f'<div class="at-dim">trial {number}, the last {_FULL_LINES} lines of {escaped(log)}</div>'
        f'<pre class="at-full" tabindex="0">{text}</pre>'
    )
