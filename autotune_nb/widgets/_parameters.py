"""The table of parameters: one row each, with the flag's description from the engine's catalog."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from autotune_nb.engines.base import Engine, Flag
from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import parameter_name
from autotune_nb.widgets import _value_text as _text
from autotune_nb.widgets._conversion import KINDS, converted
from autotune_nb.widgets._fields import Field, text_field
from autotune_nb.widgets._layout import WidgetStyles, close, css_name, errors_html
from autotune_nb.widgets._value_text import MISSING, Codec

_STYLES = ("value", "switch", "negatable", "json")
#: The fields of each kind of parameter and their codecs.
_COLUMNS: dict[str, tuple[tuple[str, Codec], ...]] = {
    "choice": (("values", _text.LIST),),
    "bool": (),
    "int": (("low", _text.NUMBER), ("high", _text.NUMBER), ("step", _text.NUMBER)),
    "float": (("low", _text.NUMBER), ("high", _text.NUMBER), ("step", _text.NUMBER)),
}
_HINTS = {"values": "values, such as 1, 2, 4", "low": "low", "high": "high", "step": "step"}


class ParameterRow:
    """One parameter; its data is the task's until the user edits it."""

    def __init__(
        self,
        styles: WidgetStyles,
        name: str,
        data: dict[str, Any],
        flag: Flag | None,
        changed: Callable[[], None],
        removed: Callable[[ParameterRow], None],
    ) -> None:
        self._styles = styles
        self._changed = changed
        self._flag = flag
        self._path = f"parameters.{name}"
        self._kept: dict[str, dict[str, Any]] = {}
        self.kind = str(data["type"])
        self.name = text_field(
            styles, self._path, name or MISSING, _text.WORDS, changed, tooltip="name: the flag without its dashes"
        )
        self.name.widget.add_class("at-form-mono")
        self.type = ipywidgets.Dropdown(
            options=KINDS, value=self.kind, tooltip="type", layout=styles.full, style=styles.drop_bare
        )
        self.type.add_class(f"at-field-{css_name(self._path)}-type")
        self.type.observe(lambda change: styles.guarded(lambda: self._converted(str(change["new"]))), "value")
        self._cells = ipywidgets.HBox(layout=styles.line)
        self._cells.add_class("at-form-cells")
        self.fields: dict[str, Field] = {}
        extra = {key: data[key] for key in ("flag", "style") if key in data}
        self._more = styles.button("…", self._toggle, "at-param-more", tooltip="the flag's spelling and style")
        remover = styles.button(
            "", lambda: removed(self), "at-param-remove", tooltip="remove this parameter", icon="times"
        )
        line = ipywidgets.GridBox(
            [self.name.widget, self.type, self._cells, self._more, remover], layout=styles.parameter_line
        )
        self.flag = text_field(
            styles,
            f"{self._path}.flag",
            extra.get("flag", MISSING),
            _text.WORDS,
            changed,
            tooltip="flag: how the engine spells it, if the catalog does not have it",
            placeholder="--the-flag, if the catalog does not have it",
        )
        self.style = self._style_field(extra.get("style", MISSING))
        self._spelling = ipywidgets.HBox([self.flag.widget, self.style.widget], layout=styles.line)
        self._spelling.add_class("at-form-cells")
        self._help = styles.note("", "at-form-help")
        self._error = styles.note("", f"at-error-{css_name(self._path)}")
        self._open = bool(extra)
        self.box = ipywidgets.VBox([line], layout=styles.full)
        self.box.add_class("at-form-parameter")
        self._line = line
        self._messages = ""
        self._fill({key: value for key, value in data.items() if key not in ("type", "flag", "style")})
        self.catalog(flag)

    def _style_field(self, value: Any) -> Field:
        widget = ipywidgets.Dropdown(
            options=[("style: the catalog's", ""), *((f"style: {style}", style) for style in _STYLES)],
            value="" if value is MISSING else value,
            tooltip="how the value is written: after the flag, as a bare switch, as --flag/--no-flag, as JSON",
            layout=self._styles.full,
            style=self._styles.drop_bare,
        )
        return Field(self._styles, f"{self._path}.style", widget, value, self._changed)

    def _fill(self, data: dict[str, Any]) -> None:
        """Create the fields of this kind of parameter."""
        self.fields = {
            key: text_field(
                self._styles,
                f"{self._path}.{key}",
                data.get(key, MISSING),
                codec,
                self._changed,
                tooltip=f"{key} of {self.name.widget.value}",
                placeholder=_HINTS[key],
            )
            for key, codec in _COLUMNS[self.kind]
        }
        if self.kind in ("int", "float"):
            log = ipywidgets.Checkbox(
                bool(data.get("log", False)),
                description="log",
                indent=False,
                tooltip="search on a logarithmic scale",
                layout=self._styles.short,
                style=self._styles.bare_check,
            )
            self.fields["log"] = Field(self._styles, f"{self._path}.log", log, data.get("log", MISSING), self._changed)
        cells = [field.widget for field in self.fields.values()]
        self._cells.children = cells or [self._styles.note("<span class='at-dim'>false, true</span>")]

    @property
    def _own(self) -> dict[str, Any]:
        return {key: field.value for key, field in self.fields.items() if field.value is not MISSING}

    @property
    def data(self) -> dict[str, Any]:
        """The parameter as in a task file."""
        spelled = {k: f.value for k, f in (("flag", self.flag), ("style", self.style)) if f.value is not MISSING}
        return {"type": self.kind, **self._own, **spelled}

    @property
    def all_fields(self) -> list[Field]:
        return [self.name, *self.fields.values(), self.flag, self.style]

    def _converted(self, new: str) -> None:
        old = self.kind
        self._kept[old] = self._own
        self.kind = new
        for field in self.fields.values():
            field.close()
        self._fill(self._kept.get(new) or converted(old, self._own, new, self._flag))
        self._changed()

    def _toggle(self) -> None:
        self._open = not self._open
        self._arrange()

    def catalog(self, flag: Flag | None) -> None:
        """Show the flag's description from the engine's catalog."""
        self._flag = flag
        self._help.value = f'<span class="at-dim">{html.escape(_about(flag))}</span>' if flag else ""
        self._arrange()

    def show_errors(self, messages: Sequence[str]) -> None:
        """Show these errors, or none."""
        self._messages = errors_html(messages)
        self._error.value = self._messages
        self._arrange()

    def close(self) -> None:
        for widget in (self.box, self._spelling, self._help, self._error):
            close(widget)

    def _arrange(self) -> None:
        children = (
            self._line,
            *([self._spelling] if self._open else []),
            *([self._help] if self._help.value else []),
            *([self._error] if self._messages else []),
        )
        if self.box.children != children:
            self.box.children = children


