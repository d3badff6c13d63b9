"""What a form's widgets look like, and the text and buttons between its fields."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from ipywidgets.widgets.widget_bool import CheckboxStyle
from ipywidgets.widgets.widget_description import DescriptionStyle
from ipywidgets.widgets.widget_string import HTMLStyle, TextStyle


class Look:
    """The layouts and styles that a form's widgets share: each of one's own would be one more message to the page."""

    def __init__(self) -> None:
        #: Told what goes wrong in a widget's callback, where an error would be seen by nobody.
        self.trouble: Callable[[str], None] = lambda _: None
        self.full = ipywidgets.Layout(width="100%", margin="0")
        self.short = ipywidgets.Layout(width="auto", margin="0")
        self.grid = ipywidgets.Layout()
        self.line = ipywidgets.Layout(width="100%", margin="0", align_items="center", grid_gap="6px")
        self.label = TextStyle(description_width="164px")
        self.bare = TextStyle(description_width="0")
        self.drop = DescriptionStyle(description_width="164px")
        self.drop_bare = DescriptionStyle(description_width="0")
        self.name = ipywidgets.Layout(width="240px", margin="0")
        self.parameter_line = ipywidgets.Layout(
            grid_template_columns="minmax(130px, 190px) 84px minmax(0, 1fr) auto auto",
            grid_gap="6px",
            align_items="center",
            width="100%",
        )
        self.check = CheckboxStyle(description_width="164px")
        self.bare_check = CheckboxStyle(description_width="initial")
        self.button_style = ipywidgets.ButtonStyle()
        self.html = HTMLStyle()

    def guarded(self, action: Callable[[], None]) -> None:
        """Do it; what goes wrong is told."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            self.trouble(f"{type(error).__name__}: {error}")

    def note(self, text: str = "", *classes: str) -> Any:
        """Text to read; what comes from a task is escaped by whoever writes it."""
        widget = ipywidgets.HTML(text, layout=self.full, style=self.html)
        for name in classes:
            widget.add_class(name)
        return widget

    def button(self, text: str, clicked: Callable[[], None], *classes: str, tooltip: str = "", icon: str = "") -> Any:
        widget = ipywidgets.Button(
            description=text, tooltip=tooltip, icon=icon, layout=self.short, style=self.button_style
        )
        for name in ("at-form-button", *classes):
            widget.add_class(name)
        widget.on_click(lambda _: self.guarded(clicked))
        return widget


def css_name(path: str) -> str:
    """A field's path as part of a CSS class: ``at-field-workload-concurrency``."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", path).strip("-")


def errors_html(messages: Sequence[str]) -> str:
    return "".join(f'<div class="at-error" role="status">{html.escape(message)}</div>' for message in messages)


def close(widget: Any) -> None:
    """Let the page forget a widget and all in it."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()
