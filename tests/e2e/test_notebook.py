"""The quickstart notebook through papermill, and notebooks whose runs did not end well."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autotune_nb.resources import shared_folder
from tests.e2e.conftest import in_this_process
from tests.stubs import World, level_data, level_file

pytestmark = pytest.mark.e2e
Cli = Callable[..., subprocess.CompletedProcess[str]]


def outputs(notebook: Path) -> list[Any]:
    """Every output of an executed notebook, as it was saved."""
    return [o for c in nbformat.read(notebook, as_version=4).cells for o in c.get("outputs", [])]


def test_the_saved_notebook_holds_what_the_study_found(world: World, tmp_path: Path) -> None:
    study, out = world.folder, tmp_path / "out" / "q.ipynb"
    source = shared_folder("notebooks") / "01_quickstart.ipynb"
    levels = {level_file(n): level_data(concurrency=n, tokens_per_s=71.25 * n) for n in (1, 2)}
    task = world.task(levels=levels, budget={"baseline": True}).save(tmp_path / "task.yaml")
    arguments = ["-p", "task", str(task), "-p", "study", str(study), "-p", "trials", "3"]
    done = in_this_process("notebook", source, "-o", out, *arguments, "--html")
    assert done.exit_code == 0, done.stderr
    results = json.loads((study / "results.json").read_text())
    assert [t["state"] for t in results["trials"]] == ["complete"] * 3
    # Progress was printed while it ran, a line a level.
    assert "trial 2   level 2/2" in done.stdout

    saved = outputs(out)
    texts = ["".join(o.get("text", "")) for o in saved if o.output_type == "stream"]
    assert any(results["best"]["command"] in text for text in texts)
    assert any(f"Best is trial {results['best']['number']}" in text for text in texts)
    bundles = [o.data for o in saved if "data" in o]
    progress = next(b["text/plain"] for b in bundles if "study: finished (3 complete)" in b.get("text/plain", ""))
    assert len(progress.splitlines()) == 4
    table = next(b for b in bundles if "feasible" in b.get("text/html", ""))
    shown = [float(cell) for cell in re.findall(r"<td>(\d+\.\d+)</td>", table["text/html"])]
    for trial in results["trials"]:
        assert any(cell == pytest.approx(trial["values"]["output_tokens_per_s"], rel=1e-4) for cell in shown)
    chart = next(b["application/vnd.plotly.v1+json"] for b in bundles if "application/vnd.plotly.v1+json" in b)
    # The front joins points of the curves, where more than one is on it.
    curves = [trace for trace in chart["data"] if trace["name"] != "Pareto front"]
    drawn = [x for trace in curves for x in trace["x"] if x is not None]
    measured = [m["output_tokens_per_s"] for t in results["trials"] for m in t["measurements"]]
    assert sorted(drawn) == pytest.approx(sorted(measured))
    page = out.with_suffix(".html").read_text()
    assert "data:image/svg+xml" in page
    assert "Best is trial" in page
    assert out.stat().st_size < 300_000


def test_the_tour_runs_headless_and_leaves_outputs_that_last(world: World, tmp_path: Path) -> None:
    study, out = world.folder, tmp_path / "tour.ipynb"
    source = shared_folder("notebooks") / "02_explore.ipynb"
    parameters = {"threads": [1, 2], "parallel": [1, 2], "flash_attn": ["on", "off"]}
    # The study goes on while the tour bans a value.
    first = f'[ "$(wc -l < "{world.stub.script.parent}/pids")" != 1 ] || sleep 2'
    task = world.task(name="e2e", parameters=parameters, before=first).save(tmp_path / "task.yaml")
    done = in_this_process("notebook", source, "-o", out, "-p", "task", task, "-p", "study", study, "-p", "trials", "2")
    assert done.exit_code == 0, done.stderr
    saved = nbformat.read(out, as_version=4)
    assert "widgets" not in saved.metadata
    pages = [o.get("data", {}).get("text/html", "") for o in outputs(out)]
    # The form as its task, and at the end the study as it was found, its edit among it.
    assert any("name: e2e" in html for html in pages)
    assert "ban flash_attn = off" in pages[-1]
    assert "data:image/svg+xml" in pages[-1]
    assert not any("widget-view" in mime for o in outputs(out) for mime in o.get("data", {}))
    assert out.stat().st_size < 300_000


def write_notebook(path: Path, *sources: str) -> Path:
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(s) for s in sources], metadata=metadata), path)
    return path


def tune_cell(task: Path, study: Path) -> str:
    return f"import autotune_nb as at\nrun = at.tune({str(task)!r}, study={str(study)!r})"


# The next three without a kernel: tests/reports/test_notebook.py.
@pytest.mark.slow
def test_a_run_that_is_not_awaited_fails_the_notebook(cli: Cli, world: World, tmp_path: Path) -> None:
    file = world.task().save(tmp_path / "task.yaml")
    notebook = write_notebook(tmp_path / "n.ipynb", tune_cell(file, world.folder))
    done = cli("notebook", notebook, "-o", tmp_path / "o.ipynb")
    assert done.returncode == 1
    assert "was not awaited" in done.stderr
    assert "await run" in done.stderr


@pytest.mark.slow
def test_a_run_that_was_waited_for_counts_as_awaited(cli: Cli, world: World, tmp_path: Path) -> None:
    cell = tune_cell(world.task(trials=1).save(tmp_path / "task.yaml"), world.folder) + "\nrun.wait();"
    done = cli("notebook", write_notebook(tmp_path / "n.ipynb", cell), "-o", tmp_path / "o.ipynb", "-p", "x", "1")
    assert done.returncode == 0, done.stderr
    assert "has no cell tagged 'parameters'" in done.stdout


@pytest.mark.slow
def test_a_failed_run_fails_the_notebook_also_where_the_cell_hides_it(cli: Cli, world: World, tmp_path: Path) -> None:
    file = world.task("exit:3").save(tmp_path / "task.yaml")
    hide = "try:\n    await run\nexcept Exception:\n    pass"
    notebook = write_notebook(tmp_path / "n.ipynb", tune_cell(file, world.folder), hide)
    done = cli("notebook", notebook, "-o", tmp_path / "o.ipynb")
    assert done.returncode == 1
    assert "no trial of the run in" in done.stderr


def test_a_cell_that_raises_fails_the_notebook_and_says_which(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", "x = 1", "1 / 0")
    done = in_this_process("notebook", notebook, "-o", tmp_path / "o.ipynb")
    assert done.exit_code == 1
    assert "cell 2 failed: ZeroDivisionError" in done.stderr
    assert (tmp_path / "o.ipynb").is_file()


def test_a_notebook_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    done = in_this_process("notebook", tmp_path / "none.ipynb", "-o", tmp_path / "o.ipynb")
    assert done.exit_code == 2
    assert "there is no notebook" in done.stderr


@pytest.mark.parametrize("notebook", sorted(shared_folder("notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_are_kept_without_outputs(notebook: Path) -> None:
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in content.cells)
    assert not content.metadata.keys() & {"widgets", "papermill"}
