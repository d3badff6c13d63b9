"""The monitor's budget and its list of edits: any input makes an edit or shows an error."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import StudyError
from autotune_nb.runner.runner import RunState
from autotune_nb.study.steering import Edit
from autotune_nb.task.external_results import IMPORTED_COMMAND, NO_ENGINE
from autotune_nb.task.task import Task
from autotune_nb.widgets._budget_and_edits import BudgetAndEdits
from autotune_nb.widgets._run_buttons import RunButtons
from autotune_nb.widgets._selection import Selection
from autotune_nb.widgets._trial_page import TrialPage
from tests.conftest import MINIMAL
from tests.widgets.stub_handle import StubHandle

ENGINE: dict[str, Any] = {"kind": "command", "command": "server {port}"}


class Steered:
    """A budget with its study; ``press`` clicks the button and returns the message."""

    def __init__(self, handle: StubHandle) -> None:
        self.handle = handle
        self.redraws = 0
        self.page = TrialPage(Selection(), lambda: self.handle, self._redraw)
        self.panel = BudgetAndEdits(self.page.act)
        self._redraw()

    def _redraw(self) -> None:
        self.redraws += 1
        self.panel.update(self.handle)

    def press(self, **typed: str) -> str:
        for name, text in typed.items():
            self.panel.fields[name].value = text
        self.panel.change.click()
        return html.unescape(re.sub("<[^>]*>", "", self.page.message.value))

    @property
    def shown(self) -> dict[str, str]:
        """What each field shows that is not hidden."""
        fields = self.panel.fields.items()
        return {name: field.value or field.placeholder for name, field in fields if field.layout.display != "none"}


@pytest.fixture
def make(make_task: Callable[..., Task], tmp_path: Path) -> Callable[..., Steered]:
    def make(**values: Any) -> Steered:
        return Steered(StubHandle(make_task(engine=ENGINE, model="m", **values), tmp_path))

    return make


def test_the_budget_of_imported_results_is_not_changed_since_no_trial_would_follow(tmp_path: Path) -> None:
    engine = {"kind": "command", "command": IMPORTED_COMMAND}
    handle = StubHandle(Task.parse({**MINIMAL, "engine": engine, "model": "m"}), tmp_path, state=RunState.STOPPED)
    change, buttons = Steered(handle).panel.change, RunButtons(lambda: handle, lambda: None, lambda _message: None)
    buttons.update(handle, starting=False)
    assert (change.disabled, change.tooltip, buttons.start.disabled) == (True, NO_ENGINE, True)
    handle.task = Task.parse({**MINIMAL, "engine": ENGINE, "model": "m"})
    buttons.update(handle, starting=False)
    change = Steered(handle).panel.change
    assert (change.disabled, change.tooltip, buttons.start.disabled) == (False, None, False)


def test_the_budget_is_shown_and_changed(make: Callable[..., Steered]) -> None:
    one = make(budget={"trials": 12, "patience": "auto"})
    assert one.shown == {"trials": "12", "minutes": "no limit", "patience": "auto"}
    assert one.press(trials="30", minutes=" 1.5 ", patience="none").endswith("applies from the next trial on")
    assert [edit.text for edit in one.handle.edits] == ["budget: trials 30, minutes 1.5, patience no limit"]
    assert one.shown == {"trials": "30", "minutes": "1.5", "patience": "no limit"}
    assert "budget: trials 30" in one.panel.edits.value
    # Nothing is sent again.
    assert one.panel.update(one.handle) == 0


def test_costs_are_bounded_where_they_have_a_price(
    make: Callable[..., Steered], make_task: Callable[..., Task]
) -> None:
    one = make(price={"usd_per_gpu_hour": 2.5}, budget={"trials": 12, "usd": 40})
    assert one.shown["usd"] == "40"
    one.press(gpu_hours="3")
    assert one.handle.budget.gpu_hours == 3
    # Another study in the same folder has none.
    one.handle = StubHandle(make_task(engine=ENGINE, model="m"), one.handle.path)
    one.panel.update(one.handle)
    assert not {"gpu_hours", "usd"} & one.shown.keys()


@pytest.mark.parametrize("text", ["0", "-1", "x", "2.5", "1e400", "NONE", "nan"])
def test_an_invalid_budget_is_reported_and_stays_in_its_field(make: Callable[..., Steered], text: str) -> None:
    one = make()
    assert one.press() == "budget: give trials, minutes or patience"
    assert one.press(trials=text).startswith("budget.trials: ")
    assert one.panel.fields["trials"].value == text
    assert one.handle.edits == ()


@pytest.mark.parametrize("error", [StudyError("the disk is full"), OSError("no <b>space</b>"), AttributeError("x")])
def test_any_error_is_shown(make: Callable[..., Steered], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_self: StubHandle, _edit: Edit) -> None:
        raise error

    monkeypatch.setattr(StubHandle, "_steer", fail)
    one = make()
    assert one.press(trials="30").endswith(str(error))
    assert "<b>" not in one.page.message.value
    assert one.redraws == 1
