"""The table of parameters: one row each, and a field to add one of the engine's flags."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.engines.first_space import first_range
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import parameter_name
from autotune_nb.widgets._layout import WidgetStyles, errors_html
from autotune_nb.widgets._machine import this_machine
from autotune_nb.widgets._parameter_row import ParameterRow, flag_text
from autotune_nb.widgets._value_text import MISSING


class ParameterTable:
    """The rows of all parameters, and a field to add one."""

    def __init__(
        self, styles: WidgetStyles, parameters: dict[str, Any], engine: Engine | None, changed: Callable[[], None]
    ) -> None:
        self._styles = styles
        self._changed = changed
        self._engine = engine
        self.rows = [self._row(name, data) for name, data in parameters.items()]
        self.lines = ipywidgets.VBox([row.box for row in self.rows], layout=styles.full)
        self.new_name = ipywidgets.Combobox(
            placeholder="name of a flag",
            description="name of a flag to add",
            ensure_option=False,
            # Sent when complete, so that a button pressed right after typing does not read half of the name.
            continuous_update=False,
            tooltip="the flag to add: one of the engine's, or any name",
            layout=styles.name,
            style=styles.bare,
        )
        self.new_name.add_class("at-param-name")
        self.new_name.add_class("at-form-bare")
        self.new_name.observe(lambda _: styles.guarded(self._describe), names="value")
        self.about = styles.note("", "at-form-help", "at-param-about")
        adder = styles.button("Add parameter", self.add, "at-param-add", icon="plus")
        self.error = styles.note("", "at-error-parameters")
        self.adder = ipywidgets.HBox([self.new_name, adder], layout=styles.fixed)
        self._offer()

    def _row(self, name: str, data: dict[str, Any]) -> ParameterRow:
        return ParameterRow(self._styles, name, data, self._known(name), self._renamed, self._remove)

    def _known(self, name: str) -> Flag | None:
        return self._engine.flag_named(name) if self._engine is not None and name else None

    def _offer(self) -> None:
        there = {row.name.value for row in self.rows}
        engine = self._engine
        # The catalog's flags first: they are worth a search. An installed version has many more.
        flags = () if engine is None else (*engine.flags, *(engine.other_flags if engine.installed else ()))
        reserved = engine.reserved if engine is not None else {}
        self.new_name.options = [one.name for one in flags if one.name not in there and one.name not in reserved]

    def _describe(self) -> None:
        """Show what the flag in the field below accepts."""
        name = parameter_name(self.new_name.value)
        flag = self._known(name)
        problem = self._engine.unknown_flag(name) if self._engine is not None and name and flag is None else None
        text = flag_text(flag) if flag is not None else problem or ""
        self.about.value = f'<span class="at-dim">{html.escape(text)}</span>' if text else ""

    def _renamed(self) -> None:
        for row in self.rows:
            name = row.name.value
            row.catalog(self._known(name) if isinstance(name, str) else None)
        self._offer()
        self._changed()

    def engine(self, engine: Engine | None) -> None:
        """Use another engine's catalog and keep the rows."""
        if engine is not self._engine:
            self._engine = engine
            for row in self.rows:
                row.catalog(self._known(row.name.value) if isinstance(row.name.value, str) else None)
            self._offer()

    def add(self, name: str | None = None) -> None:
        """Add a parameter, by default the one named in the field below, with first values for this machine."""
        name = parameter_name(self.new_name.value if name is None else name)
        flag = self._known(name)
        machine, engine = this_machine(), self._engine
        suggestion = (
            first_range(engine, flag, cores=machine.cores, gpus=machine.gpus) if engine is not None and flag else None
        )
        data = suggestion.model_dump(exclude_defaults=True) if suggestion is not None else {}
        kind = suggestion.type if suggestion is not None else "choice"
        self.new_name.value = ""
        self.add_rows({name: {"type": kind, **data}})

    def add_rows(self, parameters: dict[str, dict[str, Any]]) -> None:
        """Add parameters with the values that are given."""
        self.rows += [self._row(name, data) for name, data in parameters.items()]
        self.lines.children = [row.box for row in self.rows]
        self._offer()
        self._changed()

    def _remove(self, row: ParameterRow) -> None:
        self.rows.remove(row)
        self.lines.children = [row.box for row in self.rows]
        self._offer()
        self._changed()

    @property
    def data(self) -> dict[str, Any]:
        """The parameters as in a task file; the first of rows with the same name."""
        found: dict[str, Any] = {}
        for row in self.rows:
            if row.name.value is not MISSING:
                found.setdefault(row.name.value, row.data)
        return found

    @property
    def problems(self) -> list[tuple[int, TaskError]]:
        """The errors that the rows find themselves, with the index of the row."""
        found: list[tuple[int, TaskError]] = []
        first: dict[str, int] = {}
        for index, row in enumerate(self.rows):
            name = row.name.value
            if name is MISSING:
                found.append((index, TaskError("a parameter needs a name", field="parameters")))
            elif first.setdefault(parameter_name(name), index) != index:
                found.append((index, TaskError(f"there are two parameters {name!r}", field=f"parameters.{name}")))
            for field in row.all_fields:
                if field.read_error is not None:
                    where = field.read_error.field.rsplit(".", 1)[-1]
                    found.append((index, TaskError(field.read_error.message, field=f"parameters.{name}.{where}")))
        return found

    def row_of(self, field: str) -> int | None:
        """Return the index of the row that the field of an error belongs to."""
        best: tuple[int, int] | None = None
        for index, row in enumerate(self.rows):
            for name in {row.name.value, parameter_name(row.name.value)} if row.name.value is not MISSING else ():
                path = f"parameters.{name}"
                if field == path or field.startswith((f"{path}.", f"{path}[")):
                    best = max(best or (0, 0), (len(path), -index))
        return None if best is None else -best[1]

    def show_exclusions(self, lines: Mapping[str, Sequence[str]]) -> None:
        """Show what rules leave out of each parameter, by name."""
        for row in self.rows:
            name = row.name.value
            row.show_exclusions(() if name is MISSING else lines.get(parameter_name(name), ()))

    def show_errors(self, rows: dict[int, list[str]], others: Sequence[str]) -> None:
        """Show the errors of each row, and those of the parameters as a whole."""
        for index, row in enumerate(self.rows):
            row.show_errors(rows.get(index, ()))
        self.error.value = errors_html(others)
