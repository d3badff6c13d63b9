"""Tables of many studies, runs with a baseline, and the commands for both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import StudyError
from autotune_nb.study import Study, StudyFolder
from tests.history.samples import FINGERPRINT, Sample, repeated, sample_task


def keep(folder: Path, sample: Sample) -> Path:
    """Write a study of these trials, as a run does at its end."""
    files = StudyFolder(folder)
    files.create()
    files.acquire()
    study = Study.open(sample.task, space_for(sample.task, engine_for(sample.task)), files)
    study.add(sample.history)
    results = study.results(state="finished", elapsed_s=1.0)
    files.write_results(results)
    study.save_run(results)
    study.close()
    files.release()
    return folder


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


TASK = sample_task(budget={"trials": 2})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the studies ``a`` and ``b``, of which the second is slower by 15 %."""
    folder = tmp_path_factory.mktemp("runs")
    keep(folder / "a", repeated(TASK, {None: 100.0, 1: 200.0}))
    newer = {**FINGERPRINT, "engine_version": "0.11.0"}
    keep(folder / "b", repeated(TASK, {None: 85.0, 1: 170.0}, fingerprint=newer))
    return folder


def test_fifty_studies_of_which_three_are_broken_are_fifty_rows(runs: Path, tmp_path: Path) -> None:
    for number in range(47):
        shutil.copytree(runs / "a", tmp_path / f"study-{number:02}")
    for name in ("no-database", "no-task", "text"):
        shutil.copytree(runs / "a", tmp_path / name)
    for file in ("study.db", "results.json"):
        (tmp_path / "no-database" / file).unlink()
    (tmp_path / "no-task" / "task.json").unlink()
    for file in ("study.json", "task.json"):
        (tmp_path / "text" / file).write_text("[1, 2")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").write_text("no study")
    frame = at.studies(tmp_path / "*")
    assert len(frame) == 50
    broken = frame[frame["state"] == "unreadable"]
    assert {Path(str(name)).name for name in broken.index} == {"no-database", "no-task", "text"}
    assert list(frame.index[-3:]) == list(broken.index)
    assert broken["error"].str.len().min() > 20
    fine = frame[frame["state"] == "finished"]
    assert len(fine) == 47
    row = fine.iloc[0]
    assert (row["task"], row["model"], row["engine"], row["version"]) == (
        "test",
        "acme/eight-billion",
        "vllm",
        "0.10.0",
    )
    assert row["gpu"] == "NVIDIA H200, 143771 MiB"
    assert row["best"] == pytest.approx(200.0, rel=0.02)
    assert row["params"] == {"max_num_seqs": 1}
    assert row["verdict"].startswith("Best is trial")
    assert row["created"].year >= 2024
    done = call("studies", tmp_path)
    assert done.exit_code == 0
    assert sum(": unreadable: " in line for line in done.stdout.splitlines()) == 3


def test_folders_lists_and_patterns_name_studies(runs: Path, tmp_path: Path) -> None:
    assert list(at.studies(runs).index) == list(at.studies(str(runs / "*")).index)
    assert list(at.studies([runs / "b"]).index) == [str(runs / "b")]
    # A named folder without a study is a row, and what a pattern does not match is an error.
    (row,) = at.studies(tmp_path / "missing")["error"]
    assert "there is no such folder" in row
    (tmp_path / "loop").symlink_to("loop")
    (row,) = at.studies(tmp_path / "loop")["error"]
    assert "there is no study in" in row
    with pytest.raises(StudyError, match="there is no study that matches"):
        at.studies(tmp_path / "none-*")
    assert call("studies", tmp_path / "none-*").exit_code == 2
    (first, _) = json.loads(call("studies", runs, "--json").stdout)
    assert first["version"] == "0.10.0"


