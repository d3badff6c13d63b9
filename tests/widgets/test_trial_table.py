"""The monitor's table: what is sent to the page, the selection, and steering from a parameter's head."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.reports.value_axis import ValueAxis
from autotune_nb.task.external_results import IMPORTED_COMMAND
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._parameter_menu import brush_offer, menu_edit, parameter_menus
from autotune_nb.widgets._selection import Selection
from autotune_nb.widgets._trial_table import TrialTable
from tests.conftest import MINIMAL
from tests.widgets.stub_handle import LIMIT, NASTY, StubHandle, complete

PARAMETERS: dict[str, Any] = {"threads": [1, 2, 4], "batch_size": {"type": "int", "low": 32, "high": 512}}


@pytest.fixture
def handle(tmp_path: Path) -> StubHandle:
    engine = {"kind": "command", "command": "server {port}"}
    task = Task.parse({**MINIMAL, "engine": engine, "model": "m", "parameters": PARAMETERS, "limits": [LIMIT]})
    return StubHandle(task, tmp_path, history=(complete(0, 10.0, threads=1, batch_size=64),))


class Page:
    """What the script in a page does with messages."""

    def __init__(self, table: TrialTable) -> None:
        self.table, self.messages = table, list[dict[str, Any]]()
        self.rows: dict[int, list[Any]] = {}
        table.widget.send = self.receive  # type: ignore[method-assign]

    def receive(self, content: dict[str, Any], buffers: Any = None) -> None:
        data = zlib.decompress(buffers[0]) if content["packed"] else buffers[0]
        message = json.loads(data)
        self.messages.append(message)
        if message.get("all"):
            self.rows = {}
        for number, _trials, _first, cells in message.get("rows", ()):
            if isinstance(cells, list):
                self.rows[number] = cells
            else:
                for place, value in cells.items():
                    self.rows[number][int(place)] = value
        for number in message.get("gone", ()):
            del self.rows[number]


def test_only_what_changed_is_sent_and_the_page_has_all_of_it(handle: StubHandle) -> None:
    table = TrialTable(Selection(), lambda _do: True)
    page = Page(table)
    assert table.update(handle, handle.history) > 0
    assert table.update(handle, handle.history) == 0
    running = Trial(1, {"threads": 2, "batch_size": 32})
    trials = (*handle.history, running)
    assert table.update(handle, trials) < 1500
    table.update(handle, (*handle.history, complete(1, 20.0, threads=2, batch_size=32)))
    assert [message.get("all", False) for message in page.messages] == [True, False, False]
    changed = {row[0] for row in page.messages[-1]["rows"]}
    # The best is another one now.
    assert changed == {0, 1}
    fresh = TrialTable(Selection(), lambda _do: True)
    whole = Page(fresh)
    fresh.update(handle, (*handle.history, complete(1, 20.0, threads=2, batch_size=32)))
    assert page.rows == whole.rows
    # A page that is opened later asks for everything.
    late = Page(table)
    table._received(None, {"ask": True}, [])
    assert late.rows == whole.rows
    table.update(handle, handle.history)
    assert set(late.rows) == {0}


def test_hostile_texts_and_numbers_that_json_does_not_have_arrive_in_the_page(handle: StubHandle) -> None:
    table = TrialTable(Selection(), lambda _do: True)
    page = Page(table)
    odd = complete(1, math.nan, threads=math.inf, batch_size=NASTY)
    handle.trial(0).note = "</script>{{x}}\n\x00"
    assert table.update(handle, (*handle.history, odd)) > 0
    cells = page.rows[1]
    assert any(str(cell).startswith("<img src=x onerror=alert(1)>") for cell in cells)
    assert "</script>{{x}}\n\x00" in page.rows[0]


def test_a_run_of_many_trials_sends_little(handle: StubHandle) -> None:
    table = TrialTable(Selection(), lambda _do: True)
    Page(table)
    trials: list[Trial] = []
    sent = 0
    for number in range(200):
        trials.append(complete(number, 10.0 + number, threads=1 + number % 4, batch_size=32 + number))
        if number % 25 == 24:
            sent += table.update(handle, trials)
    assert sent < 200 * 200


def test_the_selection_is_shared(handle: StubHandle) -> None:
    selection = Selection()
    table = TrialTable(selection, lambda _do: True)
    selection.trials = (3, 5)
    assert table.widget.selected == [3, 5]
    table.widget.selected = [7]
    assert selection.trials == (7,)


def test_a_head_offers_the_values_and_what_restricts_them(handle: StubHandle) -> None:
    handle.ban("threads", 2)
    handle.narrow("batch_size", 64, None)
    table = TrialTable(Selection(), lambda _do: True)
    page = Page(table)
    table.update(handle, handle.history)
    heads = {column["key"]: column["steer"] for column in page.messages[0]["columns"] if "steer" in column}
    assert heads["threads"]["values"] == [1, 2, 4]
    assert heads["threads"]["left"] == [True, False, True]
    assert "now without 2" in heads["threads"]["about"]
    assert (heads["batch_size"]["low"], heads["batch_size"]["high"]) == ("64", "512")
    assert (heads["threads"]["mark"], heads["threads"]["now"]) == ("bans", "without 2")
    assert heads["batch_size"]["mark"] == "narrowed"


def test_a_head_is_marked_with_the_value_to_which_it_is_pinned(handle: StubHandle) -> None:
    assert "mark" not in parameter_menus(handle.steering)["threads"]
    handle.pin("threads", 4)
    menu = parameter_menus(handle.steering)["threads"]
    assert (menu["mark"], menu["now"]) == ("= 4", "pinned to 4")
    handle.free("threads")
    handle.narrow("threads", values=[1, 4])
    assert parameter_menus(handle.steering)["threads"]["mark"] == "narrowed"


def test_imported_results_have_no_menus_since_no_trial_would_follow(handle: StubHandle) -> None:
    engine = {"kind": "command", "command": IMPORTED_COMMAND}
    handle = StubHandle(Task.parse({**handle.task.model_dump(), "engine": engine}), handle.path)
    assert parameter_menus(handle.steering) == {}
    assert brush_offer(handle.steering, ValueAxis.of("threads", (1, 2, 4)), 0.2, 0.9) is None


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"do": "ban", "values": [2]}, "ban threads = 2"),
        ({"do": "narrow", "values": [1]}, "pin threads to 1"),
        ({"do": "narrow", "values": [1, 4]}, "narrow threads to 1, 4"),
        ({"parameter": "batch_size", "do": "narrow", "low": "64", "high": "64"}, "pin batch_size to 64"),
        ({"parameter": "batch_size", "do": "narrow", "low": "64", "high": ""}, "narrow batch_size from 64"),
    ],
)
def test_a_heads_menu_makes_an_edit(handle: StubHandle, wanted: dict[str, Any], text: str) -> None:
    assert text in menu_edit(handle, {"parameter": "threads", **wanted}).text


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"do": "free"}, "there is nothing to free"),
        ({"do": "ban", "values": []}, "unmark the values"),
        ({"do": "narrow", "values": []}, "mark at least one"),
        ({"parameter": "batch_size", "do": "narrow", "low": "x", "high": ""}, "'x' is not a number"),
        ({"do": "explode"}, "not a way to steer"),
    ],
)
def test_what_a_head_cannot_do_says_why(handle: StubHandle, wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(TaskError, match=told):
        menu_edit(handle, {"parameter": "threads", **wanted})
    assert handle.edits == ()


def test_a_trial_that_runs_is_a_row(handle: StubHandle) -> None:
    table = TrialTable(Selection(), lambda _do: True)
    page = Page(table)
    table.update(handle, (Trial(0, {}, TrialState.RUNNING, baseline=True),))
    assert page.rows[0][1] == "default, running"
