"""A study of the version before the package was rearranged: read, reported, exported and gone on with.

``data/before`` is its folder, with the database as SQL: llama.cpp's default and three of the four configurations of a
grid, and four edits; the fourth configuration is enqueued.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyMismatchError
from autotune_nb.study import StudyFolder
from autotune_nb.study.fingerprint import fingerprint_key
from autotune_nb.study.format import FORMAT
from autotune_nb.study.worker import package_version
from tests.stubs import FakeBench, StubEngine, open_study, until

DATA = Path(__file__).parent / "data" / "before"
RESULTS: dict[str, Any] = json.loads((DATA / "results.json").read_text())
LEFT = {"threads": 2, "flash_attn": "off"}


def rebuilt(folder: Path, models: str = "/srv/models") -> Path:
    """The study's folder, its models in another place where one is named."""
    folder.mkdir()
    texts = {file.name: file.read_text().replace("/srv/models", models) for file in DATA.iterdir()}
    with closing(sqlite3.connect(folder / "study.db")) as database:
        database.executescript(texts.pop("study.sql"))
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(params=["results.json", "study.db"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The study's folder, read from its database or, without that, from its results."""
    folder = rebuilt(tmp_path / "study")
    if request.param == "results.json":
        (folder / "study.db").unlink()
    return folder


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_it_is_opened_with_its_trials_levels_best_and_edits(study: Path) -> None:
    opened = at.open(study)
    assert (opened.state, opened.elapsed_s) == ("finished", pytest.approx(RESULTS["elapsed_s"], abs=0.2))
    kept = {trial["number"]: trial for trial in RESULTS["trials"]}
    assert [(t.number, t.params, t.baseline, " ".join(t.command)) for t in opened.history] == [
        (n, t["params"], t["baseline"], t["command"]) for n, t in kept.items()
    ]
    for trial in opened.history:
        expected = kept[trial.number]
        assert trial.score is not None
        assert (trial.state, trial.score.values, trial.score.limits) == (
            "complete",
            expected["values"],
            expected["limits"],
        )
        assert (trial.seconds, fingerprint_key(trial.fingerprint)) == (expected["seconds"], expected["fingerprint"])
    assert opened.trials["output_tokens_per_s"].to_list() == [t["values"]["output_tokens_per_s"] for t in kept.values()]
    measured = [m for trial in RESULTS["trials"] for m in trial["measurements"]]
    for column in ("concurrency", "ttft_p99_s", "output_tokens_per_s", "num_completed_requests"):
        assert opened.levels[column].to_list() == [m[column] for m in measured]
    assert opened.best is not None
    assert {**vars(opened.best), "manifest": None} == {**RESULTS["best"], "manifest": None}
    assert [edit.to_dict() for edit in opened.edits] == [
        {key: value for key, value in edit.items() if key != "trial"} for edit in RESULTS["edits"]
    ]
    assert opened.queue == [LEFT]
    assert opened.budget.patience == 9


def test_the_command_line_shows_what_its_results_say(study: Path) -> None:
    shown = json.loads(call("show", study, "--json").stdout)
    assert shown.pop("verdict")["outcome"] == "measured_once"
    assert shown.pop("elapsed_s") == pytest.approx(RESULTS["elapsed_s"], abs=0.2)
    assert shown.pop("end_reason", "") == ""
    assert shown == {**{k: v for k, v in RESULTS.items() if k != "elapsed_s"}, "study": str(study)}
    assert RESULTS["best"]["command"] in call("show", study).stdout


def test_it_is_exported(study: Path) -> None:
    assert call("export", study, "--as", "command").stdout == RESULTS["best"]["command"] + "\n"
    assert at.Task.parse(yaml.safe_load(call("export", study, "--as", "yaml").stdout)) == at.open(study).task
    table = call("export", study, "--as", "csv").stdout
    assert len(table.splitlines()) == 1 + sum(len(trial["measurements"]) for trial in RESULTS["trials"])
    assert str(RESULTS["trials"][3]["measurements"][1]["output_tokens_per_s"]) in table


def test_it_is_reported(study: Path) -> None:
    report = at.report(study)
    assert RESULTS["best"]["command"] in report.text()
    page = report.to_html()
    assert "pin threads to 2" in page
    assert "AMD EPYC" in page


def test_its_database_is_taken_up_and_asks_for_the_one_configuration_left(tmp_path: Path) -> None:
    folder = StudyFolder(rebuilt(tmp_path / "study"))
    study = open_study(at.Task.parse(json.loads((DATA / "task.json").read_text())), folder)
    assert study.recover() == []
    trial = study.ask()
    assert trial is not None
    assert (trial.number, trial.params) == (4, LEFT)
    assert study.ask() is None
    study.close()


def test_a_study_of_a_newer_format_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path) -> None:
    folder = rebuilt(tmp_path / "study")
    about = json.loads((folder / "study.json").read_text())
    assert "format" not in about
    (folder / "study.json").write_text(json.dumps({**about, "format": 2, "version": "0.9.0"}))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    commands = [
        ["show", folder],
        ["run", DATA / "task.json", "--study", folder],
        ["check", DATA / "task.json", "--study", folder],
        ["export", folder, "--as", "csv"],
    ]
    for command in commands:
        refused = call(*command, code=2)
        line = refused.stdout if command[0] == "check" else refused.stderr
        assert f"{folder} has format 2, written by autotune_nb 0.9.0; this is autotune_nb" in line
        assert "pip install 'autotune_nb>=0.9.0'" in line
    assert {name: (folder / name).read_bytes() for name in before} == before
    # What the newer version added to the task is not what the error is about.
    task = json.loads((folder / "task.json").read_text())
    (folder / "task.json").write_text(json.dumps({**task, "added_later": 1}))
    assert "has format 2" in call("show", folder, code=2).stderr


def test_a_new_study_has_the_format_and_the_version_that_wrote_it(make_task: Any, tmp_path: Path) -> None:
    open_study(make_task(), tmp_path / "study").close()
    about = json.loads((tmp_path / "study" / "study.json").read_text())
    assert (about["format"], about["version"]) == (FORMAT, package_version())


def test_another_task_is_refused(tmp_path: Path) -> None:
    folder = StudyFolder(rebuilt(tmp_path / "study"))
    data = json.loads((DATA / "task.json").read_text())
    with pytest.raises(StudyMismatchError, match=r"engine\.args differs"):
        open_study(at.Task.parse({**data, "engine": {"kind": "llama_cpp", "args": {"ctx_size": 1024}}}), folder)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubEngine:
    """Stand-ins for llama-server and genai-bench on the PATH, so that the task stays what it was, and its model."""
    programs, models = tmp_path / "bin", tmp_path / "models"
    programs.mkdir()
    models.mkdir()
    for name in ("model.gguf", "tokenizer.json"):
        (models / name).touch()
    engine = StubEngine(tmp_path / "stub")
    server = programs / "llama-server"
    server.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo stand-in && exit\n'
        'while [ "$1" != --port ]; do shift; done\n'
        f"exec {' '.join(engine.argv('$2'))}\n"
    )
    server.chmod(0o755)
    bench = FakeBench(tmp_path / "fake")
    bench.write(bench.both_levels())
    bench.script.rename(programs / "genai-bench")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return engine


def test_a_run_goes_on_with_it(engine: StubEngine, tmp_path: Path) -> None:
    folder = rebuilt(tmp_path / "study", str(tmp_path / "models"))
    task = tmp_path / "task.yaml"
    task.write_text(call("export", folder, "--as", "yaml").stdout)
    assert call("check", task, "--study", folder).exit_code == 0
    ran = json.loads(call("run", task, "--study", folder, "--trials", 5, "--json").stdout)
    assert [(t["number"], t["state"], t["params"]) for t in ran["trials"]] == [
        *((t["number"], t["state"], t["params"]) for t in RESULTS["trials"]),
        (4, "complete", LEFT),
    ]
    before = json.loads(json.dumps(RESULTS).replace("/srv/models", str(tmp_path / "models")))
    for now, then in zip(ran["trials"], before["trials"], strict=False):
        # The model's path is in the fingerprint.
        assert {**now, "fingerprint": ""} == {**then, "fingerprint": ""}
    assert ran["best"] == {**before["best"], "command": ran["best"]["command"]}
    assert json.loads((folder / "results.json").read_text()) == ran
    until(lambda: not engine.alive)
