"""Fields of the form: each edits one value of a task and shows its errors below."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import ipywidgets
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from autotune_nb.errors import TaskError
from autotune_nb.task.sections import ENGINES, SAMPLERS
from autotune_nb.task.task import Task
from autotune_nb.task.workload import TASK_KINDS
from autotune_nb.trial.measurement import FIGURES
from autotune_nb.widgets import _value_text as _text
from autotune_nb.widgets._field_words import LABELS, OPTIONS, PLACEHOLDERS, plain
from autotune_nb.widgets._layout import WidgetStyles, close, css_name, errors_html
from autotune_nb.widgets._value_text import MISSING, Codec

#: Names to choose from, of fields whose type is only text; ``_OPEN`` fields also accept other texts.
_CLOSED: dict[str, Sequence[str]] = {
    "engine.kind": ENGINES,
    "strategy.sampler": SAMPLERS,
    "workload.task": TASK_KINDS,
}
_OPEN: dict[str, Sequence[str]] = {"objective.figure": FIGURES, "objective.at": ("best",)}
_CODECS: dict[str, Codec] = {
    "workload.scenarios": _text.SCENARIOS,
    "objective.at": _text.LEVEL,
    "deploy.gpus": _text.COUNT_OR_ITEMS,
    "quality.prompts": _text.COUNT_OR_ITEMS,
    "deploy.caches": _text.SWITCH_OR_WORDS,
    "description": _text.LINES,
}


class Field:
    """One value of a task, the widget that edits it, and its errors.

    ``value`` is the task's until the user edits it, and MISSING if the task does not have it. ``read_error`` is set
    while the widget's text cannot be parsed.
    """

    def __init__(
        self,
        styles: WidgetStyles,
        path: str,
        widget: Any,
        value: Any,
        changed: Callable[[], None],
        codec: Codec | None = None,
    ) -> None:
        self.path = path
        self.widget = widget
        self.value = value
        self.read_error: TaskError | None = None
        self._styles = styles
        self._codec = codec
        self._changed = changed
        self._error: Any = None
        widget.add_class(f"at-field-{css_name(path)}")
        widget.observe(self._edited, "value")
        self.box = ipywidgets.VBox([widget], layout=styles.full)

    @property
    def is_set(self) -> bool:
        """Whether the task has this field."""
        return self.value is not MISSING

    def _edited(self, _change: Any = None) -> None:
        self.read_widget()
        self._styles.guarded(self._changed)

    def read_widget(self) -> None:
        """Set the value from the widget."""
        shown = self.widget.value
        self.read_error = None
        if self._codec is None:
            self.value = MISSING if shown == "" else shown
            return
        try:
            self.value = self._codec.read(shown)
        except ValueError as error:
            self.read_error = TaskError(str(error), field=self.path)

    def show_errors(self, messages: Sequence[str]) -> None:
        """Show these errors, or none."""
        text = errors_html([plain(message) for message in messages])
        if self._error is None:
            if not text:
                return
            self._error = self._styles.note("", f"at-error-{css_name(self.path)}")
        self._error.value = text
        children = (self.widget, self._error) if text else (self.widget,)
        if self.box.children != children:
            self.box.children = children

    def close(self) -> None:
        close(self.box)
        close(self.widget)
        if self._error is not None:
            self._error.close()


def text_field(
    styles: WidgetStyles,
    path: str,
    value: Any,
    codec: Codec,
    changed: Callable[[], None],
    *,
    tooltip: str,
    placeholder: str = "",
) -> Field:
    """Return a text field for a row of a table, with its tooltip as a label for screen readers alone."""
    widget = ipywidgets.Text(
        "" if value is MISSING else codec.show(value),
        placeholder=placeholder,
        description=tooltip,
        tooltip=tooltip,
        continuous_update=True,
        layout=styles.full,
        style=styles.bare,
    )
    widget.add_class("at-form-bare")
    return Field(styles, path, widget, value, changed, codec)


def task_field(styles: WidgetStyles, path: str, value: Any, changed: Callable[[], None]) -> Field:
    """Return the field for a path of the task, with a widget for its type."""
    info = info_at(path)
    default = MISSING if info.is_required() else info.get_default(call_default_factory=True)
    shown = default if value is MISSING else value
    label = LABELS[path]
    key_and_help = f"{path}: {info.description}" if info.description else path
    closed = _CLOSED.get(path) or _literals(info.annotation)
    if closed:
        # The empty option is for a value that is not chosen yet.
        options = list(closed) if shown in closed else ["", *closed]
        words = OPTIONS.get(path, {})
        widget = ipywidgets.Dropdown(
            options=[(words.get(option, option), option) for option in options],
            value=shown if shown in closed else "",
            description=label,
            tooltip=key_and_help,
            layout=styles.full,
            style=styles.drop,
        )
        return Field(styles, path, widget, value, changed)
    if info.annotation is bool:
        widget = ipywidgets.Checkbox(
            bool(shown), description=label, tooltip=key_and_help, layout=styles.full, style=styles.check
        )
        return Field(styles, path, widget, value, changed)
    codec = _CODECS.get(path) or codec_for(info.annotation)
    text = "" if shown in (MISSING, None) or (shown in ({}, []) and value is MISSING) else codec.show(shown)
    placeholder = PLACEHOLDERS.get(path) or (text and f"default: {text}") or info.description or ""
    common = {
        "value": text,
        "placeholder": placeholder,
        "description": label,
        "tooltip": key_and_help,
        "continuous_update": True,
        "layout": styles.full,
        "style": styles.label,
    }
    if path in _OPEN:
        widget = ipywidgets.Combobox(options=list(_OPEN[path]), ensure_option=False, **common)
    else:
        widget = ipywidgets.Textarea(rows=2, **common) if codec is _text.LINES else ipywidgets.Text(**common)
    return Field(styles, path, widget, value, changed, codec)


def info_at(path: str) -> FieldInfo:
    """Return the field of the task's model at a dotted path."""
    model: type[BaseModel] = Task
    *sections, last = path.split(".")
    for name in sections:
        model = next(t for t in _members(model.model_fields[name].annotation) if _is_section(t))
    return model.model_fields[last]


def task_paths(model: type[BaseModel] = Task, prefix: str = "") -> list[str]:
    """Return the dotted paths of all fields of a task, those of its sections included."""
    paths: list[str] = []
    for name, info in model.model_fields.items():
        members = _members(info.annotation)
        inner = [t for t in members if _is_section(t)]
        # A section that may also be a word, such as objective.at, is one field.
        if len(inner) == 1 and not any(get_origin(t) is Literal for t in members):
            paths += task_paths(inner[0], f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths


def codec_for(annotation: Any) -> Codec:
    """Return the codec for values of a type."""
    members = [t for t in _members(annotation) if t is not type(None)]
    lists = [t for t in members if get_origin(t) is list]
    if any(get_origin(t) is dict for t in members):
        return _text.WORD_MAPPING if get_args(members[0])[1] is str else _text.MAPPING
    if str in members and lists:
        return _text.COMMAND
    if lists:
        return _text.WORD_LIST if get_args(lists[0])[0] is str else _text.ITEMS
    return _text.WORDS if str in members else _text.NUMBER


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return [annotation]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _literals(annotation: Any) -> tuple[str, ...]:
    members = _members(annotation)
    return get_args(members[0]) if len(members) == 1 and get_origin(members[0]) is Literal else ()
