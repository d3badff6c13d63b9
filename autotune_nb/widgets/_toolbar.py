"""The form's tools: what to start from, saving with a question before a file is replaced, undo, and the code."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets

from autotune_nb.errors import AutotuneError
from autotune_nb.widgets._layout import WidgetStyles, errors_html


class Toolbar:
    """The tools of a form; each action returns what to show, and its error is shown."""

    def __init__(
        self,
        styles: WidgetStyles,
        starts: Sequence[str],
        *,
        opened: Callable[[], str],
        saved: Callable[[], str],
        overwritten: Callable[[], str],
        code: Callable[[], str],
        moved: Callable[[int], None],
    ) -> None:
        self.source = ipywidgets.Combobox(
            options=tuple(starts),
            description="Start from",
            placeholder="an engine, a task, a file, a study",
            tooltip="an engine, a task that comes with the package, a task file, or the folder of an earlier study, "
            "whose best configuration is then searched around",
            ensure_option=False,
            continuous_update=False,
            layout=styles.tool,
            style=styles.short_label,
        )
        self.source.add_class("at-form-from")
        self.file = ipywidgets.Text(
            description="Save as",
            placeholder="tasks/mine.yaml",
            tooltip="the task file to write",
            continuous_update=False,
            layout=styles.tool,
            style=styles.short_label,
        )
        self.file.add_class("at-form-file")
        self.message = styles.note("", "at-form-filed")

        def button(text: str, action: Callable[[], str], name: str, tooltip: str) -> Any:
            return styles.button(text, lambda: self.show_result(action), name, tooltip=tooltip)

        self.undo = styles.button("Undo", lambda: moved(-1), "at-form-undo", tooltip="undo the last edit", icon="undo")
        self.redo = styles.button("Redo", lambda: moved(1), "at-form-redo", tooltip="redo the edit", icon="repeat")
        tools = [
            self.source,
            button("Open", opened, "at-form-load", "replace this task by the one named on the left"),
            self.file,
            button("Save", saved, "at-form-save", "write the task file"),
            self.undo,
            self.redo,
            button("As code", code, "at-form-code", "show or hide the code that creates the same task"),
        ]
        line = ipywidgets.HBox(tools, layout=styles.tools)
        keep = button("Keep the file", lambda: "", "at-form-keep", "do not save")
        replace = button("Replace it", overwritten, "at-form-overwrite", "write this task over the file")
        self._question = styles.note("")
        self._buttons = (self._question, replace, keep)
        self._asking = ipywidgets.HBox(layout=styles.line)
        self._asking.add_class("at-form-question")
        self.box = ipywidgets.VBox([line, self.message, self._asking], layout=styles.full)

    def ask_to_replace(self, path: Path) -> None:
        """Ask whether a file may be replaced."""
        self._question.value = f'<div class="at-warn" role="status">{html.escape(str(path))} exists. Replace it?</div>'
        self._asking.children = self._buttons

    def clear(self) -> None:
        """Remove the message and the question: they are about an earlier state."""
        self.message.value = ""
        self._asking.children = ()

    def show_result(self, action: Callable[[], str]) -> None:
        self.clear()
        show_result(self.message, action)


def show_result(where: Any, action: Callable[[], str]) -> None:
    """Call a button's action and show its result or its error: Jupyter shows no exception of a callback."""
    try:
        text = action()
        where.value = f'<div class="at-ok" role="status">{html.escape(text)}</div>' if text else ""
    except (AutotuneError, OSError) as error:
        where.value = errors_html([str(error)])
    except Exception as error:  # noqa: BLE001 - any error is shown
        where.value = errors_html([f"{type(error).__name__}: {error}"])
