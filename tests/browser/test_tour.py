"""The notebook 02_explore.ipynb in JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from autotune_nb.resources import shared_folder

from .lab import Notebook
from .test_monitor import measured_in, text_of

# The tour runs headless in tests/e2e/test_notebook.py; its form and its monitor have tests of their own here.
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_every_cell_of_the_tour_runs_and_shows(
    notebook: Notebook, real_task: Callable[..., Path], tmp_path: Path
) -> None:
    tour = nbformat.read(shared_folder("notebooks") / "02_explore.ipynb", as_version=4)
    parameters = next(cell for cell in tour.cells if "parameters" in cell.metadata.get("tags", []))
    task = real_task(budget={"trials": 3})
    parameters.source = f"task, study, trials = {str(task)!r}, {str(tmp_path / 'study')!r}, None"
    copy = tmp_path / "tour.ipynb"
    nbformat.write(tour, copy)
    notebook.open(copy)
    code = [i for i, cell in enumerate(tour.cells) if cell.cell_type == "code"]
    for index in code:
        notebook.run(index, timeout_s=120)
    form, monitor, opened = code[1], code[2], code[-1]
    assert notebook.output(form).locator(".at-form").count() == 1
    notebook.until(lambda: "finished" in text_of(notebook, "progress"), "the end of the run")
    notebook.until(lambda: measured_in(notebook, monitor) == measured_in(notebook, opened) == 6, "every level in both")
    assert "ban batch_size = 512" in notebook.output(opened).locator(".at-monitor-edits").inner_html()
    assert notebook.errors == []
