"""Every field of a task, in its sections, and every error next to its field."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from autotune_nb.engines.base import Engine
from autotune_nb.engines.registry import engine_named
from autotune_nb.errors import TaskError
from autotune_nb.widgets._field_order import SECTIONS, WEIGHTS, WIDE, Section
from autotune_nb.widgets._fields import Field, task_field
from autotune_nb.widgets._layout import Look, close, css_name, errors_html
from autotune_nb.widgets._parameters import ParameterTable
from autotune_nb.widgets._text_list import TextRows
from autotune_nb.widgets._value_text import MISSING

#: Errors of these sections as a whole are shown at the field that puts them right.
_AT = {"model": "model.id_or_path", "engine": "engine.kind", "objective": "objective.figure"}


class TaskFields:
    """The widgets that edit a whole task. ``data`` is the task as it stands in them."""

    def __init__(self, look: Look, data: dict[str, Any], changed: Callable[[], None]) -> None:
        self._look = look
        self._changed = changed
        weights = _at(data, WEIGHTS)
        self.source = self._source_field("path" if weights is MISSING else "random")
        self.fields = {
            path: task_field(look, path, _at(data, path), self._edited)
            for section in SECTIONS
            for path in (*section.common, *section.more)
        }
        for path in WIDE:
            self.fields[path].box.add_class("at-form-wide")
        self.parameters = ParameterTable(look, data.get("parameters", {}), self._engine(), self._edited)
        self.rules = TextRows(
            look, "rules", data.get("rules", []), self._edited, what="rule", example="ubatch_size <= batch_size"
        )
        self.limits = TextRows(
            look, "limits", data.get("limits", []), self._edited, what="limit", example="ttft_p99_s <= 0.5"
        )
        tables = {"Parameters": self.parameters, "Rules": self.rules, "Objective and limits": self.limits}
        self._views = [SectionView(look, section, self, tables.get(section.title)) for section in SECTIONS]
        self.boxes = [view.box for view in self._views]
        self._offer_levels()

    def _source_field(self, value: str) -> Field:
        widget = ipywidgets.Dropdown(
            options=[("a path or a hub's name", "path"), ("random weights", "random")],
            value=value,
            description="model",
            tooltip="what is served: a path or a hub's name, or random weights written on the spot",
            layout=self._look.full,
            style=self._look.drop,
        )
        return Field(self._look, "model.source", widget, value, self._edited)

    def _edited(self) -> None:
        self.parameters.engine(self._engine())
        for view in self._views:
            view.arrange()
        self._offer_levels()
        self._changed()

    def _engine(self) -> Engine | None:
        kind = self.fields["engine.kind"].value
        return engine_named(kind) if kind not in (MISSING, "command") else None

    def _offer_levels(self) -> None:
        """The load levels that there are, to be named by the objective."""
        concurrency = self.fields["workload.concurrency"].value
        known = [f"concurrency: {c}" for c in concurrency if isinstance(c, int)] if _is_list(concurrency) else []
        scenarios = self.fields["workload.scenarios"].value
        if _is_list(scenarios) and len(scenarios) > 1:
            known = [f'{level}, scenario: "{scenario}"' for level in known for scenario in scenarios]
        options = ("best", *known)
        widget = self.fields["objective.at"].widget
        if widget.options != options:
            widget.options = options

    def in_use(self, path: str) -> bool:
        """Whether a field counts: random weights have no path, and only one kind of engine has a command."""
        if path == "engine.command":
            return bool(self.fields["engine.kind"].value == "command")
        if path == "model.id_or_path":
            return bool(self.source.value == "path")
        return bool(self.source.value == "random") or not path.startswith(WEIGHTS)

    @property
    def data(self) -> dict[str, Any]:
        """The task as plain data, without what nobody gave."""
        data: dict[str, Any] = {key: {} for key in ("model", "engine", "workload", "objective")}
        if self.source.value == "random":
            data["model"]["random_weights"] = {}
        for path, field in self.fields.items():
            if field.value is not MISSING and self.in_use(path):
                *sections, last = path.split(".")
                inner = data
                for name in sections:
                    inner = inner.setdefault(name, {})
                inner[last] = copy.deepcopy(field.value)
        data["parameters"] = copy.deepcopy(self.parameters.data)
        data |= {key: rows.values for key, rows in (("rules", self.rules), ("limits", self.limits)) if rows.values}
        return data

    @property
    def every_field(self) -> list[Field]:
        """Every field, those of the tables too."""
        rows = [field for row in self.parameters.rows for field in row.every_field]
        return [*self.fields.values(), *rows, *self.rules.rows, *self.limits.rows]

    @property
    def unread(self) -> list[TaskError]:
        """What cannot be read of the fields' texts, and what the table of parameters knows to be wrong."""
        fields = [field.unread for path, field in self.fields.items() if field.unread and self.in_use(path)]
        return [*fields, *(error for _, error in self.parameters.problems)]

    def tell(self, problems: Sequence[TaskError]) -> list[TaskError]:
        """Show every error next to its field; returns those whose field cannot be seen now."""
        places: dict[str, list[str]] = {}
        tables: dict[str, dict[int, list[str]]] = {"parameters": {}, "rules": {}, "limits": {}}
        visible = {path for view in self._views for path in view.visible}
        hidden = []
        own = self.parameters.problems
        for index, error in own:
            tables["parameters"].setdefault(index, []).append(_beside(error))
        for error in problems:
            if any(error is other for _, other in own) or (error.field, error.message) in {
                (e.field, e.message) for _, e in own
            }:
                continue
            table = re.split(r"[.\[]", error.field, maxsplit=1)[0]
            if table in tables:
                row = self.parameters.row_of(error.field) if table == "parameters" else _index(error.field)
                if row is not None:
                    tables[table].setdefault(row, []).append(_beside(error))
                else:
                    places.setdefault(table, []).append(error.message)
                continue
            path = self._place(error.field, visible)
            if path is None:
                hidden.append(error)
            else:
                places.setdefault(path, []).append(_short(error, path))
        for path, field in self.fields.items():
            field.tell(places.get(path, ()))
        self.parameters.tell(tables["parameters"], places.get("parameters", ()))
        for name, rows in (("rules", self.rules), ("limits", self.limits)):
            rows.tell(tables[name])
        for view in self._views:
            view.tell([m for key in view.heads for m in places.get(key, ())])
        return hidden

    def close(self) -> None:
        """Let the page forget it all, what is not to be seen now too."""
        for field in (self.source, *self.every_field):
            field.close()
        for row in self.parameters.rows:
            row.close()
        for view in self._views:
            view.close()

    def _place(self, field: str, visible: set[str]) -> str | None:
        """The visible field, or else the section as a whole, that an error's field belongs to."""
        path = _AT.get(field, field)
        if field == "engine" and self.in_use("engine.command"):
            path = "engine.command"
        heads = {head for view in self._views for head in view.heads}
        while path:
            if path in visible or path in heads:
                return path
            if path in self.fields:
                return None
            path = re.sub(r"(\.|^)[^.\[]*$|\[[^\[]*$", "", path)
        return None


