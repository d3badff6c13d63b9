"""The monitor's header: the state, the progress, the best configuration against the default, and the buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from autotune_nb.handle import StudyHandle
from autotune_nb.widgets import _panels
from autotune_nb.widgets._header_text import header_html
from autotune_nb.widgets._run_buttons import RunButtons
from autotune_nb.widgets._texts import send_texts, text_widget

_FOLDER_GONE = "The study's folder is gone; this is what was last read from it. Start creates the study again."


class Header:
    """What answers "is it going well?"; ``message`` is the error of the last click, or None."""

    def __init__(
        self, handle: Callable[[], StudyHandle], start: Callable[[], None], redraw: Callable[[], None]
    ) -> None:
        self.message: str | None = None
        self._redraw = redraw
        self.progress, self.errors = text_widget("progress"), text_widget("errors")
        self.buttons = RunButtons(handle, start, self._clicked)
        self.command = _copy_button()
        beside = ipywidgets.HBox([self.buttons.box, *([self.command] if self.command is not None else [])])
        beside.add_class("at-monitor-beside")
        self.box = ipywidgets.VBox([self.progress, self.errors, beside])
        self.box.add_class("at-monitor-header")

    def _clicked(self, message: str | None) -> None:
        self.message = message
        self._redraw()

    def update(self, handle: StudyHandle, *, gone: bool, starting: bool) -> int:
        """Send what changed and return about how many bytes it was; ``gone`` is whether the folder was deleted."""
        texts = {
            self.progress: header_html(handle),
            self.errors: _panels.error_html(handle.error)
            + _panels.message_html(self.message or (_FOLDER_GONE if gone else handle.lost)),
        }
        return send_texts(texts) + self.buttons.update(handle, starting=starting) + self._show_command(handle)

    def _show_command(self, handle: StudyHandle) -> int:
        best = handle.best if self.command is not None else None
        command = best.command if best is not None else ""
        if self.command is None or self.command.text == command:
            return 0
        self.command.text = command
        return len(command) + 100


def _copy_button() -> Any:
    """Return the button that copies the best configuration's command, or None without anywidget."""
    try:
        from autotune_nb.widgets._copy_button import CopyButton
    except ImportError:
        return None
    button = CopyButton(label="Copy command")
    button.add_class("at-monitor-copy")
    return button
