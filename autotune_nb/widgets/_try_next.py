"""The editor of a configuration to try next, and the queue of those that wait: ordered, and removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from autotune_nb.errors import AutotuneError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.task.external_results import NO_ENGINE, lacks_engine
from autotune_nb.task.parameters import Bool, Choice, Float, Int, Value
from autotune_nb.task.restriction import value_text
from autotune_nb.trial.trial import configuration_text
from autotune_nb.widgets._panels import escaped
from autotune_nb.widgets._value_text import LIST, show_value

#: The most configurations of the queue with buttons.
_MOST_QUEUED = 12
_TIP = "edit the best configuration, and enqueue it"


class TryNext:
    """``box`` has the editor while it is open, and the queue; ``button`` opens the editor with the best configuration.

    The editor has a field per parameter, which is empty for the value of the best configuration, and a preview.
    ``act`` calls a function with the study and shows its error or its edit.
    """

    def __init__(self, handle: Callable[[], StudyHandle], act: Callable[[Callable[[StudyHandle], Any]], bool]) -> None:
        self._handle = handle
        self._act = act
        self._from: Mapping[str, Value] = {}
        self._fields: dict[str, ipywidgets.Combobox] = {}
        auto = ipywidgets.Layout(width="auto", margin="0")
        self.button = ipywidgets.Button(description="Try a configuration", icon="plus", tooltip=_TIP, layout=auto)
        self.button.add_class("at-try-open")
        self.button.on_click(lambda _button: self._act(self._open_best))
        self.heading, self.preview = ipywidgets.HTML(), ipywidgets.HTML()
        self.preview.add_class("at-try-preview")
        self.enqueue = ipywidgets.Button(description="Enqueue", icon="plus", layout=ipywidgets.Layout(width="auto"))
        self.enqueue.add_class("at-try-enqueue")
        self.enqueue.on_click(lambda _button: self._enqueue())
        cancel = ipywidgets.Button(description="Cancel", layout=ipywidgets.Layout(width="auto"))
        cancel.on_click(lambda _button: self.close())
        self.grid = ipywidgets.Box()
        self.grid.add_class("at-try-fields")
        self.editor = ipywidgets.VBox([self.heading, self.grid, self.preview, ipywidgets.HBox([self.enqueue, cancel])])
        self.editor.add_class("at-try-editor")
        self.queue = ipywidgets.VBox()
        self.queue.add_class("at-try-queue")
        self._queued: list[str] = []
        self.box = ipywidgets.VBox([self.queue])

    def _open_best(self, handle: StudyHandle) -> None:
        best = handle.best_trial
        if best is not None and best.params:
            self.open(best.params, f"The best configuration, that of trial {best.number}, edited", best.params)
        else:
            self.open({}, "A configuration to try", {})

    def open(self, point: Mapping[str, Value], title: str, changed_from: Mapping[str, Value]) -> None:
        """Show the editor with a configuration; ``changed_from`` is the one that it is compared with."""
        space, best = self._handle().task.space.parameters, self._handle().best_trial
        known = best.params if best is not None else {}
        self._from = changed_from
        self.heading.value = f"<h4>{escaped(title)}</h4>"
        self._fields = {}
        for name, parameter in space.items():
            values = (parameter.grid() or ()) if isinstance(parameter, Choice | Bool) else ()
            field = ipywidgets.Combobox(
                options=[show_value(value) for value in values],
                value=show_value(point[name]) if name in point else "",
                placeholder="as in the best" if name in known else "give a value",
                description=name,
                tooltip=f"{name}; empty: as in the best configuration" if name in known else name,
                style={"description_width": "auto"},
            )
            field.observe(lambda _change: self._show(), "value")
            self._fields[name] = field
        self.grid.children = tuple(self._fields.values())
        self._show()
        self.box.children = (self.editor, self.queue)

    def close(self) -> None:
        """Hide the editor."""
        self.box.children = (self.queue,)
        self._fields = {}
        self.grid.children = ()

    def _point(self, handle: StudyHandle) -> dict[str, Value]:
        """Return the whole configuration. Raises TaskError."""
        space = handle.task.space.parameters
        given = {name: _value(space[name], field.value, name) for name, field in self._fields.items() if field.value}
        filled = handle.filled_up(given)
        handle.steering.space.check(filled)
        return filled

    def _show(self) -> None:
        handle = self._handle()
        try:
            point = self._point(handle)
        except AutotuneError as error:
            self.preview.value = f'<div class="at-error" role="status">{escaped(error)}</div>'
            self.enqueue.disabled = True
            return
        changes = [
            f"{name} {value_text(self._from[name])} → {value_text(value)}"
            for name, value in point.items()
            if name in self._from and self._from[name] != value
        ]
        filled = [name for name, field in self._fields.items() if not field.value]
        texts = [f"will try: {configuration_text(point)}"]
        texts += [f"changed: {', '.join(changes)}"] if changes else []
        texts += [f"from the best: {', '.join(filled)}"] if filled else []
        self.preview.value = f'<div role="status">{"<br>".join(map(escaped, texts))}</div>'
        self.enqueue.disabled = False

    def _enqueue(self) -> None:
        if self._act(lambda handle: handle.enqueue(self._point(handle))):
            self.close()

    def update(self, handle: StudyHandle) -> int:
        """Show the queue, and return about how many bytes were sent; 0 if it is as before."""
        if self._fields and self._fields.keys() != handle.task.space.parameters.keys():
            # The folder contains another study now.
            self.close()
        lacking = lacks_engine(handle.task)
        if self.button.disabled is not lacking:
            self.button.disabled, self.button.tooltip = lacking, NO_ENGINE if lacking else _TIP
        texts = [configuration_text(point) for point in handle.queue]
        if texts == self._queued:
            return 0
        self._queued = texts
        rows = [self._row(place, text, len(texts)) for place, text in enumerate(texts[:_MOST_QUEUED])]
        more = len(texts) - len(rows)
        heading = ipywidgets.HTML(f"<h4>Enqueued: {len(texts)}</h4>")
        rest = [ipywidgets.HTML(f'<div class="at-dim">and {more} more</div>')] if more > 0 else []
        before, self.queue.children = self.queue.children, (heading, *rows, *rest) if texts else ()
        for old in before:
            for part in (*getattr(old, "children", ()), old):
                part.close()
        return 2000 * (len(rows) + 1)

    def _row(self, place: int, text: str, count: int) -> ipywidgets.HBox:
        label = ipywidgets.HTML(f"{place + 1}. {escaped(text)}")
        # Chosen when it is clicked: a trial may have begun meanwhile, so that the text decides.
        buttons = [
            self._button(
                "arrow-up",
                f"try number {place + 1} earlier",
                place > 0,
                text,
                lambda h, at: h.move_in_queue(at, at - 1),
            ),
            self._button(
                "arrow-down",
                f"try number {place + 1} later",
                place + 1 < count,
                text,
                lambda h, at: h.move_in_queue(at, at + 1),
            ),
            self._button("times", f"remove number {place + 1}", True, text, lambda h, at: h.remove_from_queue(at)),
        ]
        return ipywidgets.HBox([*buttons, label], layout=ipywidgets.Layout(align_items="center"))

    def _button(
        self, icon: str, tip: str, enabled: bool, text: str, edit: Callable[[StudyHandle, int], Any]
    ) -> ipywidgets.Button:
        button = ipywidgets.Button(icon=icon, tooltip=tip, disabled=not enabled, layout=ipywidgets.Layout(width="32px"))
        # Icons alone have no name for a screen reader.
        button.add_class(f"at-try-{icon}")
        button.on_click(lambda _button: self._act(lambda handle: edit(handle, _place(handle, text))))
        return button


def _place(handle: StudyHandle, text: str) -> int:
    texts = [configuration_text(point) for point in handle.queue]
    if text not in texts:
        raise TaskError(f"{text} is not in the queue any more", field="queue")
    return texts.index(text)


def _value(parameter: Choice | Bool | Int | Float, text: str, name: str) -> Value:
    """Return the value of a field. Raises TaskError."""
    text = text.strip()
    values = (parameter.grid() or ()) if isinstance(parameter, Choice | Bool) else ()
    known = {value_text(value): value for value in values} | {show_value(value): value for value in values}
    if text in known:
        return known[text]
    try:
        found = list(LIST.read(text))
    except ValueError as error:
        raise TaskError(str(error), field=name) from None
    if len(found) != 1:
        raise TaskError(f"give one value, not {text!r}", field=name)
    value: Value = found[0]
    return value
