"""The table beside a monitor that a saved notebook shows once its kernel is gone; a live monitor hides it."""

from __future__ import annotations

import html
import time
import uuid

from IPython.display import DisplayHandle

from autotune_nb.handle import StudyHandle
from autotune_nb.widgets._progress import table_html

#: A running study's table is replaced at most this often; the last one when the run pauses or ends.
_EVERY_S = 60.0


class SavedTable:
    """An output of its own with a study's latest trials, which is updated for the copy that the notebook saves.

    A widget's output is saved as it was when it was displayed, and replacing it would draw the whole monitor again.
    """

    def __init__(self) -> None:
        name = uuid.uuid4().hex[:12]
        self._class = f"at-saved-{name}"
        self._handle = DisplayHandle(self._class)
        self._sent: str | None = None
        self._sent_at = 0.0

    def css(self, study: StudyHandle) -> str:
        """Return rules that hide the table where this stylesheet's monitor is live, and say in its place how to get
        the monitor back once its kernel is gone."""
        hidden = f".{self._class}, .jp-OutputArea-child:has(.{self._class}) {{ display: none; }}"
        line = f"The kernel of this monitor is gone: at.open({str(study.path)!r}) shows the study again."
        text = "".join(letter if letter.isalnum() or letter in " .:()_-" else f"\\{ord(letter):06x}" for letter in line)
        gone = ".at-monitor.jupyter-widgets-disconnected"
        # Widgets without a kernel are marked with a broken link each.
        return (
            f"{hidden} {gone} > *, {gone}::before {{ display: none !important; }} "
            f'{gone}::after {{ content: "{text}"; padding: 8px; }}'
        )

    def display(self, study: StudyHandle) -> None:
        """Add the table to the outputs of the cell that is being executed."""
        self._sent, self._sent_at = self._html(study), time.monotonic()
        self._handle.display({"text/html": self._sent, "text/plain": repr(study)}, raw=True)

    def update(self, study: StudyHandle, *, resting: bool) -> None:
        """Replace the displayed table if it changed; ``resting`` is whether no change will follow soon."""
        if self._sent is None or not (resting or time.monotonic() - self._sent_at >= _EVERY_S):
            return
        text = self._html(study)
        if text != self._sent:
            self._sent, self._sent_at = text, time.monotonic()
            self._handle.update({"text/html": text, "text/plain": repr(study)}, raw=True)

    def _html(self, study: StudyHandle) -> str:
        code = html.escape(f"at.open({str(study.path)!r})")
        # If a server executes the cells, those of a notebook that is not trusted show this instead of widgets.
        how = f"<p><code>{code}</code> shows the study live, in a trusted notebook.</p>"
        return f'<div class="{self._class}">{table_html(study)}{how}</div>'
