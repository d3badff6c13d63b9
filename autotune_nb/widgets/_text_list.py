"""A list of texts, such as rules and limits: one row each, with what is wrong with it just below."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets

from autotune_nb.widgets._fields import Field, text_field
from autotune_nb.widgets._layout import Look
from autotune_nb.widgets._value_text import MISSING, WORDS


class TextRows:
    """The rows of one list. Empty rows do not count."""

    def __init__(
        self, look: Look, path: str, values: Sequence[str], changed: Callable[[], None], *, what: str, example: str
    ) -> None:
        self._look = look
        self._path = path
        self._what = what
        self._example = example
        self._changed = changed
        self.rows: list[Field] = []
        self._lines = ipywidgets.VBox(layout=look.full)
        self._lines.add_class("at-form-rows")
        self._boxes: list[ipywidgets.HBox] = []
        self._made = 0
        adder = look.button(f"Add {what}", self._add_empty, f"at-{what}-add", icon="plus")
        self.box = ipywidgets.VBox([self._lines, adder], layout=look.full)
        for value in values:
            self._append(value)
        self._lines.children = self._boxes

    @property
    def values(self) -> list[str]:
        return [row.value for row in self._counted]

    @property
    def _counted(self) -> list[Field]:
        return [row for row in self.rows if row.value is not MISSING]

    def add(self, value: str = "") -> Field:
        """One more row, empty or with a text."""
        row = self._append(value or MISSING)
        self._lines.children = self._boxes
        self._changed()
        return row

    def _add_empty(self) -> None:
        self.add()

    def _append(self, value: object) -> Field:
        path = f"{self._path}[{self._made}]"
        self._made += 1
        row = text_field(
            self._look, path, value, WORDS, self._changed, tooltip=self._what, placeholder=f"such as {self._example}"
        )
        row.widget.add_class("at-form-mono")
        remover = self._look.button(
            "", lambda: self._remove(row), f"at-{self._what}-remove", tooltip=f"remove this {self._what}", icon="times"
        )
        self.rows.append(row)
        self._boxes.append(ipywidgets.HBox([row.box, remover], layout=self._look.line))
        return row

    def _remove(self, row: Field) -> None:
        index = self.rows.index(row)
        del self.rows[index], self._boxes[index]
        self._lines.children = self._boxes
        self._changed()

    def tell(self, messages: dict[int, list[str]]) -> None:
        """Show what is wrong, by the place in ``values``."""
        for row in self.rows:
            row.tell(())
        for index, row in enumerate(self._counted):
            row.tell(messages.get(index, ()))
