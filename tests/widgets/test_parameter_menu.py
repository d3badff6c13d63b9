"""Steering from the menu of a parameter and from a brush on an axis: what is offered, made and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.reports.value_axis import ValueAxis
from autotune_nb.task.task import Task
from autotune_nb.widgets._charts import PARALLEL, ChartInput, Charts
from autotune_nb.widgets._parameter_menu import brush_offer, menu_edit, parameter_menus
from autotune_nb.widgets._selection import Selection
from autotune_nb.widgets._value_text import show_value
from tests.conftest import MINIMAL
from tests.widgets.stub_handle import StubHandle, complete

PARAMETERS: dict[str, Any] = {
    "threads": [1, 2, 4, 8],
    "cache": ["f16", "q8", "1", 1, None, {"k": 1}],
    "batch_size": {"type": "int", "low": 32, "high": 512, "step": 32},
    "ratio": {"type": "float", "low": 0.1, "high": 0.9, "step": 0.1},
    "rate": {"type": "float", "low": 1, "high": 1000},
}
TRIALS = tuple(
    complete(n, 10.0 + n, threads=(1, 2, 4)[n % 3], cache=("f16", "q8")[n % 2], batch_size=64 * (n + 1), ratio=0.5)
    for n in range(4)
)


@pytest.fixture
def handle(tmp_path: Path) -> StubHandle:
    engine = {"kind": "command", "command": "server {port}"}
    task = Task.parse({**MINIMAL, "engine": engine, "model": "m", "parameters": PARAMETERS})
    return StubHandle(task, tmp_path, history=TRIALS)


@pytest.mark.parametrize(
    ("axis", "ends", "text", "edit"),
    [
        # Where 64 to 256 were measured, the middle half.
        (("batch_size", 64, 256), (0.25, 0.75), "Narrow batch_size to 128…192", "narrow batch_size from 128 to 192"),
        (("batch_size", 64, 256), (0.5, 1.2), "Narrow batch_size from 160 on", "narrow batch_size from 160"),
        (("batch_size", 64, 256), (-0.1, 0.5), "Narrow batch_size to at most 160", "narrow batch_size to 160"),
        (("batch_size", 64, 256), (0.3, 0.4), "Pin batch_size to 128", "pin batch_size to 128"),
        (("ratio", 0.2, 0.8), (0.3, 0.72), "Narrow ratio to 0.4…0.6", "narrow ratio from 0.4 to 0.6"),
        # A logarithmic axis.
        (("rate", 1.0, 1000.0), (1 / 3, 2 / 3), "Narrow rate to 10…100", "narrow rate from 10 to 100"),
        (("threads", 1, 2, 4), (0.2, 0.9), "Pin threads to 2", "pin threads to 2"),
        # 8 was not measured, and the brush reaches the end.
        (("threads", 1, 2, 4), (0.9, 1.1), "Narrow threads to 4, 8", "narrow threads to 4, 8"),
        (("cache", "f16", "q8", "1"), (0.0, 0.6), "Narrow cache to f16, q8", "narrow cache to f16, q8"),
        (("cache", "1", 1, {"k": 1}), (0.4, 1.0), 'Narrow cache to 1, {"k": 1}', 'narrow cache to 1, {"k": 1}'),
    ],
)
def test_a_brush_on_an_axis_offers_what_it_narrows_to(
    handle: StubHandle, axis: tuple[Any, ...], ends: tuple[float, float], text: str, edit: str
) -> None:
    offer = brush_offer(handle.steering, ValueAxis.of(axis[0], axis[1:]), *ends)
    assert offer is not None
    assert offer.text == text
    assert menu_edit(handle, offer.wanted).text == edit


@pytest.mark.parametrize(
    ("axis", "ends"),
    [
        (("batch_size", 64, 256), (-0.1, 1.1)),
        (("batch_size", 64, 256), (0.51, 0.6)),
        (("threads", 1, 2, 4), (-1.0, 2.0)),
        (("threads", 1, 2, 4), (0.4, 0.6)),
        (("cache", "f16", "q8"), (0.4, 0.6)),
        # The objective, and a parameter of another study.
        (("output_tokens_per_s", 1.0, 2.0), (0.2, 0.6)),
    ],
)
def test_a_brush_that_would_change_nothing_or_leave_nothing_offers_nothing(
    handle: StubHandle, axis: tuple[Any, ...], ends: tuple[float, float]
) -> None:
    assert brush_offer(handle.steering, ValueAxis.of(axis[0], axis[1:]), *ends) is None


def test_a_brush_allows_nothing_that_was_banned(handle: StubHandle) -> None:
    handle.ban("threads", 2)
    offer = brush_offer(handle.steering, ValueAxis.of("threads", (1, 2, 4)), -1, 0.5)
    assert offer is not None
    assert offer.text == "Pin threads to 1"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"do": "pin", "text": " 2 "}, "pin threads to 2"),
        ({"do": "pin", "text": "2, 4"}, "narrow threads to 2, 4"),
        ({"do": "ban", "text": "2, 4"}, "ban threads = 2, 4"),
        ({"parameter": "batch_size", "do": "ban", "text": "64"}, "ban batch_size = 64"),
        ({"parameter": "cache", "do": "pin", "text": '{"k": 1}'}, 'pin cache to {"k": 1}'),
    ],
)
def test_values_may_be_typed(handle: StubHandle, wanted: dict[str, Any], text: str) -> None:
    assert menu_edit(handle, {"parameter": "threads", **wanted}).text == text


@pytest.mark.parametrize("text", ["", "  ", "1.0", "3", "true1", "[", "&a [*a]", ".nan", "9" * 5000, "\x00", "!!x y"])
@pytest.mark.parametrize("do", ["ban", "pin"])
def test_an_invalid_value_is_refused(handle: StubHandle, text: str, do: str) -> None:
    with pytest.raises(TaskError, match=r"^threads: "):
        menu_edit(handle, {"parameter": "threads", "do": do, "text": text})
    assert handle.edits == ()


@pytest.mark.parametrize("value", PARAMETERS["cache"])
def test_every_value_may_be_typed_as_it_is_shown(handle: StubHandle, value: Any) -> None:
    edit = menu_edit(handle, {"parameter": "cache", "do": "pin", "text": show_value(value)})
    assert json.dumps(edit.values) == json.dumps([value])


ENDS = [("500", "40"), ("x", ""), ("nan", ""), ("-inf", "inf"), ("9" * 5000, ""), ("1.2", "1.4"), ("²", ""), ("", "")]


@pytest.mark.parametrize(("low", "high"), ENDS)
def test_an_invalid_range_is_refused(handle: StubHandle, low: str, high: str) -> None:
    with pytest.raises(TaskError, match=r"^batch_size: "):
        menu_edit(handle, {"parameter": "batch_size", "do": "narrow", "low": low, "high": high})
    assert handle.edits == ()


def test_every_parameter_has_a_menu_and_a_long_choice_is_typed(handle: StubHandle) -> None:
    many = Task.parse({**handle.task.model_dump(), "parameters": {"seed": list(range(50)), "threads": [1, 2]}})
    menus = parameter_menus(StubHandle(many, handle.path).steering)
    assert menus["seed"] == {"about": "one of 50 values, such as 0"}
    assert menus["threads"]["left"] == [True, True]


@pytest.fixture
def charts(handle: StubHandle) -> Charts:
    """The charts of the study, with the tab of the parallel coordinates shown."""

    def act(do: Callable[[StubHandle], Any]) -> bool:
        try:
            do(handle)
        except TaskError:
            return False
        return True

    made = Charts(Selection(), lambda: None, act)  # type: ignore[arg-type]
    made.show(PARALLEL)
    made.update(ChartInput(handle, TRIALS, (), dict))
    return made


def brush(charts: Charts, place: int, *ends: float) -> None:
    message = {"kind": "steer", "wanted": {"brush": place, "ends": list(ends)}}
    charts.plots[PARALLEL]._received(None, message, [])


def test_the_axes_of_the_chart_have_menus_and_a_brush_is_accepted_by_a_click(
    handle: StubHandle, charts: Charts
) -> None:
    plot = charts.plots[PARALLEL]
    names = [menu and menu["key"] for menu in plot.menus]
    assert names[-1] is None, "the objective"
    assert set(names) == {"threads", "cache", "batch_size", None}
    place = names.index("batch_size")
    assert charts.offer.layout.display == "none"
    brush(charts, place, 0.5, 1.05)
    assert (charts.offer.description, charts.offer.layout.display) == ("Narrow batch_size from 160 on", None)
    # A box over several axes, or none.
    brush(charts, -1)
    assert charts.offer.layout.display == "none"
    brush(charts, place, 0.5, 1.05)
    charts.offer.click()
    assert [edit.text for edit in handle.edits] == ["narrow batch_size from 160"]
    assert charts.offer.layout.display == "none"
    # The same again changes nothing, which is refused: the offer stays.
    brush(charts, place, 0.5, 1.05)
    charts.offer.click()
    assert charts.offer.layout.display is None
    assert len(handle.edits) == 1
    plot._received(None, {"kind": "steer", "wanted": {"parameter": "threads", "do": "free"}}, [])
    plot._received(None, {"kind": "steer", "wanted": {"parameter": "threads", "do": "ban", "values": [1]}}, [])
    assert [edit.text for edit in handle.edits][1:] == ["ban threads = 1"]
    charts.update(ChartInput(handle, TRIALS, (), dict))
    assert "now without 1" in str(plot.menus)
    assert charts.update(ChartInput(handle, TRIALS, (), dict)) == 0
