"""``autotune-nb report``: the executed notebook, the page, and the errors where there is nothing to report."""

from __future__ import annotations

import copy
import html
import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyNotFoundError
from tests.conftest import MINIMAL
from tests.stubs import World, open_study


def report(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a complete trial and one of the default configuration."""
    world = World(tmp_path_factory.mktemp("report"), copy.deepcopy(MINIMAL))
    at.tune(world.task(budget={"baseline": True}), study=world.folder).wait()
    return world.folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """The test's own copy of the finished study."""
    return shutil.copytree(finished, tmp_path / "study")


def test_it_writes_an_executed_notebook_and_a_page_that_loads_nothing(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "out.ipynb"
    page_file = out.with_suffix(".html")
    page_file.parent.mkdir()
    page_file.write_text("mine")
    result = report(study, "-o", out, "--html")
    assert result.exit_code == 2
    assert result.stderr == f"error: {page_file} already exists; overwrite it with --force, or choose another -o\n"
    assert page_file.read_text() == "mine"
    assert not out.exists()
    result = report(study, "-o", out, "--html", "--force")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-2:] == [f"wrote {out}", f"wrote {out.with_suffix('.html')}"]
    notebook: Any = nbformat.read(out, as_version=4)
    nbformat.validate(notebook)
    bundles = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert "Best is trial" in bundles[0]["text/html"]
    charts = [bundle for bundle in bundles if "application/vnd.plotly.v1+json" in bundle]
    assert charts
    assert all("data:image/svg+xml" in bundle["text/html"] for bundle in charts)
    page = page_file.read_text()
    assert not re.search(r"<script[^>]* src=|<link|@import", page)
    assert len(page) < 6_000_000
    assert page.index("Best is trial") < page.index("<img ") < page.index("<h3>Reproduce")
    assert f"run = at.tune(task, study={'runs/study-again'!r})" in page.replace("&#39;", "'")


def test_a_study_with_a_lost_database_is_reported_from_its_results_with_a_note(study: Path, tmp_path: Path) -> None:
    (study / "study.db").unlink()
    result = report(study, "-o", tmp_path / "out.ipynb", "--html")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"note: {study / 'study.db'} is missing; ")
    assert "Best is trial" in (tmp_path / "out.html").read_text()
    assert not (study / "study.db").exists()


@pytest.mark.parametrize("page", [(), ("--html",)])
def test_the_notebook_cannot_have_the_name_of_a_page(study: Path, tmp_path: Path, page: tuple[str, ...]) -> None:
    result = report(study, "-o", tmp_path / "out.html", *page)
    assert result.exit_code == 2
    assert "the output must be a notebook, not " in result.stderr
    assert list(tmp_path.glob("out.*")) == []
    (tmp_path / "file").touch()
    result = report(study, "-o", tmp_path / "file" / "out.ipynb")
    assert result.stderr.endswith(f"out.ipynb cannot be written: {tmp_path / 'file'}: File exists\n")


def test_a_folder_without_a_study_is_reported_before_anything_is_written(tmp_path: Path) -> None:
    result = report(tmp_path / "none", "-o", tmp_path / "out.ipynb")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no study in ")
    assert not (tmp_path / "out.ipynb").exists()
    with pytest.raises(StudyNotFoundError):
        at.report(tmp_path / "none")


def test_a_study_whose_trials_all_failed_and_one_without_trials_are_reported(world: World, tmp_path: Path) -> None:
    failing = at.tune(world.task("exit:3"), study=world.folder)
    with pytest.raises(at.RunError):
        failing.wait()
    content = at.report(world.folder)
    assert content.verdict.startswith("No trial completed. Trial ")
    assert "What failed" in content.to_html()
    result = report(world.folder, "-o", tmp_path / "failed.ipynb", "--html")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "failed.html").read_text()
    assert page.index("No trial completed. Trial 1: ") < page.index("What failed") < page.index("<h3>Environment")
    assert content.trials[1].failure is not None
    assert page.count(html.escape(content.trials[1].failure.message)) >= 2
    assert "<img " not in page
    empty = world.folder.with_name("empty")
    open_study(world.task(), empty).close()
    assert at.report(empty)._repr_mimebundle_()["text/plain"] == "No trial completed."
    page = at.report(empty).to_html()
    assert page.index("No trial completed.") < page.index("no trials yet") < page.index("<h3>Task")
    assert "<img " not in page


@pytest.mark.parametrize(
    "damage",
    [
        {"best": [1]},
        {"best": {"x": 1}},
        {"elapsed_s": "long"},
        {"trials": None},
        {"edits": None},
        {"fingerprints": [1]},
    ],
)
def test_a_damaged_summary_is_read_from_the_database(study: Path, damage: dict[str, Any]) -> None:
    file = study / "results.json"
    whole = at.report(study)
    text = json.loads(file.read_text())
    file.write_text(json.dumps({**text, **damage}))
    assert at.report(study).verdict == whole.verdict
    assert CliRunner().invoke(cli, ["show", str(study)]).exit_code == 0
    text["trials"][1]["params"], text["trials"][0]["seconds"] = [1], {"deploy": None}
    file.write_text(json.dumps(text))
    assert at.report(study).verdict == whole.verdict


def test_a_damaged_database_is_reported_in_one_line(study: Path, tmp_path: Path) -> None:
    (study / "results.json").unlink()
    with sqlite3.connect(study / "study.db") as connection:
        connection.execute("""update trial_user_attributes set value_json = '{"a": 1}'""")
    connection.close()
    result = report(study, "-o", tmp_path / "out.ipynb")
    assert result.exit_code == 2
    assert "study.db is damaged: KeyError" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_report_of_a_live_run_and_of_its_folder_are_equal(world: World) -> None:
    run = at.tune(world.task(), study=world.folder).wait()
    live, stored = run.report(), at.report(world.folder)
    assert live.to_html() == stored.to_html()
    assert live._repr_mimebundle_() == stored._repr_mimebundle_()


def test_each_kind_of_chart_and_its_data_are_available(world: World) -> None:
    run = at.tune(world.task(trials=3), study=world.folder).wait()
    assert sorted(run.chart().frame()["number"].unique()) == [0, 1, 2]
    assert len(run.chart("history").frame()) == 3
    assert run.importances == {}
    assert run.chart("importance").frame().empty
    with pytest.raises(ValueError, match="there is no chart 'pie'"):
        run.chart("pie")  # type: ignore[arg-type]
