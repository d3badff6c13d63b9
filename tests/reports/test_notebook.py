"""Notebooks executed headless: what they need not name, what widgets captured, and parameters of the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import RunError
from autotune_nb.reports import notebook as notebooks
from autotune_nb.reports.notebook import _run_problem
from autotune_nb.runner.progress import LEDGER_VARIABLE, Ledger
from tests.reports.test_notebook_input import cell, written
from tests.stubs import World, until

WIDGETS = """import ipywidgets as w
inner, out = w.Output(), w.Output()
with inner:
    print('level 1 done')
with out:
    print('level 2 done')
w.VBox([w.HBox([inner]), out])"""


def execute(notebook: Path, *arguments: object) -> Result:
    return CliRunner().invoke(
        cli, ["notebook", *map(str, (notebook, "-o", notebook.with_name("{x}.ipynb"), *arguments))]
    )


def texts(notebook: Path) -> list[Any]:
    return [one.text for c in nbformat.read(notebook, as_version=4).cells for one in c.outputs if "text" in one]


def test_a_notebook_without_kernel_with_output_widgets_and_parameters_of_both_kinds(tmp_path: Path) -> None:
    own = cell("study: str = 'x'\ntrials = 3", metadata={"tags": ["parameters"]})
    file = written(tmp_path / "n.ipynb", own, cell("print(repr(study), trials, repr(tag))"), cell(WIDGETS), minor=4)
    arguments = ("-p", "study", "20251127", "-p", "trials", 9, "-r", "tag", "7", "--html")
    result = execute(file, *arguments)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[:2] == [
        f"note: {file} names no language; Python is assumed",
        f"note: {file} does not set 'tag' in its cell tagged 'parameters'; known are study, trials",
    ]
    out = tmp_path / "{x}.ipynb"
    assert texts(out) == ["'20251127' 9 '7'\n", "level 1 done\n", "level 2 done\n"]
    saved = json.loads(out.read_text())
    assert "widgets" not in saved["metadata"]
    assert saved["metadata"]["papermill"]["input_path"] == str(file)
    assert "level 1 done" in (tmp_path / "{x}.html").read_text()


def test_a_killed_kernel_leaves_no_older_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def killed(*_: object, **__: object) -> None:
        raise RuntimeError("Kernel died")

    monkeypatch.setattr("papermill.execute_notebook", killed)
    file, out = written(tmp_path / "n.ipynb", cell("1 + 1")), written(tmp_path / "out.ipynb", cell("'older'"))
    with pytest.raises(RunError, match="kernel ended: Kernel died"):
        notebooks.execute(file, out, parameters={}, report=lambda _line: None, save_each_cell=False)
    assert [one.source for one in nbformat.read(out, as_version=4).cells] == ["1 + 1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "('c'", "x"), "is not the name of a parameter"),
        (("-r", "a b", "x"), "is not the name of a parameter"),
        (("-p", "x", 1, "-r", "x", 1), "'x' is given with -p and with -r; give it once"),
    ],
)
def test_wrong_parameters_are_refused_before_a_kernel_starts(
    arguments: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    result = execute(written(tmp_path / "n.ipynb", cell("x = 1")), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["n.ipynb"]


def test_a_notebook_in_another_language_is_refused(tmp_path: Path) -> None:
    metadata = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    result = execute(written(tmp_path / "n.ipynb", cell("x <- 1"), metadata=metadata))
    assert result.exit_code == 2
    assert "is a notebook in r; only Python notebooks can be executed" in result.stderr


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """The ledger of runs in this process, which is that of a notebook's kernel."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    monkeypatch.setenv(LEDGER_VARIABLE, str(ledger.path))
    return ledger


def problem_in(ledger: Ledger) -> str | None:
    entries, _ = ledger.read()
    return _run_problem(entries)


def test_a_run_is_a_problem_of_its_notebook_until_it_is_waited_for(world: World, ledger: Ledger) -> None:
    run = at.tune(world.task(trials=1), study=world.folder)
    until(lambda: run.state == "finished")
    unawaited = f"the run in {world.folder} was not awaited: end its cell with 'await run'"
    assert problem_in(ledger) == unawaited
    run.wait()
    assert problem_in(ledger) is None


def test_a_failed_run_is_a_problem_of_its_notebook_also_where_a_cell_hides_it(world: World, ledger: Ledger) -> None:
    with pytest.raises(RunError):
        at.tune(world.task("exit:3", trials=1), study=world.folder).wait()
    assert problem_in(ledger) == f"no trial of the run in {world.folder} completed"
