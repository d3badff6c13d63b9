"""The size of a notebook with a run of many trials, executed headless and saved by JupyterLab."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from autotune_nb.reports.notebook import execute
from tests.benchmarks.figure import Figure
from tests.benchmarks.samples import stub_task

_TRIALS, _GOAL_KB = 200, 300.0
_CELLS = (
    "import autotune_nb as at\nrun = at.tune({task!r}, study={study!r})",
    "at.Monitor(run)",
    "await run",
    "run.trials",
)


def saved() -> list[Figure]:
    """Return the file's size in both cases, for the same notebook and kind of run."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        work = Path(name)
        headless, live = work / "headless.ipynb", work / "live.ipynb"
        execute(_notebook(work / "a"), headless, parameters={}, report=lambda _line: None)
        _execute_live(_notebook(work / "b"), live)
        parts = {file: _outputs(file) for file in (headless, live)}
        sizes = {file: file.stat().st_size / 1000 for file in (headless, live)}
    return [
        Figure("saved_headless", sizes[headless], _GOAL_KB, f"after {_TRIALS} trials; {parts[headless]}", "KB"),
        Figure("saved_from_a_front_end", sizes[live], _GOAL_KB, f"without widgets' state; {parts[live]}", "KB"),
    ]


def _notebook(work: Path) -> Path:
    """Write a notebook that runs a study of quick trials."""
    work.mkdir()
    task = work / "task.json"
    task.write_text(stub_task(work, trials=_TRIALS, pause_s=0.02).model_dump_json())
    sources = [text.format(task=str(task), study=str(work / "study")) for text in _CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources])
    file = work / "notebook.ipynb"
    nbformat.write(notebook, file)
    return file


def _execute_live(source: Path, target: Path) -> None:
    """Execute a notebook as in JupyterLab: in a live kernel, and without saving the state of widgets."""
    notebook: Any = nbformat.read(source, as_version=4)
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", store_widget_state=False)
    # Hides the warning about missing encryption and the message of the interrupt that ends the kernel.
    client.extra_arguments = ["--IPKernelApp.log_level=50"]
    client.execute(env={**os.environ, "JPY_SESSION_NAME": "benchmark.ipynb"})
    assert "application/vnd.jupyter.widget-view+json" in str(notebook.cells[1].outputs), "the monitor was not live"
    nbformat.write(notebook, target)


def _outputs(file: Path) -> str:
    """Return the size of each cell's outputs as text."""
    notebook: Any = nbformat.read(file, as_version=4)
    assert f"{_TRIALS} complete" in str(notebook.cells[-2].outputs), "the run did not complete all trials"
    sizes = [f"{cell.source.splitlines()[-1].split(' = ')[0]}: {_kilobytes(cell)}" for cell in notebook.cells]
    return f"outputs of {', '.join(sizes[1:])}"


def _kilobytes(cell: Any) -> str:
    return f"{len(nbformat.v4.writes(nbformat.v4.new_notebook(cells=[cell]))) / 1000:.0f} KB"
