"""The monitor's table of configurations: an anywidget to which only changed cells are sent, and its selection."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import anywidget
import ipywidgets
import traitlets

from autotune_nb.handle import StudyHandle
from autotune_nb.reports.configuration_page import row_message, table_script, to_json
from autotune_nb.results.configurations import Configurations, Row
from autotune_nb.study.steering import Edit, Steering
from autotune_nb.trial.trial import Trial
from autotune_nb.widgets._parameter_menu import menu_edit, parameter_menus
from autotune_nb.widgets._selection import Selection
from autotune_nb.widgets._trial_html import engine_or_none

#: Of a message around its data.
_ENVELOPE = 600
#: Longer messages are compressed.
_PACKED = 1000


class _TableWidget(anywidget.AnyWidget):
    """The table in the page: it asks for all rows once it is there, and is sent what changes from then on."""

    _esm = table_script()
    selected = traitlets.List(traitlets.Int(), help="numbers of the selected trials").tag(sync=True)


class TrialTable:
    """The table of one monitor. ``box`` is its widget; a click on rows changes the selection and the other way round.

    ``steer`` is called with an edit of a parameter, which the menu in its head makes; it shows errors itself.
    """

    def __init__(self, selection: Selection, steer: Callable[[Callable[[StudyHandle], Edit]], object]) -> None:
        self._selection = selection
        self._steer = steer
        self._lock = threading.Lock()
        self._of: object = None
        self._maker: Configurations | None = None
        #: What the front end has.
        self._columns: list[dict[str, Any]] = []
        self._rows: Mapping[int, Row] = {}
        self.widget = _TableWidget()
        self.widget.add_class("at-monitor-configurations")
        self.widget.on_msg(self._received)
        traitlets.link((selection, "trials"), (self.widget, "selected"), (list, tuple))
        self.box = ipywidgets.VBox([self.widget])

    def update(self, handle: StudyHandle, trials: Sequence[Trial]) -> int:
        """Send what changed since the last call, and return about how many bytes it was; 0 if nothing changed."""
        steering = handle.steering
        table = self._made(handle, steering).table(trials, *_annotations(steering))
        columns = [column.to_dict() for column in table.columns]
        _add_menus(columns, steering)
        with self._lock:
            changes = _changes(self._columns, columns, self._rows, table.rows)
            self._columns, self._rows = columns, {row.number: row for row in table.rows}
            return self._send(changes) if changes else 0

    def _made(self, handle: StudyHandle, steering: Steering) -> Configurations:
        task = handle.task
        if self._of is not task or self._maker is None:
            self._of = task
            names = list(steering.full_space.parameters)
            self._maker = Configurations(task.goal, task.confirmation, engine_or_none(task), names)
        return self._maker

    def _send(self, message: Mapping[str, Any]) -> int:
        data = to_json(message).encode()
        packed = len(data) > _PACKED
        # As a buffer: the front end's protocol would write it with spaces.
        sent = zlib.compress(data, 9) if packed else data
        self.widget.send({"packed": packed}, buffers=[sent])
        return len(sent) + _ENVELOPE

    def _received(self, _widget: Any, content: Mapping[str, Any], _buffers: Any) -> None:
        if "ask" in content:
            with self._lock:
                self._send(_whole(self._columns, self._rows.values()))
        elif "parameter" in content:
            self._steer(lambda handle: menu_edit(handle, content))


def _annotations(steering: Steering) -> tuple[dict[int, Sequence[str]], dict[int, str]]:
    """Return the tags and the notes by trial."""
    notes = steering.notes
    return {number: one.tags for number, one in notes.items()}, {number: one.note for number, one in notes.items()}


def _add_menus(columns: Sequence[dict[str, Any]], steering: Steering) -> None:
    menus = parameter_menus(steering)
    for column in columns:
        if column["group"] == "parameter" and column["key"] in menus:
            column["steer"] = menus[column["key"]]


def _whole(columns: Sequence[Mapping[str, Any]], rows: Iterable[Row]) -> dict[str, Any]:
    return {"all": True, "columns": columns, "rows": [row_message(row) for row in rows]}


def _changes(
    before: Sequence[Mapping[str, Any]],
    columns: Sequence[Mapping[str, Any]],
    known: Mapping[int, Row],
    rows: Sequence[Row],
) -> dict[str, Any]:
    """Return what a front end with the columns ``before`` and the rows ``known`` lacks; empty if it lacks nothing."""
    if [column["key"] for column in before] != [column["key"] for column in columns]:
        return _whole(columns, rows)
    left, changed = dict(known), []
    for row in rows:
        old = left.pop(row.number, None)
        if old is row or old == row:
            continue
        message = row_message(row)
        if old is not None:
            pairs = zip(old.cells, row.cells, strict=True)
            message[-1] = {place: now for place, (was, now) in enumerate(pairs) if was != now}
        changed.append(message)
    found: dict[str, Any] = {"columns": columns} if before != columns else {}
    found |= {"rows": changed} if changed else {}
    return found | ({"gone": list(left)} if left else {})
