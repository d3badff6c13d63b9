"""The sections of the form with all fields of a task, and errors next to their fields."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import ipywidgets

from autotune_nb.engines.base import Engine
from autotune_nb.errors import TaskError
from autotune_nb.task.preset_expansion import Expansion
from autotune_nb.task.presets import merged
from autotune_nb.widgets._field_order import SECTIONS, WEIGHTS, WIDE
from autotune_nb.widgets._field_words import plain
from autotune_nb.widgets._fields import Field, task_field
from autotune_nb.widgets._installed_flags import InstalledFlags, Source
from autotune_nb.widgets._layout import WidgetStyles
from autotune_nb.widgets._parameters import ParameterTable
from autotune_nb.widgets._preset_adder import PresetAdder
from autotune_nb.widgets._section_view import SectionView
from autotune_nb.widgets._text_list import TextRows
from autotune_nb.widgets._value_text import MISSING

#: Errors of these sections as a whole are shown at the field that fixes them.
_SHOWN_AT = {"model": "model.id_or_path", "engine": "engine.kind", "objective": "objective.figure"}


_FIRST_OBJECTIVE = re.compile(r"^objectives\[0\]")


class TaskFields:
    """The fields that edit a whole task; ``data`` is the task as currently edited."""

    def __init__(
        self, styles: WidgetStyles, data: dict[str, Any], changed: Callable[[], None], *, opened: Collection[str] = ()
    ) -> None:
        self._styles = styles
        #: The fields of the errors that are shown.
        self._wrong: frozenset[str] = frozenset()
        self._changed = changed
        data, further = _with_first_objective(data)
        weights = _value_at(data, WEIGHTS)
        self.source = self._source_field("path" if weights is MISSING else "random")
        self.fields = {
            path: task_field(styles, path, _value_at(data, path), self._edited)
            for section in SECTIONS
            for path in (*section.common, *section.more)
        }
        for path in WIDE:
            self.fields[path].box.add_class("at-form-wide")
        self.installed = InstalledFlags(styles, self._edited)
        self.presets = PresetAdder(styles, self._preset_engine(), _gpus(data), self._add_preset)
        self.parameters = ParameterTable(styles, data.get("parameters", {}), self._engine(), self._edited)
        self.rules = TextRows(
            styles, "rules", data.get("rules", []), self._edited, what="rule", example="ubatch_size <= batch_size"
        )
        self.limits = TextRows(
            styles,
            "limits",
            data.get("limits", []),
            self._edited,
            what="limit",
            example="ttft_p99_s <= 0.5",
            heading="of the configurations that keep each of these limits",
        )
        self.objectives = TextRows(
            styles,
            "objectives",
            further,
            self._edited,
            what="objective",
            example="minimize ttft_p99_s",
            heading="and at the same time",
        )
        self._rows = {"rules": self.rules, "objectives": self.objectives, "limits": self.limits}
        adders = ipywidgets.HBox([self.limits.adder, self.objectives.adder], layout=styles.line)
        tools = ipywidgets.HBox([self.parameters.adder, self.presets.line, self.installed.line], layout=styles.tools)
        notes = (self.parameters.about, self.presets.note, self.installed.note, self.parameters.error)
        tables: dict[str, list[Any]] = {
            "Parameters to search": [self.parameters.lines, tools, *notes],
            "Rules": [self.rules.lines, self.rules.adder],
            "Objective and limits": [self.limits.lines, self.objectives.lines, adders],
        }
        self._views = [
            SectionView(
                styles,
                section,
                self,
                tables.get(section.title, ()),
                toggled=changed,
                rows=(lambda: len(self.rules.values)) if section.title == "Rules" else (lambda: 0),
            )
            for section in SECTIONS
        ]
        for view in self._views:
            if view.section.title in opened:
                view.reveal()
        self.boxes = [view.box for view in self._views]
        self._offer_levels()

    @property
    def opened(self) -> set[str]:
        """The titles of the sections that are unfolded."""
        return {view.section.title for view in self._views if view.open}

    def _source_field(self, value: str) -> Field:
        widget = ipywidgets.Dropdown(
            options=[("a path or a Hugging Face name", "path"), ("random weights, to measure speed", "random")],
            value=value,
            description="Model",
            tooltip="model: the model to serve: a path, a name on the Hugging Face Hub, or generated random weights",
            layout=self._styles.full,
            style=self._styles.drop,
        )
        return Field(self._styles, "model.source", widget, value, self._edited)

    def _edited(self) -> None:
        self.parameters.engine(self._engine())
        self.presets.engine(self._preset_engine())
        for view in self._views:
            view.arrange()
        self._offer_levels()
        self._changed()

    def _engine(self) -> Engine | None:
        kind = self.fields["engine.kind"].value
        kind = None if kind in (MISSING, "command") else kind
        return self.installed.engine(kind, None if kind is None else self._engine_source(kind))

    def _engine_source(self, kind: str) -> Source | None:
        """Return where the engine is installed; None in a cluster, and without an image for containers."""
        names = ("deploy.kind", "engine.executable", "deploy.image", "deploy.runtime")
        where, executable, image, runtime = (
            None if self.fields[name].value is MISSING else self.fields[name].value for name in names
        )
        if where == "container":
            return None if image is None else Source(kind, image=image, runtime=runtime)
        return Source(kind, executable) if where in (None, "local") else None

    def _preset_engine(self) -> str | None:
        engine = self._engine()
        return None if engine is None else engine.name

    def _add_preset(self, expansion: Expansion) -> None:
        """Add the parameters and rules of a preset; the form's own parameters stay as they are."""
        engine, own = self._engine(), self.parameters.data
        fixed = self.fields["engine.args"].value
        added, rules = merged(expansion, own, {} if fixed is MISSING else fixed, self._preset_engine() or "")
        flags = {flag.name for name in own if engine is not None and (flag := engine.flag_named(name))}
        self.parameters.add_rows(
            {
                name: {"type": "choice", "values": values}
                for name, values in added.items()
                if name not in own and name not in flags
            }
        )
        for rule in rules:
            if rule not in self.rules.values:
                self.rules.add(rule)

    def _offer_levels(self) -> None:
        """Offer the workload's load levels as values of ``objective.at``."""
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
        """Return whether a field applies: a model is a path or random weights; only kind ``command`` has a command."""
        if path == "engine.command":
            return bool(self.fields["engine.kind"].value == "command")
        if path == "model.id_or_path":
            return bool(self.source.value == "path")
        return bool(self.source.value == "random") or not path.startswith(WEIGHTS)

    def shown(self, path: str) -> bool:
        """Return whether a field applies to the task as it is now, or has a value in it."""
        if path == "deploy.image" and self.fields["deploy.kind"].value != "container":
            return self.fields[path].is_set
        return self.in_use(path)

    @property
    def data(self) -> dict[str, Any]:
        """The task as plain data, without fields that are not set."""
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
        data |= {key: rows.values for key, rows in self._rows.items() if rows.values}
        if "objectives" in data:
            data["objectives"] = [data.pop("objective"), *data["objectives"]]
        return data

    @property
    def all_fields(self) -> list[Field]:
        """All fields, those of the tables included."""
        rows = [field for row in self.parameters.rows for field in row.all_fields]
        return [*self.fields.values(), *rows, *(row for several in self._rows.values() for row in several.rows)]

    @property
    def read_errors(self) -> list[TaskError]:
        """The errors of texts that cannot be parsed, and those that the table of parameters finds itself."""
        fields = [field.read_error for path, field in self.fields.items() if field.read_error and self.in_use(path)]
        return [*fields, *(error for _, error in self.parameters.problems)]

    def show_errors(self, problems: Sequence[TaskError]) -> list[TaskError]:
        """Show every error next to its field, unfolding the sections of new ones, and return those without a field."""
        self._reveal(problems)
        places: dict[str, list[str]] = {}
        tables: dict[str, dict[int, list[str]]] = {name: {} for name in ("parameters", *self._rows)}
        visible = {path for view in self._views for path in view.visible}
        hidden = []
        own = self.parameters.problems
        for index, error in own:
            tables["parameters"].setdefault(index, []).append(_row_message(error))
        for error in problems:
            if any(error is other for _, other in own) or (error.field, error.message) in {
                (e.field, e.message) for _, e in own
            }:
                continue
            # The first of several objectives has fields of its own.
            error = TaskError(error.message, field=_FIRST_OBJECTIVE.sub("objective", error.field))
            table = re.split(r"[.\[]", error.field, maxsplit=1)[0]
            if table in tables:
                row = self.parameters.row_of(error.field) if table == "parameters" else _index(error.field)
                if table == "objectives" and row is not None:
                    row -= 1
                if row is not None:
                    tables[table].setdefault(row, []).append(_row_message(error))
                else:
                    places.setdefault(table, []).append(error.message)
                continue
            path = self._place(error.field, visible)
            if path is None:
                hidden.append(error)
            else:
                places.setdefault(path, []).append(_field_message(error, path))
        for path, field in self.fields.items():
            field.show_errors(places.get(path, ()))
        self.parameters.show_errors(tables["parameters"], places.get("parameters", ()))
        for name, rows in self._rows.items():
            rows.show_errors(tables[name])
        for view in self._views:
            view.show_errors([m for key in view.heads for m in places.get(key, ())])
        return hidden

    def _reveal(self, problems: Sequence[TaskError]) -> None:
        """Unfold the sections that hide the field of an error which was not there before."""
        wrong = frozenset(_SHOWN_AT.get(error.field, error.field) for error in problems)
        for field in wrong - self._wrong:
            for view in self._views:
                inside = view.section.more if not view.section.folded else ("rules", *view.section.more)
                if any(field == path or field.startswith((f"{path}.", f"{path}[")) for path in inside):
                    view.reveal()
        self._wrong = wrong

    def close(self) -> None:
        """Remove all widgets from the page, hidden ones included."""
        for field in (self.source, *self.all_fields):
            field.close()
        for row in self.parameters.rows:
            row.close()
        for rows in self._rows.values():
            rows.close()
        for view in self._views:
            view.close()

    def _place(self, field: str, visible: set[str]) -> str | None:
        """Return the visible field or section where the error of a field is shown; None if it is hidden."""
        path = _SHOWN_AT.get(field, field)
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


