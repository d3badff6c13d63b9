"""The harness of these tests: kernel versions, widgets, charts, pages and kernels that are closed and restarted."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.image
import psutil
import pytest

from .lab import KERNELS, VERSIONS, Lab, Notebook, plot_points

# Of the product, test_monitor.py holds all of it with the newest kernel: clicks, charts, a reload, a restart.
pytestmark = [pytest.mark.browser, pytest.mark.slow]

BUTTON = """
import ipywidgets
button = ipywidgets.Button(description="Press")
presses = []
def on_click(_):
    presses.append(1)
    button.description = f"Pressed {len(presses)}"
button.on_click(on_click)
button
"""
FIGURE = """
import threading
import numpy as np
import plotly.graph_objects as go
points = go.Scattergl(x=np.float32([1, 2, 3]), y=np.float32([1, np.nan, 9]), mode="markers", name="trials")
points.marker = {"size": 40, "color": "#ff0000"}
figure = go.FigureWidget([points], {"width": 600, "height": 400})
more = threading.Event()
def update():
    more.wait()
    show([1, 2, 3, 4], [1, 5, 9, 13])
def show(x, y):
    with figure.batch_update():
        figure.data[0].x = np.float32(x)
        figure.data[0].y = np.float32(y)
threading.Thread(target=update, daemon=True).start()
figure
"""


def red_pixels(picture: bytes) -> int:
    image = matplotlib.image.imread(io.BytesIO(picture), format="png")
    return int(((image[..., 0] > 0.9) & (image[..., 1] < 0.3) & (image[..., 2] < 0.3)).sum())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kernel_runs_the_version_it_is_named_for_and_a_click_reaches_it_and_comes_back(
    notebook: Notebook, version: str
) -> None:
    notebook.open(["import ipykernel; ipykernel.__version__", BUTTON], f"python-{version}")
    notebook.run(0)
    assert notebook.text(0).startswith(f"'{version}.")
    notebook.run(1)
    notebook.output(1).get_by_role("button", name="Press", exact=True).click()
    notebook.output(1).get_by_role("button", name="Pressed 1").wait_for()
    assert notebook.value("presses") == [1]
    assert notebook.errors == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_chart_draws_its_points_and_a_threads_update_and_is_there_after_a_reload(
    notebook: Notebook, kernel: str
) -> None:
    notebook.open([FIGURE], kernel)
    notebook.run(0)
    chart = notebook.output(0).locator(".js-plotly-plot")
    chart.wait_for()
    (trace,) = plot_points(notebook.page)
    assert (trace["type"], trace["name"], trace["x"], trace["y"]) == ("scattergl", "trials", [1, 2, 3], [1, None, 9])
    few = notebook.until(lambda: red_pixels(chart.screenshot()), "red points in the picture")

    notebook.execute("more.set()")
    notebook.until(lambda: plot_points(notebook.page)[0]["y"] == [1, 5, 9, 13], "the thread's update")
    notebook.until(lambda: red_pixels(chart.screenshot()) > 1.5 * few, "twice the points in the picture")

    # Plotly shows what the figure was when it was displayed, until the next update.
    notebook.reload(lambda: chart.count() and plot_points(notebook.page)[0]["y"], "the chart again")
    notebook.execute("show([1, 2], [3, 4])")
    notebook.until(lambda: plot_points(notebook.page)[0]["y"] == [3, 4], "an update of the chart after the reload")
    assert notebook.errors == []


def test_the_page_can_be_closed_while_the_kernel_works_and_the_kernel_restarted(
    notebook: Notebook, tmp_path: Path
) -> None:
    notebook.open(["mark = 'kept'", BUTTON])
    notebook.run(0)
    notebook.run(1)
    notebook.save()
    notebook.close_page()
    assert notebook.execute("mark += ' on'", "mark") == "kept on"
    notebook.reopen()
    notebook.output(1).get_by_role("button", name="Press").wait_for()

    notebook.theme("JupyterLab Dark")
    assert notebook.screenshot(tmp_path / "dark.png").stat().st_size > 1000
    before = notebook.kernel_process()
    notebook.restart_kernel()
    assert not before.is_running() and notebook.kernel_process().is_running()
    assert notebook.value("'mark' in globals()") is False
    added = notebook.add_and_run("1 / 0", check=False)
    assert "ZeroDivisionError" in notebook.text(added)
    assert '"ename": "ZeroDivisionError"' in notebook.save().read_text()


def test_settings_and_layout_do_not_carry_over_and_failures_say_why(notebook: Notebook) -> None:
    notebook.open(["raise ValueError('on purpose')", "1 + 1"], width=700)
    assert notebook.page.evaluate("() => document.body.dataset.jpThemeName") == "JupyterLab Light"
    assert notebook.page.evaluate("() => window.jupyterapp.shell.leftCollapsed")
    with pytest.raises(AssertionError, match="on purpose"):
        notebook.run(0)
    with pytest.raises(AssertionError, match="NameError"):
        notebook.value("nothing")
    notebook.run(1)
    assert notebook.text(1) == "2"
    notebook.page.evaluate("() => { setTimeout(() => { throw new Error('uncaught') }) }")
    running = notebook.add_and_run("import time\nprint('begun')\nwhile True: time.sleep(0.01)", wait=False)
    notebook.until(lambda: notebook.text(running) == "begun", "the cell's beginning")
    notebook.interrupt_kernel()
    notebook.wait(running, check=False)
    assert "KeyboardInterrupt" in notebook.text(running)
    notebook.until(lambda: any("uncaught" in error for error in notebook.errors), "the page's error")


def test_nothing_that_the_server_started_outlives_it(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path / "other")
    kernel = other.request("api/kernels", "POST", {"name": KERNELS[0]})
    assert kernel["name"] == KERNELS[0]
    started = other.processes()
    assert len(started) >= 2
    other.close()
    assert not [process for process in started if psutil.pid_exists(process.pid) and process.is_running()]
    assert lab.request("api/status")["started"]
