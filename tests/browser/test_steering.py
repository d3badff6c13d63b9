"""Steering in JupyterLab with clicks and keys: the menus of parameters in the table and in the chart, and brushes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stubs import World

from .lab import Notebook

# tests/widgets holds the same at the level of messages.
pytestmark = [pytest.mark.browser, pytest.mark.slow]

PARAMETERS = {"threads": [1, 2], "batch_size": {"type": "int", "low": 32, "high": 512}}


def message(notebook: Notebook) -> str:
    return notebook.page.locator(".at-trial-message").first.inner_text()


def test_a_parameter_is_steered_from_its_axis_and_its_head_and_by_a_brush(
    world: World, notebook: Notebook, tmp_path: Path
) -> None:
    task = world.task(trials=6, parameters=PARAMETERS).save(tmp_path / "task.yaml")
    source = (
        f"import autotune_nb as at\nrun = at.tune({str(task)!r}, study={str(world.folder)!r}).wait()\nat.Monitor(run)"
    )
    notebook.open([source], width=1400, height=1100)
    notebook.run(0)
    page = notebook.page
    page.get_by_role("tab", name="Parameters").click()
    labels = page.locator(".at-chart-plot .xtick text[role=button]")
    notebook.until(lambda: labels.count() == 2, "the labels of the two parameters")

    # A click on the label of an axis opens the same menu as the parameter's head; the keyboard does, too.
    page.get_by_role("button", name="steer batch_size").first.click()
    menu = page.locator(".at-chart [role=dialog]")
    assert "it is from 32 to 512" in menu.inner_text()
    notebook.screenshot(tmp_path / "axis.png")
    page.keyboard.press("Escape")
    assert menu.count() == 0
    labels.first.focus()
    page.keyboard.press("Enter")
    notebook.until(menu.count, "the menu by the keyboard")
    page.keyboard.press("Escape")
    page.locator(".at-chart-plot").get_by_role("button", name="steer batch_size").click()
    menu.get_by_label("low").fill("600")
    menu.get_by_role("button", name="Narrow").click()
    notebook.until(lambda: "low 600 is above high 512" in message(notebook), "the refusal")

    # A brush on the axis selects the trials there and offers to narrow its parameter.
    place = [text.get_attribute("aria-label") for text in labels.all()].index("steer batch_size")
    left, right, top, bottom = page.locator(".at-chart-plot.js-plotly-plot").last.evaluate(
        """(node, place) => { const {xaxis, yaxis} = node._fullLayout, own = node.getBoundingClientRect();
            const x = own.left + xaxis._offset + xaxis.d2p(place), y = v => own.top + yaxis._offset + yaxis.d2p(v);
            return [x - 14, x + 14, y(1.04), y(0.5)]; }""",
        place,
    )
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(right, (top + bottom) / 2, steps=4)
    page.mouse.move(right, bottom, steps=4)
    page.mouse.up()
    offer = page.locator("button.at-chart-offer")
    notebook.until(offer.is_visible, "the offer")
    assert offer.inner_text().startswith("Narrow batch_size from ")
    notebook.screenshot(tmp_path / "brush.png")
    offer.click()
    notebook.until(lambda: "narrow batch_size from " in message(notebook), "the edit")
    notebook.until(lambda: not offer.is_visible(), "no offer any more")

    # The table's head, and the list that also has parameters without a column.
    page.locator(".at-table-bar").get_by_role("button", name="steer").click()
    page.locator(".at-table .at-pop").get_by_role("button", name="batch_size").click()
    table_menu = page.locator(".at-table .at-pop")
    assert "now narrowed from" in table_menu.inner_text()
    table_menu.get_by_role("button", name="Free").click()
    notebook.until(lambda: "free batch_size" in message(notebook), "the second edit")
    page.locator(".at-table th").get_by_role("button", name="steer threads").click()
    free = table_menu.get_by_role("button", name="Free")
    # The menu of a short table is not cut off: what is seen at the button's place is the button.
    assert free.evaluate(
        "e => { const r = e.getBoundingClientRect();"
        " return document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2) === e; }"
    )
    free.click()
    notebook.until(lambda: "nothing to free" in message(notebook), "the second refusal")
    kinds = notebook.value("[edit.kind.value for edit in run.edits]")
    assert kinds == ["narrow", "free"]
    assert notebook.errors == []
