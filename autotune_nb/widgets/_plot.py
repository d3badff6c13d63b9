"""A chart that the page draws with Plotly, which is sent to it once; of a chart, only changed traces are sent.

Plotly's own FigureWidget sends its five megabytes of script with each chart. Here one widget without a view has the
script, and each chart is a small widget that waits for it. Traces are sent compressed: most of their texts repeat.
"""

from __future__ import annotations

import array
import gzip
import importlib.util
import math
import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from autotune_nb.reports.configuration_page import to_json

_FOLDER = Path(__file__).parent
#: Shorter sequences are sent as JSON.
_PACKED = 8
_BINARY = ("x", "y", "base", "customdata")


@cache
def _script() -> bytes:
    """Return Plotly's script, gzipped, without importing Plotly."""
    found = importlib.util.find_spec("plotly")
    folders = found.submodule_search_locations if found is not None else None
    if not folders:
        raise ImportError("the charts need plotly")
    return gzip.compress((Path(folders[0]) / "package_data" / "plotly.min.js").read_bytes(), 6)


class PlotlyScript(anywidget.AnyWidget):
    """The script; one per kernel, which every page gets with the other widgets."""

    _esm = (_FOLDER / "_plotly_script.js").read_text(encoding="utf-8")
    script = traitlets.Bytes().tag(sync=True)

    _one: PlotlyScript | None = None
    _making = threading.Lock()

    @classmethod
    def ensure(cls) -> None:
        """Send the script to the page, if this kernel has not."""
        with cls._making:
            if cls._one is None:
                cls._one = cls(script=_script())


class Plot(anywidget.AnyWidget):
    """One chart: traces by name, axes, a caption, and what is announced in place of the chart before there is data.

    ``on_select`` is called with the numbers of the trials of a click or a box, and whether they are added; ``on_steer``
    with what is wanted from the menu of an axis, or with the ``brush`` on one. ``menus`` has a parameter of each axis
    of parallel coordinates, with the content of its menu, or None.
    """

    _esm = (_FOLDER / "_plot.js").read_text(encoding="utf-8")
    changed = traitlets.Dict().tag(sync=True)
    axes = traitlets.Dict().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    announced = traitlets.Unicode().tag(sync=True)
    selected: traitlets.List[int] = traitlets.List().tag(sync=True)
    menus: traitlets.List[Any] = traitlets.List().tag(sync=True)

    def __init__(
        self,
        on_select: Callable[[list[int], bool], None],
        announced: str = "",
        on_steer: Callable[[Mapping[str, Any]], None] = lambda _wanted: None,
    ) -> None:
        self._traces: dict[str, dict[str, Any]] = {}
        #: The traces of the last call, which are not packed again if they are the same objects.
        self._given: dict[str, Mapping[str, Any]] = {}
        self._sequence = 0
        self._on_select, self._on_steer = on_select, on_steer
        super().__init__(announced=announced, changed=self._whole())
        self.on_msg(self._received)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """Return the state; that of a new page has all traces, not only those of the last change."""
        state = super().get_state(key, drop_defaults)
        if key is None:
            state["changed"] = self._whole()
        return state

    def _whole(self) -> dict[str, Any]:
        return {"seq": self._sequence, "all": True, "data": _message(list(self._traces), self._traces)}

    def show(
        self,
        traces: Mapping[str, Mapping[str, Any]],
        axes: Mapping[str, Any],
        caption: str,
        announced: str,
        menus: Sequence[Any] = (),
    ) -> int:
        """Show these traces and return about how many bytes were sent; 0 if nothing changed."""
        packed, changed = {}, {}
        for name, trace in traces.items():
            known = self._traces.get(name)
            if known is not None and self._given.get(name) is trace:
                packed[name] = known
                continue
            packed[name] = _packed(trace)
            if packed[name] != known:
                changed[name] = packed[name]
        self._given = dict(traces)
        sent = 0
        with self.hold_sync():
            if changed or list(packed) != list(self._traces):
                self._traces = packed
                self._sequence += 1
                # The page keeps the traces that are not in the message.
                self.changed = {"seq": self._sequence, "data": _message(list(packed), changed)}
                sent += len(self.changed["data"]) + 400
            shown = {"menus": list(menus), "axes": dict(axes), "caption": caption, "announced": announced}
            for name, value in shown.items():
                if getattr(self, name) != value:
                    setattr(self, name, value)
                    sent += len(str(value))
        return sent

    def _received(self, _widget: Any, message: Mapping[str, Any], _buffers: Any) -> None:
        match message.get("kind"):
            case "select":
                self._on_select([int(number) for number in message["trials"]], bool(message["add"]))
            case "steer":
                self._on_steer(message["wanted"])
            case "script":
                self.send({"kind": "script"}, [_script()])
            case "all":
                self._sequence += 1
                self.changed = self._whole()


def _packed(trace: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _packed_values(value) if name in _BINARY else value for name, value in trace.items()}


def _packed_values(values: Any) -> Any:
    """Return many numbers as bytes of 32-bit floats, where None is not a number; other values as they are."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or len(values) < _PACKED:
        return values
    if not all(value is None or isinstance(value, int | float) for value in values):
        return values
    return array.array("f", [math.nan if value is None else value for value in values]).tobytes()


def _message(order: Sequence[str], traces: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return traces compressed: the length of their JSON, their JSON, and the floats, to whose places it refers."""
    floats = bytearray()

    def placed(value: Any) -> Any:
        if not isinstance(value, bytes):
            return value
        start = len(floats) // 4
        floats.extend(value)
        return {"floats": [start, len(value) // 4]}

    plain = {key: {name: placed(value) for name, value in trace.items()} for key, trace in traces.items()}
    text = to_json({"order": order, "traces": plain}).encode()
    return zlib.compress(struct.pack("<I", len(text)) + text + floats)
