"""The layouts and styles of a form's widgets, and its texts and buttons."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from ipywidgets.widgets.widget_bool import CheckboxStyle
from ipywidgets.widgets.widget_description import DescriptionStyle
from ipywidgets.widgets.widget_string import HTMLStyle, TextStyle


class WidgetStyles:
    """The layouts and styles that a form's widgets share: one for each widget would send more messages to the page."""

    def __init__(self) -> None:
        #: Called with the error of a widget's callback, which would not be shown otherwise.
        self.report_error: Callable[[str], None] = lambda _: None
        self.full = ipywidgets.Layout(width="100%", margin="0")
        self.short = ipywidgets.Layout(width="auto", margin="0")
        self.grid = ipywidgets.Layout()
        self.line = ipywidgets.Layout(width="100%", margin="0", align_items="center", grid_gap="6px")
        self.fixed = ipywidgets.Layout(width="auto", margin="0", align_items="center", grid_gap="6px", flex="none")
        self.bar_line = ipywidgets.Layout(
            width="100%", margin="0", align_items="center", grid_gap="6px 16px", flex_flow="row wrap"
        )
        self.tools = ipywidgets.Layout(
            width="100%", margin="0", align_items="center", grid_gap="6px", flex_flow="row wrap"
        )
        self.tool = ipywidgets.Layout(width="auto", min_width="240px", margin="0", flex="1 1 240px")
        self.label = TextStyle(description_width="164px")
        self.short_label = TextStyle(description_width="initial")
        self.bare = TextStyle(description_width="0")
        self.drop = DescriptionStyle(description_width="164px")
        self.drop_bare = DescriptionStyle(description_width="0")
        self.name = ipywidgets.Layout(width="240px", margin="0")
        self.parameter_line = ipywidgets.Layout(width="100%")
        self.check = CheckboxStyle(description_width="164px")
        self.bare_check = CheckboxStyle(description_width="initial")
        self.button_style = ipywidgets.ButtonStyle()
        self.html = HTMLStyle()

    def guarded(self, action: Callable[[], None]) -> None:
        """Call ``action`` and report an exception."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - any error is reported
            self.report_error(f"{type(error).__name__}: {error}")

    def note(self, text: str = "", *classes: str) -> Any:
        """Return a text widget; the caller escapes the text."""
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
    """Return a field's path as part of a CSS class, such as ``at-field-workload-concurrency``."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", path).strip("-")


def errors_html(messages: Sequence[str]) -> str:
    return "".join(f'<div class="at-error" role="status">{html.escape(message)}</div>' for message in messages)


def close(widget: Any) -> None:
    """Remove a widget and its children from the page."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()