def _about(flag: Flag) -> str:
    default = "no default" if flag.default is None else f"default {_text.show_value(flag.default)}"
    least = "" if flag.minimum is None else f", at least {flag.minimum:g}"
    return f"{flag.flag}: {flag.help} ({flag.kind}{least}; {default})"


class ParameterTable:
    """The rows of all parameters, and a field to add one."""

    def __init__(
        self, styles: WidgetStyles, parameters: dict[str, Any], engine: Engine | None, changed: Callable[[], None]
    ) -> None:
        self._styles = styles
        self._changed = changed
        self._engine = engine
        self.rows = [self._row(name, data) for name, data in parameters.items()]
        self._lines = ipywidgets.VBox([row.box for row in self.rows], layout=styles.full)
        self.new_name = ipywidgets.Combobox(
            placeholder="name of a flag",
            ensure_option=False,
            # Sent when complete, so that a button pressed right after typing does not read half of the name.
            continuous_update=False,
            tooltip="the flag to add: one of the engine's, or any name",
            layout=styles.name,
            style=styles.bare,
        )
        self.new_name.add_class("at-param-name")
        adder = styles.button("Add parameter", self.add, "at-param-add", icon="plus")
        self._error = styles.note("", "at-error-parameters")
        self.box = ipywidgets.VBox(
            [self._lines, ipywidgets.HBox([self.new_name, adder], layout=styles.line), self._error], layout=styles.full
        )
        self._offer()

    def _row(self, name: str, data: dict[str, Any]) -> ParameterRow:
        return ParameterRow(self._styles, name, data, self._known(name), self._renamed, self._remove)

    def _known(self, name: str) -> Flag | None:
        return self._engine.flag_named(name) if self._engine is not None and name else None

    def _offer(self) -> None:
        there = {row.name.value for row in self.rows}
        flags = self._engine.flags if self._engine is not None else ()
        self.new_name.options = [flag.name for flag in flags if flag.name not in there]

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
        """Add a parameter, by default the one named in the field below, with the values that the catalog suggests."""
        name = parameter_name(self.new_name.value if name is None else name)
        flag = self._known(name)
        suggestion = flag.suggestion() if flag is not None else None
        data = suggestion.model_dump(exclude_defaults=True) if suggestion is not None else {}
        kind = suggestion.type if suggestion is not None else "choice"
        self.new_name.value = ""
        self.add_rows({name: {"type": kind, **data}})

    def add_rows(self, parameters: dict[str, dict[str, Any]]) -> None:
        """Add parameters with the values that are given."""
        self.rows += [self._row(name, data) for name, data in parameters.items()]
        self._lines.children = [row.box for row in self.rows]
        self._offer()
        self._changed()

    def _remove(self, row: ParameterRow) -> None:
        self.rows.remove(row)
        self._lines.children = [row.box for row in self.rows]
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

    def show_errors(self, rows: dict[int, list[str]], others: Sequence[str]) -> None:
        """Show the errors of each row, and those of the parameters as a whole."""
        for index, row in enumerate(self.rows):
            row.show_errors(rows.get(index, ()))
        self._error.value = errors_html(others)