class SectionView:
    """A section's heading, its fields, and its errors as a whole."""

    def __init__(self, look: Look, section: Section, fields: TaskFields, table: Any) -> None:
        self._section = section
        self._fields = fields
        self._open = False
        self._grid = ipywidgets.Box(layout=look.grid)
        self._grid.add_class("at-form-grid")
        self._rest = ipywidgets.Box(layout=look.grid)
        self._rest.add_class("at-form-grid")
        self._error = look.note("", f"at-error-{css_name(section.title.lower())}")
        #: What an error's field may be called that belongs here.
        self.heads = {path.split(".")[0] for path in (*section.common, *section.more) if "." in path}
        if section.title == "Rules":
            self.heads = {"rules"}
        if section.title == "Objective and limits":
            self.heads.add("limits")
        children = [look.note(f"<h4>{section.title}</h4>"), self._grid]
        if table is not None:
            children.append(table.box)
        children.append(self._error)
        if section.more:
            self._toggler = look.button(
                "More",
                self._toggle,
                f"at-more-{css_name(section.title.lower())}",
                icon="caret-right",
                tooltip=f"more fields: {', '.join(path.split('.')[-1] for path in section.more)}",
            )
            children += [self._toggler, self._rest]
        self.box = ipywidgets.VBox(children, layout=look.full)
        self.box.add_class("at-form-section")
        self.arrange()

    def _toggle(self) -> None:
        self._open = not self._open
        self._toggler.icon = "caret-down" if self._open else "caret-right"
        self._toggler.description = "Less" if self._open else "More"
        self.arrange()
        self._fields._changed()

    @property
    def visible(self) -> set[str]:
        shown = (*self._section.common, *(self._section.more if self._open else ()))
        return {path for path in shown if self._fields.in_use(path)}

    def arrange(self) -> None:
        """Show the fields that count now."""
        own = self._fields
        common = [own.fields[path].box for path in self._section.common if path in self.visible]
        if "model.id_or_path" in self._section.common:
            at = [path for path in self._section.common if path in self.visible and path.startswith("engine.")]
            common.insert(len(at), own.source.box)
        rest = [own.fields[path].box for path in self._section.more if path in self.visible]
        for box, children in ((self._grid, tuple(common)), (self._rest, tuple(rest))):
            if box.children != children:
                box.children = children

    def tell(self, messages: Sequence[str]) -> None:
        self._error.value = errors_html(messages)

    def close(self) -> None:
        close(self.box)


def _at(data: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            return MISSING
        data = data[name]
    return data


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _index(field: str) -> int | None:
    found = re.fullmatch(r"\w+\[(\d+)\].*", field)
    return int(found[1]) if found else None


def _beside(error: TaskError) -> str:
    """An error as it stands in its row: of the field, only what the row does not say."""
    inner = re.fullmatch(r"parameters\.[^.\[]*\.(.+)", error.field)
    return f"{inner[1]}: {error.message}" if inner else error.message


def _short(error: TaskError, path: str) -> str:
    """An error as it stands at its field: where in the field, if not the whole."""
    rest = error.field.removeprefix(path).lstrip(".") if error.field.startswith(path) else ""
    return f"{rest}: {error.message}" if rest else error.message
