"""The monitor's steering fields: ban, pin and narrow a parameter, enqueue a configuration, change the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from autotune_nb.errors import AutotuneError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.study.steerable import UNCHANGED
from autotune_nb.study.steering import Edit, Steering, range_text
from autotune_nb.task.parameters import Bool, Choice, Value
from autotune_nb.task.restriction import value_text
from autotune_nb.widgets._panels import escaped
from autotune_nb.widgets._text_number import number_in
from autotune_nb.widgets._value_text import LIST, MAPPING, MISSING, show_value

_NO_LIMIT = "none"


class SteerPanel:
    """Fields and buttons that edit a study; ``handle`` returns the study at the time of a click."""

    def __init__(self, handle: Callable[[], StudyHandle], edited: Callable[[], None]) -> None:
        self._handle = handle
        self._edited = edited
        task = handle().task
        space = self._space = task.space.parameters
        costs = task.price.is_set or task.budget.gpu_hours is not None
        short, wide = ipywidgets.Layout(width="140px"), ipywidgets.Layout(width="300px")
        label = ipywidgets.Layout(width="80px")
        # The buttons fit beside it.
        full = ipywidgets.Layout(flex="1 1 400px", width="auto", max_width="900px")
        self.parameter = ipywidgets.Dropdown(options=list(space), description="parameter", layout=wide)
        self.value = ipywidgets.Combobox(
            placeholder="value, or several: 1, 2", description="value", layout=wide, ensure_option=False
        )
        self.low = ipywidgets.Text(placeholder="low", layout=short)
        self.high = ipywidgets.Text(placeholder="high", layout=short)
        self.about = ipywidgets.HTML()
        self.about.add_class("at-steer-about")
        self.configuration = ipywidgets.Text(
            description="try next", placeholder="threads: 2, batch_size: 512", layout=full
        )
        self.trials = ipywidgets.Text(placeholder="trials", layout=short)
        self.minutes = ipywidgets.Text(placeholder="minutes", layout=short)
        self.patience = ipywidgets.Text(placeholder="patience", layout=short)
        self.gpu_hours = ipywidgets.Text(placeholder="GPU-hours", layout=short, tooltip="GPU-hours; none: no limit")
        self.usd = ipywidgets.Text(placeholder="dollars", layout=short, tooltip="US dollars; none removes the limit")
        for field, what in ((self.low, "low"), (self.high, "high"), (self.trials, "trials")):
            field.tooltip = what
        self.minutes.tooltip, self.patience.tooltip = (
            "minutes; none removes the limit",
            "patience: a number of trials, or auto; none removes the limit",
        )
        self.message = ipywidgets.HTML()
        self.edits = ipywidgets.HTML()
        self.parameter.observe(lambda _change: self._show_parameter(), "value")
        self._show_parameter()
        names = ipywidgets.HBox([self.parameter, self.value, self._button("Ban", "ban", self._ban)])
        names.children += (self._button("Pin", "pin", self._pin), self._button("Free", "free", self._free))
        ends = ipywidgets.HBox(
            [
                ipywidgets.Label("range", layout=label),
                self.low,
                self.high,
                self._button("Narrow", "narrow", self._narrow),
                self.about,
            ]
        )
        fill = self._button("Fill in the best", "fill", self._fill)
        queue = ipywidgets.HBox([self.configuration, fill, self._button("Enqueue", "enqueue", self._enqueue)])
        change = self._button("Change the budget", "budget", self._budget)
        bounds = [self.trials, self.minutes, self.patience, *((self.gpu_hours, self.usd) if costs else ())]
        budget = ipywidgets.HBox([ipywidgets.Label("budget", layout=label), *bounds, change])
        for row in (names, ends, queue, budget):
            row.layout.flex_flow = "row wrap"
        classes = {
            "parameter": self.parameter,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "configuration": self.configuration,
            "trials": self.trials,
            "minutes": self.minutes,
            "patience": self.patience,
            "gpu-hours": self.gpu_hours,
            "usd": self.usd,
            "message": self.message,
            "edits": self.edits,
        }
        for row in (ends, budget):
            row.children[0].add_class("at-steer-label")
        for name, widget in classes.items():
            widget.add_class(f"at-steer-{name}")
        self.show_budget(handle().steering)
        self.box = ipywidgets.VBox([names, ends, queue, budget, self.message, self.edits])

    def follow(self) -> None:
        """Update the fields if ``handle`` returns a study with other parameters."""
        self.show_budget(self._handle().steering)
        space = self._handle().task.space.parameters
        if space != self._space:
            self._space = space
            self.parameter.options = list(space)
            self._show_parameter()

    def show_budget(self, steering: Steering) -> None:
        """Show the bounds in force in the empty fields."""
        budget = steering.budget
        bounds = (
            (self.trials, "trials", steering.num_trials),
            (self.minutes, "minutes", budget.minutes),
            (self.patience, "patience", budget.patience),
            (self.gpu_hours, "GPU-hours", budget.gpu_hours),
            (self.usd, "dollars", budget.usd),
        )
        for field, name, bound in bounds:
            known = bound if bound is None or isinstance(bound, str) else f"{bound:g}"
            field.placeholder = name if known is None else f"{name}, now {known}"

    def _button(self, text: str, name: str, act: Callable[[StudyHandle], Edit | None]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=text, layout=ipywidgets.Layout(width="auto"))
        button.add_class(f"at-steer-{name}")

        def clicked(_button: Any) -> None:
            # An exception in a callback is not shown by Jupyter.
            try:
                edit = act(self._handle())
            except AutotuneError as error:
                self._show_message(str(error), "at-error")
            except Exception as error:  # noqa: BLE001 - any error is shown
                self._show_message(f"{type(error).__name__}: {error}", "at-error")
            else:
                if edit is not None:
                    self._show_message(f"{edit.text}: applies from the next trial on", "at-ok")
                    self._edited()

        button.on_click(clicked)
        return button

    def _show_message(self, text: str, kind: str) -> None:
        self.message.value = f'<span class="{kind}" role="status">{escaped(text)}</span>'

    def _show_parameter(self) -> None:
        parameter = self._handle().task.space.parameters[self.parameter.value]
        values = parameter.grid() if isinstance(parameter, Choice | Bool) else ()
        # Written as they are parsed: the text "1" is not the number 1.
        self.value.options = [show_value(value) for value in values or ()]
        self.value.value = ""
        self.about.value = f'<span class="at-dim">{escaped(range_text(parameter))}</span>'
        plain = isinstance(parameter, Choice | Bool)
        self.low.disabled = self.high.disabled = plain

    def _values(self) -> list[Value]:
        text = self.value.value.strip()
        if not text:
            raise TaskError("give a value", field=self.parameter.value)
        parameter = self._handle().task.space.parameters[self.parameter.value]
        values = (parameter.grid() or ()) if isinstance(parameter, Choice | Bool) else ()
        known = {value_text(v): v for v in values} | {show_value(v): v for v in values}
        if text in known:
            return [known[text]]
        return list(_read(LIST.read, text, self.parameter.value))

    def _ban(self, handle: StudyHandle) -> Edit:
        return handle.ban(self.parameter.value, *self._values())

    def _pin(self, handle: StudyHandle) -> Edit:
        values = self._values()
        if len(values) == 1:
            return handle.pin(self.parameter.value, values[0])
        return handle.narrow(self.parameter.value, values=values)

    def _free(self, handle: StudyHandle) -> Edit:
        return handle.free(self.parameter.value)

    def _narrow(self, handle: StudyHandle) -> Edit:
        name = self.parameter.value
        if self.low.disabled:
            return handle.narrow(name, values=self._values())
        low, high = (number_in(field.value, name) for field in (self.low, self.high))
        return handle.narrow(name, low, high)

    def _fill(self, handle: StudyHandle) -> None:
        best = handle.best_trial
        point: Mapping[str, Value] = best.params if best is not None and best.params else {}
        if not point:
            raise TaskError("there is no best configuration yet other than the engine's default", field="try next")
        self.configuration.value = MAPPING.show(dict(point))

    def _enqueue(self, handle: StudyHandle) -> Edit:
        params = _read(MAPPING.read, self.configuration.value, "try next")
        if params is MISSING:
            raise TaskError("write a configuration, such as threads: 2, batch_size: 512", field="try next")
        for name in params:
            if not isinstance(name, str):
                raise TaskError(f"a parameter's name is text, not {name!r}; put it in quotes", field="try next")
        return handle.enqueue(params)

    def _budget(self, handle: StudyHandle) -> Edit:
        changes: dict[str, Any] = {}
        bounds = {"trials": self.trials, "minutes": self.minutes, "patience": self.patience}
        bounds |= {"gpu_hours": self.gpu_hours, "usd": self.usd}
        for name, field in bounds.items():
            text = field.value.strip()
            if text:
                changes[name] = _bound(text, name)
        if not changes:
            raise TaskError("give trials, minutes or patience", field="budget")
        edit = handle.set_budget(**{**dict.fromkeys(bounds, UNCHANGED), **changes})
        for field in bounds.values():
            field.value = ""
        return edit


def _read(read: Callable[[str], Any], text: str, field: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise TaskError(str(error), field=field) from None


def _bound(text: str, name: str) -> float | str | None:
    """Return a bound of the budget: a number, None, or how patience is decided."""
    if name == "patience" and text == "auto":
        return text
    return None if text == _NO_LIMIT else number_in(text, f"budget.{name}")