def test_two_studies_are_compared_by_a_command_that_fails_on_a_regression(runs: Path) -> None:
    done = call("compare", runs / "a", runs / "b")
    assert done.exit_code == 0
    assert "different: the engine's version (0.10.0, then 0.11.0)" in done.stdout
    assert "2 worse" in done.stdout
    done = call("compare", runs / "a", runs / "b", "--fail-on-regression", "5%", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["regression"]["outcome"] == "regression"
    assert call("compare", runs / "a", runs / "b", "--fail-on-regression", "40%").exit_code == 0
    assert call("compare", runs / "b", runs / "a", "--fail-on-regression", "5%").exit_code == 0
    for arguments, error in (
        (["--fail-on-regression", "5"], "fail_on_regression: expected a loss between 0 and 100 %"),
        (["--figure", "speed"], "unknown figure 'speed'"),
    ):
        done = call("compare", runs / "a", runs / "b", *arguments)
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
        assert error in done.stderr


def nightly(folder: Path, name: str, rate: float) -> Path:
    """Write a task file, of which a study replays recorded results of this speed, with a confirmation."""
    table, file = folder / f"{name}.csv", folder / f"{name}.yaml"
    head = "config_id,status,reason,param:max_num_seqs,level,gpus,startup_s,duration_s,output_tokens_per_s,ttft_p99_s"
    rows = [
        f"{i},complete,,{seqs},D(16;8) at concurrency 2,1,60,30,{rate * i},0.2" for i, seqs in enumerate(("", 1), 1)
    ]
    table.write_text("\n".join((head, *(row.replace("D(16;8)", '"D(16,8)').replace("y 2,", 'y 2",') for row in rows))))
    sample_task(
        parameters={"max_num_seqs": [1]},
        deploy={"kind": "replay", "table": str(table)},
        confirm={"rounds": 2, "budget": 5},
        workload={**TASK.workload.model_dump(), "concurrency": [2]},
    ).save(file)
    return file


def test_a_run_with_a_baseline_measures_its_best_again_and_fails_on_a_regression(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert call("run", nightly(tmp_path, "fast", 100.0), "--study", first).exit_code == 0
    arguments = ("run", nightly(tmp_path, "slow", 90.0), "--study", second, "--baseline", first, "--json")
    done = call(*arguments, "--fail-on-regression", "5%")
    assert done.exit_code == 3, done.output
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["regression"]["outcome"] == "regression"
    assert f"baseline {first}: regression: the engine's default has 100 tokens/s and then 90 tokens/s" in done.stderr
    # Nobody steered it.
    assert "steered" not in call("run", nightly(tmp_path, "slow", 90.0), "--study", second).output
    assert "Steer" not in at.report(second).to_html()
    (again,) = [
        one
        for one in json.loads(call("show", second, "--json").stdout)["trials"]
        if "baseline" in one.get("reason", "")
    ]
    assert again["reason"] == f"the best configuration of {first}, the baseline"
    assert again["params"] == {"max_num_seqs": 1}
    # The study is complete: the same command only compares again. Without a threshold it reports alone.
    assert call(*arguments).exit_code == 0
    assert call(*arguments, "--fail-on-regression", "20%").exit_code == 0


def test_a_baseline_that_cannot_be_compared_is_refused_before_anything_runs(runs: Path, tmp_path: Path) -> None:
    task = nightly(tmp_path, "task", 100.0)
    done = call("run", task, "--study", tmp_path / "new", "--baseline", runs / "a", "--fail-on-regression", "5%")
    assert done.exit_code == 2
    assert "cannot be compared with this task: " in done.stderr
    assert not (tmp_path / "new").exists()
    done = call("run", task, "--study", tmp_path / "new", "--fail-on-regression", "5%")
    assert done.exit_code == 2
    assert done.stderr == "error: --fail-on-regression needs --baseline, the study to compare with\n"


def test_the_best_of_the_baseline_is_tried_before_the_search(runs: Path, tmp_path: Path) -> None:
    from autotune_nb.history.functions import enqueue_best, require_baseline

    wider = sample_task(parameters={"max_num_seqs": {"type": "int", "low": 1, "high": 64}}, budget={"baseline": False})
    files = StudyFolder(tmp_path / "next")
    files.create()
    study = Study.open(wider, space_for(wider, engine_for(wider)), files, propose=lambda *_: ({"max_num_seqs": 9}, ""))
    baseline = require_baseline(runs / "a", wider)
    for _ in range(2):
        # Resumed, it is not enqueued again.
        enqueue_best(baseline, study)
    asked = [study.ask() for _ in range(2)]
    assert [one.params["max_num_seqs"] for one in asked if one is not None] == [1, 9]


def test_the_notebook_lists_and_compares(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(__file__).parents[2] / "notebooks" / "06_compare.ipynb"
    cells = [cell for cell in json.loads(source.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    names: dict[str, object] = {}
    values = f"before, after, studies = {str(runs / 'a')!r}, {str(runs / 'b')!r}, {str(runs / '*')!r}"
    first = "".join(cells[0]["source"])
    exec(code.replace(first, f"{first}\n{values}"), names)
    assert str(names["compared"]).startswith(str(runs / "a"))
    assert "regression: the engine's default has" in capsys.readouterr().out