def _with_first_objective(data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a task's data with the first of its objectives as ``objective``, and the others as texts."""
    if not data.get("objectives"):
        return data, []
    first, *others = data["objectives"]
    return {**data, "objective": first}, [f"{one['direction']} {one['figure']}" for one in others]


def _value_at(data: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            return MISSING
        data = data[name]
    return data


def _gpus(data: dict[str, Any]) -> int:
    """Return the number of GPUs of a task, or a common one if it names none."""
    given = _value_at(data, "deploy.gpus")
    return len(given) if isinstance(given, list) else given if isinstance(given, int) and given > 1 else 8


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _index(field: str) -> int | None:
    found = re.fullmatch(r"\w+\[(\d+)\].*", field)
    return int(found[1]) if found else None


def _row_message(error: TaskError) -> str:
    """Return the message of an error in its row, with the field's name within the row."""
    inner = re.fullmatch(r"parameters\.[^.\[]*\.(.+)", error.field)
    message = plain(error.message)
    return f"{inner[1]}: {message}" if inner else message


def _field_message(error: TaskError, path: str) -> str:
    """Return the message of an error at its field, with the place in the field if there is one."""
    rest = error.field.removeprefix(path).lstrip(".") if error.field.startswith(path) else ""
    return f"{rest}: {error.message}" if rest else error.message
