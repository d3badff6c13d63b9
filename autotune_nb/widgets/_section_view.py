"""A section of the form: its heading, the fields that matter first, and the rest behind a button."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ipywidgets

from autotune_nb.widgets._field_order import Section
from autotune_nb.widgets._fields import Field
from autotune_nb.widgets._layout import WidgetStyles, close, css_name, errors_html


class Fields(Protocol):
    """What a section reads of the fields of the task."""

    fields: dict[str, Field]
    source: Field

    def shown(self, path: str) -> bool:
        """Return whether a field applies to the task as it is now."""


class SectionView:
    """The widgets of one section; ``rows`` returns how many rows its folded tables have."""

    def __init__(
        self,
        styles: WidgetStyles,
        section: Section,
        fields: Fields,
        tables: Sequence[Any],
        *,
        toggled: Callable[[], None],
        rows: Callable[[], int] = lambda: 0,
    ) -> None:
        self.section = section
        self._fields = fields
        self._toggled = toggled
        self._rows = rows
        self.open = False
        self._tables = list(tables)
        self._grid = self._new_grid(styles)
        self._rest = self._new_grid(styles)
        self._error = styles.note("", f"at-error-{css_name(section.title.lower())}")
        #: The first names of error fields that belong to this section.
        self.heads = {path.split(".")[0] for path in (*section.common, *section.more) if "." in path}
        if section.title == "Rules":
            self.heads = {"rules"}
        if section.title == "Objective and limits":
            self.heads |= {"limits", "objectives"}
        named = section.common or not section.fold
        self._head = [styles.note(f"<h4>{section.title}</h4>")] if named else []
        if section.fold:
            self._toggler = styles.button(
                section.fold, self._toggle, f"at-more-{css_name(section.title.lower())}", "at-form-fold"
            )
        self.box = ipywidgets.VBox(layout=styles.full)
        self.box.add_class("at-form-section")
        if section.wide:
            self.box.add_class("at-form-wide")
        self.arrange()

    @staticmethod
    def _new_grid(styles: WidgetStyles) -> Any:
        grid = ipywidgets.Box(layout=styles.grid)
        grid.add_class("at-form-grid")
        return grid

    def _toggle(self) -> None:
        self.open = not self.open
        self.arrange()
        self._toggled()

    def reveal(self) -> None:
        """Unfold the section, so that its errors are beside their fields."""
        if not self.open:
            self.open = True
            self.arrange()

    @property
    def visible(self) -> set[str]:
        """The fields that are shown now."""
        shown = (*self.section.common, *(self.section.more if self.open else ()))
        return {path for path in shown if self._fields.shown(path)}

    def arrange(self) -> None:
        """Show the fields that apply now."""
        own, section, visible = self._fields, self.section, self.visible
        common = [own.fields[path].box for path in section.common if path in visible]
        if "model.id_or_path" in section.common:
            before = [path for path in section.common if path in visible and path.startswith(("name", "engine."))]
            common.insert(len(before), own.source.box)
        rest = [own.fields[path].box for path in section.more if path in visible]
        for box, children in ((self._grid, tuple(common)), (self._rest, tuple(rest))):
            if box.children != children:
                box.children = children
        inside = [*(self._tables if section.folded else ()), *([self._rest] if rest else ())]
        parts = [*self._head, *([self._grid] if common else ())]
        parts += [] if section.folded else self._tables
        if section.fold:
            self._describe_fold()
            parts += [self._toggler, *(inside if self.open else ())]
        parts.append(self._error)
        if self.box.children != tuple(parts):
            self.box.children = parts

    def _describe_fold(self) -> None:
        """Show on the button what is behind it, and how much of it the task sets."""
        many = self._rows() + sum(self._fields.fields[path].is_set for path in self.section.more)
        text = f"{self.section.fold} · {many} set" if many else self.section.fold
        if self._toggler.description != text:
            self._toggler.description = text
        self._toggler.icon = "caret-down" if self.open else "caret-right"
        self._toggler.tooltip = f"{'hide' if self.open else 'show'} these fields"

    def show_errors(self, messages: Sequence[str]) -> None:
        """Show the errors of the section as a whole."""
        self._error.value = errors_html(messages)

    def close(self) -> None:
        close(self.box)
        for widget in (self._grid, self._rest, *self._tables, *([self._toggler] if self.section.fold else ())):
            close(widget)
