"""One parameter in the form: its values, the flag's description from the catalog, and what rules leave out."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from autotune_nb.engines.flag import Flag
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
#: The most choices of a flag that are listed.
_MOST_CHOICES = 12
_HINTS = {"values": "values, such as 1, 2, 4", "low": "low", "high": "high", "step": "step"}
#: Names of more characters have a wider column, in which they can be told apart.
_LONG_NAME = 22


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
            options=KINDS,
            value=self.kind,
            description="type",
            tooltip="type",
            layout=styles.full,
            style=styles.drop_bare,
        )
        self.type.add_class(f"at-field-{css_name(self._path)}-type")
        self.type.add_class("at-form-bare")
        self.type.observe(lambda change: styles.guarded(lambda: self._converted(str(change["new"]))), "value")
        self._cells = ipywidgets.HBox(layout=styles.line)
        self._cells.add_class("at-form-cells")
        self.fields: dict[str, Field] = {}
        extra = {key: data[key] for key in ("flag", "style") if key in data}
        self._more = styles.button("…", self._toggle, "at-param-more", tooltip="the flag's spelling and style")
        remover = styles.button(
            "", lambda: removed(self), "at-param-remove", tooltip="remove this parameter", icon="times"
        )
        self._help = styles.note("", "at-form-help", "at-form-about")
        line = ipywidgets.Box(
            [self.name.widget, self.type, self._cells, self._help, self._more, remover], layout=styles.parameter_line
        )
        line.add_class("at-form-parameter-line")
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
        self._exclusions = styles.note("", "at-form-excluded")
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
            description="style",
            tooltip="how the value is written: after the flag, as a bare switch, as --flag/--no-flag, as JSON",
            layout=self._styles.full,
            style=self._styles.drop_bare,
        )
        widget.add_class("at-form-bare")
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
        long = len(str(self.name.widget.value)) > _LONG_NAME
        (self._line.add_class if long else self._line.remove_class)("at-form-long-name")
        about = flag_text(flag) if flag else ""
        shown = html.escape(about)
        self._help.value = f'<span class="at-dim" title="{shown}">{shown}</span>' if flag else ""
        for field in self.fields.values():
            field.widget.tooltip = about or f"a value of {self.name.widget.value}"
        self._arrange()

    def show_exclusions(self, lines: Sequence[str]) -> None:
        """Show what rules leave out of this parameter, or nothing."""
        self._exclusions.value = "".join(f'<div class="at-warn">{html.escape(line)}</div>' for line in lines)
        self._arrange()

    def show_errors(self, messages: Sequence[str]) -> None:
        """Show these errors, or none."""
        self._messages = errors_html(messages)
        self._error.value = self._messages
        self._arrange()

    def close(self) -> None:
        for widget in (self.box, self._spelling, self._exclusions, self._error):
            close(widget)

    def _arrange(self) -> None:
        children = (
            self._line,
            *([self._spelling] if self._open else []),
            *([self._exclusions] if self._exclusions.value else []),
            *([self._error] if self._messages else []),
        )
        if self.box.children != children:
            self.box.children = children


def flag_text(flag: Flag) -> str:
    """Return a flag with its type, its choices, its default and its help."""
    default = "no default" if flag.default is None else f"default {_text.show_value(flag.default)}"
    least = "" if flag.minimum is None else f", at least {flag.minimum:g}"
    choices = [str(one) for one in (*flag.values, *flag.other_values) if flag.kind in ("choice", "str")]
    shown = f": {', '.join(choices[:_MOST_CHOICES])}{', …' * (len(choices) > _MOST_CHOICES)}" if choices else ""
    return f"{flag.flag}: {flag.help or 'no description'} ({flag.kind}{shown}{least}; {default})"
