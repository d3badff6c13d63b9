"""A list of texts, such as rules or limits: one row each, with its errors below."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets

from autotune_nb.widgets._fields import Field, text_field
from autotune_nb.widgets._layout import WidgetStyles, close
from autotune_nb.widgets._value_text import MISSING, WORDS


class TextRows:
    """The rows of one list; empty rows are ignored."""

    def __init__(
        self,
        styles: WidgetStyles,
        path: str,
        values: Sequence[str],
        changed: Callable[[], None],
        *,
        what: str,
        example: str,
        heading: str = "",
    ) -> None:
        self._styles = styles
        self._path = path
        self._what = what
        self._example = example
        self._changed = changed
        self.rows: list[Field] = []
        #: The rows without the button.
        self.lines = ipywidgets.VBox(layout=styles.full)
        self.lines.add_class("at-form-rows")
        self._boxes: list[ipywidgets.HBox] = []
        self._made = 0
        self._heading = styles.note(f'<span class="at-dim">{heading}</span>' if heading else "")
        self.adder = styles.button(f"Add {what}", self._add_empty, f"at-{what}-add", icon="plus")
        for value in values:
            self._append(value)
        self._show_rows()

    def _show_rows(self) -> None:
        headed = self._boxes and self._heading.value
        self.lines.children = [*([self._heading] if headed else []), *self._boxes]

    @property
    def values(self) -> list[str]:
        return [row.value for row in self._filled]

    @property
    def _filled(self) -> list[Field]:
        return [row for row in self.rows if row.value is not MISSING]

    def add(self, value: str = "") -> Field:
        """Add a row, empty or with a text."""
        row = self._append(value or MISSING)
        self._show_rows()
        self._changed()
        return row

    def _add_empty(self) -> None:
        self.add()

    def _append(self, value: object) -> Field:
        path = f"{self._path}[{self._made}]"
        self._made += 1
        row = text_field(
            self._styles, path, value, WORDS, self._changed, tooltip=self._what, placeholder=f"such as {self._example}"
        )
        row.widget.add_class("at-form-mono")
        remover = self._styles.button(
            "", lambda: self._remove(row), f"at-{self._what}-remove", tooltip=f"remove this {self._what}", icon="times"
        )
        self.rows.append(row)
        self._boxes.append(ipywidgets.HBox([row.box, remover], layout=self._styles.line))
        return row

    def _remove(self, row: Field) -> None:
        index = self.rows.index(row)
        del self.rows[index], self._boxes[index]
        self._show_rows()
        self._changed()

    def close(self) -> None:
        """Remove the widgets from the page, hidden ones included."""
        for widget in (self.lines, self._heading, self.adder):
            close(widget)

    def show_errors(self, messages: dict[int, list[str]]) -> None:
        """Show the errors by index in ``values``."""
        for row in self.rows:
            row.show_errors(())
        for index, row in enumerate(self._filled):
            row.show_errors(messages.get(index, ()))
