"""The budget, which may be changed, and the list of edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from autotune_nb.errors import TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.study.steering import Edit
from autotune_nb.task.external_results import NO_ENGINE, lacks_engine
from autotune_nb.widgets._panels import edits_html
from autotune_nb.widgets._text_number import number_in
from autotune_nb.widgets._texts import send_texts, text_widget

_NO_LIMIT = "none"
#: The bounds of the budget, each with its label and the tooltip of its field.
_BOUNDS = {
    "trials": ("trials", "the number of trials; none: as many as the space has"),
    "minutes": ("minutes", "minutes of all runs; none: no limit"),
    "patience": ("patience", "trials without a better one, or auto; none: no limit"),
    "gpu_hours": ("GPU-hours", "GPU-hours; none: no limit"),
    "usd": ("dollars", "US dollars; none: no limit"),
}
_COSTS = ("gpu_hours", "usd")


class BudgetAndEdits:
    """``box`` has a field for each bound, in which the present one is shown until another is typed, and the edits.

    ``act`` calls a function with the study and shows its error or its edit.
    """

    def __init__(self, act: Callable[[Callable[[StudyHandle], Any]], bool]) -> None:
        self._act = act
        self.fields = {name: _field(name, label, tip) for name, (label, tip) in _BOUNDS.items()}
        self.change = ipywidgets.Button(description="Change the budget", layout=ipywidgets.Layout(width="auto"))
        self.change.add_class("at-budget-change")
        self.change.on_click(lambda _button: self._change())
        self.edits = text_widget("edits")
        row = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        self.box = ipywidgets.VBox([ipywidgets.HBox([*self.fields.values(), self.change], layout=row), self.edits])

    def update(self, handle: StudyHandle) -> int:
        """Show the budget and the edits, and return about how many bytes were sent; 0 if they are as before."""
        task, sent = handle.task, 0
        lacking = lacks_engine(task)
        if self.change.disabled is not lacking:
            self.change.disabled, self.change.tooltip = lacking, NO_ENGINE if lacking else None
            sent += 200
        costs = task.price.is_set or handle.budget.gpu_hours is not None
        for name, field in self.fields.items():
            bound = handle.num_trials if name == "trials" else getattr(handle.budget, name)
            now = "no limit" if bound is None else f"{bound:g}" if isinstance(bound, float) else str(bound)
            display = "none" if name in _COSTS and not costs else None
            if (field.placeholder, field.layout.display) != (now, display):
                field.placeholder, field.layout.display = now, display
                sent += 200
        return sent + send_texts({self.edits: edits_html(handle.edits, handle.steering)})

    def _change(self) -> None:
        if self._act(self._edit):
            for field in self.fields.values():
                field.value = ""

    def _edit(self, handle: StudyHandle) -> Edit:
        typed = {name: field.value.strip() for name, field in self.fields.items() if field.value.strip()}
        if not typed:
            raise TaskError("give trials, minutes or patience", field="budget")
        changes: dict[str, Any] = {name: _bound(text, name) for name, text in typed.items()}
        return handle.set_budget(**changes)


def _field(name: str, label: str, tip: str) -> ipywidgets.Text:
    field = ipywidgets.Text(
        description=label,
        tooltip=tip,
        layout=ipywidgets.Layout(width="160px"),
        style={"description_width": "initial"},
    )
    field.add_class(f"at-budget-{name.replace('_', '-')}")
    return field


def _bound(text: str, name: str) -> float | str | None:
    """Return a bound of the budget: a number, None, or how patience is decided."""
    if name == "patience" and text == "auto":
        return text
    return None if text == _NO_LIMIT else number_in(text, f"budget.{name}")
