"""The steering fields: any input makes an edit or shows an error."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import StudyError
from autotune_nb.study.steering import Edit
from autotune_nb.task.task import Task
from autotune_nb.widgets._steering import SteerPanel
from tests.widgets.stub_handle import StubHandle, complete

PARAMETERS: dict[str, Any] = {
    "threads": [1, "1", 1.5, True, None, {"k": 1}],
    "batch_size": {"type": "int", "low": 32, "high": 512},
    "flag": {"type": "bool"},
}


class Steered:
    """A panel with its study; ``press`` clicks a button and returns the message."""

    def __init__(self, handle: StubHandle) -> None:
        self.handle = handle
        self.edited = 0
        self.panel = SteerPanel(lambda: self.handle, self._note)

    def _note(self) -> None:
        self.edited += 1

    def press(self, name: str) -> str:
        def walk(widget: Any) -> Any:
            if f"at-steer-{name}" in getattr(widget, "_dom_classes", ()):
                yield widget
            for child in getattr(widget, "children", ()):
                yield from walk(child)

        self.panel.message.value = ""
        (button,) = walk(self.panel.box)
        button.click()
        return html.unescape(re.sub("<[^>]*>", "", self.panel.message.value))

    @property
    def edits(self) -> list[str]:
        return [edit.text for edit in self.handle.edits]


@pytest.fixture
def make(make_task: Callable[..., Task], tmp_path: Path) -> Callable[..., Steered]:
    engine = {"kind": "command", "command": "server {port}"}

    def make(**values: Any) -> Steered:
        task = make_task(engine=engine, model="m", parameters=PARAMETERS)
        return Steered(StubHandle(task, tmp_path, **values))

    return make


@pytest.mark.parametrize(("index", "value"), list(enumerate(PARAMETERS["threads"])))
def test_every_value_can_be_chosen_as_it_is_shown(make: Callable[..., Steered], index: int, value: Any) -> None:
    one = make()
    panel = one.panel
    assert len(set(panel.value.options)) == 6
    panel.value.value = panel.value.options[index]
    assert one.press("pin").endswith("applies from the next trial on")
    (edit,) = one.handle.edits
    assert json.dumps(edit.values) == json.dumps([value])
    assert one.edited == 1


def test_edits_of_every_kind(make: Callable[..., Steered]) -> None:
    one = make(history=(complete(1, 5.0, threads=1, batch_size=64, flag=True),))
    panel = one.panel
    panel.value.value = '1.5, {"k": 1}'
    one.press("ban")
    panel.value.value = "1, null"
    one.press("narrow")
    panel.parameter.value = "batch_size"
    assert panel.value.options == ()
    panel.low.value, panel.high.value = " 64 ", ""
    one.press("narrow")
    panel.value.value = "128"
    one.press("pin")
    one.press("free")
    one.press("fill")
    assert panel.configuration.value == "threads: 1, batch_size: 64, flag: true"
    one.press("enqueue")
    panel.trials.value, panel.minutes.value, panel.patience.value = "30", "1.5", "none"
    one.press("budget")
    assert one.edits == [
        'ban threads = 1.5, {"k": 1}',
        "narrow threads to 1, null",
        "narrow batch_size from 64",
        "pin batch_size to 128",
        "free batch_size",
        "try next threads=1 batch_size=64 flag=True",
        "budget: trials 30, minutes 1.5, patience no limit",
    ]
    assert panel.trials.value == panel.minutes.value == panel.patience.value == ""


VALUES = ["", "  ", "1.0", "2", "true1", "[", "{", "a: 2", "&a [*a]", ".nan", "1e400", "9" * 5000, "\x00", "!!x y"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("button", ["ban", "pin"])
def test_an_invalid_value_is_reported(make: Callable[..., Steered], value: str, button: str) -> None:
    one = make()
    one.panel.value.value = value
    assert one.press(button).startswith("threads: ")
    assert one.edits == []
    assert one.edited == 0


ENDS = [("", ""), ("500", "40"), ("x", ""), ("nan", ""), ("-inf", "inf"), ("9" * 5000, ""), ("", "9" * 400)]


@pytest.mark.parametrize(("low", "high"), [*ENDS, ("1.2", "1.4"), ("²", ""), ("true", "")])
def test_an_invalid_range_is_reported(make: Callable[..., Steered], low: str, high: str) -> None:
    one = make()
    one.panel.parameter.value = "batch_size"
    one.panel.low.value, one.panel.high.value = low, high
    assert one.press("narrow").startswith("batch_size: ")
    assert one.edits == []


CONFIGURATIONS = ["", " ", "{}", "1", "1: 2", "null: 1", "true: 2", "threads: 1", "threads:1", "{[1]: 2}", "a: &b [*b]"]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_an_invalid_configuration_is_reported(make: Callable[..., Steered], text: str) -> None:
    one = make()
    one.panel.configuration.value = text
    assert re.match(r"(try next|point)[\w.]*: ", one.press("enqueue"))
    assert one.edits == []


@pytest.mark.parametrize("text", ["0", "-1", "x", "2.5", "1e400", "NONE", "nan"])
def test_an_invalid_budget_is_reported_and_stays_in_its_field(make: Callable[..., Steered], text: str) -> None:
    one = make()
    assert one.press("budget") == "budget: give trials, minutes or patience"
    one.panel.trials.value = text
    assert one.press("budget").startswith("budget.trials: ")
    assert one.panel.trials.value == text
    assert one.edits == []


def test_fill_reports_that_there_is_no_best_configuration_yet(make: Callable[..., Steered]) -> None:
    expected = "try next: there is no best configuration yet other than the engine's default"
    assert make().press("fill") == expected
    assert make(history=(complete(0, 5.0).with_(baseline=True, params={}),)).press("fill") == expected


@pytest.mark.parametrize("error", [StudyError("the disk is full"), OSError("no <b>space</b>"), AttributeError("x")])
def test_any_error_is_shown(make: Callable[..., Steered], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_self: StubHandle, _edit: Edit) -> None:
        raise error

    monkeypatch.setattr(StubHandle, "_steer", fail)
    one = make()
    one.panel.value.value = "1"
    assert one.press("pin").endswith(str(error))
    assert "<b>" not in one.panel.message.value
    assert one.edited == 0


def test_the_fields_of_a_range_are_enabled_for_numbers_only(make: Callable[..., Steered]) -> None:
    panel = make().panel
    assert panel.low.disabled
    panel.value.value = "1"
    panel.parameter.value = "batch_size"
    assert (panel.low.disabled, panel.high.disabled, panel.value.value) == (False, False, "")
    assert "it is from 32 to 512" in panel.about.value
    panel.parameter.value = "flag"
    assert panel.low.disabled
    assert panel.value.options == ("false", "true")


def test_the_fields_follow_another_study(make: Callable[..., Steered], make_task: Callable[..., Task]) -> None:
    one = make()
    one.panel.value.value = "1"
    one.panel.follow()
    # The input stays for the same study.
    assert one.panel.value.value == "1"
    engine = {"kind": "command", "command": "server {port}"}
    other = make_task(engine=engine, model="m", parameters={"threads": [7, 8], "other": [5]})
    one.handle = StubHandle(other, one.handle.path)
    one.panel.follow()
    assert one.panel.parameter.options == ("threads", "other")
    assert one.panel.value.options == ("7", "8")
    one.panel.value.value = "8"
    assert one.press("pin").startswith("pin threads to 8")


def test_the_fields_of_the_budget_show_what_is_in_force(make: Callable[..., Steered]) -> None:
    one = make()
    one.panel.trials.value = "7"
    one.press("budget")
    one.panel.show_budget(one.handle.steering)
    assert one.panel.trials.placeholder == "trials, now 7"
    assert one.panel.minutes.placeholder == "minutes"
