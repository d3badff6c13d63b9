"""The table of configurations under the hands of people who do not wait, in a page of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from autotune_nb.reports.configuration_page import table_script

from .lab import PATIENCE_S

pytestmark = [pytest.mark.browser, pytest.mark.slow]
_PAGE = """
const data = new TableData(), root = document.getElementById("root");
globalThis.selected = [];
globalThis.add = (number) => data.apply({rows: [[number, 0, 0, [number, `state of ${number}`]]]});
const column = (key, kind) => ({key, head: key, kind, group: "trial"});
data.apply({all: true, columns: [column("trial", "number"), column("state", "text")], rows: []});
globalThis.show = (columns) => data.apply({columns: [column("trial", "number"), column("state", "text"), ...columns]});
new TableView(root, data, {select: (numbers) => { globalThis.selected = numbers; }, steer: () => {}});
for (let number = 0; number < 5; number += 1) globalThis.add(number);
"""


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_S * 1000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.set_content("<div id='root' style='width: 600px'></div>")
    opened.add_script_tag(type="module", content=f"{table_script()}\n{_PAGE}")
    rows(opened, 5)
    yield opened
    opened.close()
    assert errors == []


def rows(page: Any, count: int) -> None:
    page.wait_for_function("count => document.querySelectorAll('tr[data-place]').length === count", arg=count)


def add(page: Any, number: int) -> None:
    page.evaluate("number => add(number)", number)
    rows(page, number + 1)


def cell(page: Any, number: int) -> Any:
    return page.get_by_text(f"state of {number}", exact=True)


def test_a_marked_text_a_click_and_a_menu_survive_results_that_arrive_meanwhile(page: Any) -> None:
    marked = "() => getSelection().toString()"
    cell(page, 2).evaluate("cell => getSelection().selectAllChildren(cell)")
    add(page, 5)
    assert page.evaluate(marked) == "state of 2"
    # Double clicks mark a word; they do not open and close the trial.
    cell(page, 2).dblclick()
    assert page.evaluate("() => selected") == [2]
    # The row moves down while the button of the mouse is held.
    box = cell(page, 3).bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    add(page, 6)
    page.mouse.up()
    assert page.evaluate("() => selected") == [3]
    page.get_by_role("button", name="columns").click()
    add(page, 7)
    assert page.get_by_role("dialog").get_by_role("checkbox").count() == 2
    page.keyboard.press("Escape")
    # By the keyboard, the focus stays in its row.
    cell(page, 3).click()
    page.keyboard.press("ArrowDown")
    add(page, 8)
    page.keyboard.press("Enter")
    assert page.evaluate("() => selected") == [2]


def test_a_unit_has_a_line_of_its_own_and_a_menu_and_its_mark_are_beside_their_parameter(page: Any) -> None:
    menu = {"about": "one of a, b", "values": ["a", "b"], "left": [True, False]}
    figure = {"key": "ttft", "head": "TTFT p99", "unit": "s", "kind": "number", "group": "figure"}
    mode = {"key": "mode", "head": "mode", "kind": "text", "group": "parameter", "steer": menu}
    steer = page.get_by_role("button", name="steer", exact=False).first
    assert not steer.is_visible()
    page.evaluate("columns => show(columns)", [figure, mode])
    steer.wait_for()
    assert page.get_by_role("button", name="TTFT p99, s").locator("span").all_inner_texts() == ["TTFT p99", "s"]
    assert page.locator(".at-table .mark").count() == 0
    page.evaluate(
        "columns => show(columns)", [figure, {**mode, "steer": {**menu, "mark": "= a", "now": "pinned to a"}}]
    )
    assert page.get_by_title("mode: pinned to a").inner_text() == "= a"
    own, beside = page.locator("th.steer .sort").bounding_box(), page.locator("th.steer button.steer").bounding_box()
    assert 0 <= beside["x"] - own["x"] - own["width"] < 4


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("(" * 5000, "the filter ends too early"),
        ("not " * 5000, "the filter ends too early"),
        ("state and (b or", "the filter ends too early"),
        ("[.*+?^$]{2}|\\d", "0 of 5 configurations"),
        ("state = '</script><b>'", "0 of 5 configurations"),
        ("trial >= x", "'x' after >= is not a number"),
    ],
)
def test_a_filter_that_is_huge_or_wrong_says_so_and_the_rows_stay_usable(page: Any, typed: str, said: str) -> None:
    page.get_by_role("searchbox").focus()
    page.keyboard.insert_text(typed)
    page.wait_for_function("said => document.querySelector('.at-table [role=status]').textContent === said", arg=said)
    page.get_by_role("searchbox").fill("3")
    rows(page, 1)
    cell(page, 3).click()
    assert page.evaluate("() => selected") == [3]
