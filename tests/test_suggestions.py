"""What a study would try next, as a table and on the command line; studies are replays of small tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.handle import StudyHandle
from autotune_nb.runner.suggestions import SuggestionWarning
from autotune_nb.task.space import point_key
from tests.stubs import open_study

HEAD = "config_id,status,reason,param:slots,param:batch,param:mode,level,gpus,startup_s,duration_s,output_tokens_per_s"


def write_table(folder: Path) -> Path:
    """Write a table of 40 configurations, of which those with 5 slots and mode b were not measured.

    Those with batch 16 run out of memory; throughput has its best at 3 slots and batch 8.
    """
    rows = [f"{HEAD},ttft_p99_s"]
    for number, (slots, batch, mode) in enumerate((s, b, m) for s in range(1, 6) for b in (2, 4, 8, 16) for m in "ab"):
        if (slots, mode) == (5, "b"):
            continue
        start = f"{slots},{batch},{mode}"
        if batch == 16:
            rows.append(f"{number},failed,out of memory: too large,{start},,1,50,,,")
        else:
            speed = 100 - 9 * abs(slots - 3) + 5 * batch + (mode == "b")
            rows.append(f"{number},complete,,{start},1,1,100,60,{speed},0.{slots}{batch}")
    file = folder / "table.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def task_of(table: Path, *, trials: int = 12, **changes: Any) -> at.Task:
    return at.Task.parse(
        {
            "name": "replayed",
            "model": "m",
            "engine": {"kind": "command", "command": "engine --port {port}"},
            "parameters": {"slots": [1, 2, 3, 4, 5], "batch": [2, 4, 8, 16], "mode": ["a", "b"]},
            "workload": {"scenarios": ["dataset"], "concurrency": [1]},
            "objective": "maximize output_tokens_per_s",
            "limits": ["ttft_p99_s <= 0.48"],
            "strategy": "auto",
            "budget": {"baseline": False, "trials": trials},
            "deploy": {"kind": "replay", "table": str(table)},
            **changes,
        }
    )


def finished(folder: Path, name: str = "study", **changes: Any) -> StudyHandle:
    return at.tune(task_of(write_table(folder), **changes), study=folder / name).wait(60)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyHandle]:
    """A finished study of twelve trials, opened from its folder."""
    folder = tmp_path_factory.mktemp("suggestions")
    finished(folder)
    opened = at.open(folder / "study")
    assert isinstance(opened, StudyHandle)
    yield opened


def stored(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def params_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(row) for row in frame[["slots", "batch", "mode"]].to_dict("records")]


def test_the_next_configurations_are_ranked_with_predictions_and_nothing_is_stored(study: StudyHandle) -> None:
    before = stored(study.path)
    frame = study.suggestions(4)
    assert list(frame.columns) == [
        *("output_tokens_per_s", "output_tokens_per_s_low", "output_tokens_per_s_high", "expected_gain_percent"),
        *("slots", "batch", "mode", "ttft_p99_s", "ttft_p99_s_low", "ttft_p99_s_high"),
        *("p_limits", "p_runs", "seconds", "reason"),
    ]
    assert list(frame.index) == [1, 2, 3, 4]
    tried = {point_key(trial.params) for trial in study.history}
    keys = {point_key(params) for params in params_of(frame)}
    assert len(keys) == 4 and not keys & tried
    # A replay can try recorded configurations only.
    assert not [p for p in params_of(frame) if (p["slots"], p["mode"]) == (5, "b")]
    for figure in ("output_tokens_per_s", "ttft_p99_s"):
        assert (frame[f"{figure}_low"] <= frame[figure]).all() and (frame[figure] <= frame[f"{figure}_high"]).all()
    assert frame["expected_gain_percent"].between(0, 100).all()
    assert frame[["p_limits", "p_runs"]].stack().between(0, 1).all()
    assert (frame["seconds"] > 0).all() and frame["reason"].str.len().all()
    assert stored(study.path) == before


def test_the_first_suggestion_is_what_the_study_tries_next(tmp_path: Path) -> None:
    run = finished(tmp_path, trials=9)
    frame = run.suggestions(2)
    pd.testing.assert_frame_equal(frame, at.open(tmp_path / "study").suggestions(2))
    run.set_budget(trials=10)
    resumed = at.open(tmp_path / "study").start().wait(60)  # type: ignore[union-attr]
    assert dict(resumed.history[-1].params) == params_of(frame)[0]
    assert resumed.history[-1].reason.startswith(f"{frame['reason'][1]}; predicted ")


def test_enqueued_configurations_and_excluded_values_are_not_suggested(tmp_path: Path) -> None:
    run = finished(tmp_path, trials=8)
    first = params_of(run.suggestions(1))[0]
    run.enqueue(first)
    run.ban("mode", "a")
    suggested = params_of(run.suggestions(6))
    assert first not in suggested
    assert {params["mode"] for params in suggested} == {"b"}


@pytest.mark.parametrize("n", [0, -1, 101, True, 1.5, "3", None])
def test_a_number_that_is_none_is_refused(study: StudyHandle, n: Any) -> None:
    with pytest.raises(TaskError, match=rf"^n: expected a number of configurations from 1 to 100, not {n!r}$"):
        study.suggestions(n)


def test_before_a_model_can_be_fitted_the_start_is_suggested_with_a_note(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    open_study(task_of(table), tmp_path / "new").folder.release()
    with pytest.warns(SuggestionWarning, match="^no trial has finished, so nothing is predicted"):
        frame = at.open(tmp_path / "new").suggestions(3)
    assert len(frame) == 3
    assert frame["output_tokens_per_s"].isna().all() and frame["reason"].str.startswith("the start").all()
    run = at.tune(task_of(table, trials=3), study=tmp_path / "few").wait(60)
    complete = sum(1 for trial in run.history if trial.score)
    note = f"nothing is predicted: 3 trials have finished, {complete} complete; a model needs 5 finished trials, two of"
    with pytest.warns(SuggestionWarning, match=f"^{note}"):
        run.suggestions(1)


def test_a_model_that_cannot_be_fitted_is_a_note(study: StudyHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(np.linalg, "cholesky", fail)
    # Another handle has not fitted these trials yet.
    study = at.open(study.path)
    complete = sum(1 for trial in study.history if trial.score)
    note = f"nothing is predicted: no model could be fitted to the {complete} complete trials"
    with pytest.warns(SuggestionWarning, match=f"^{note}$"):
        frame = study.suggestions(2)
    assert frame["reason"].str.startswith("without a model").all()


def test_a_space_that_was_tried_whole_has_no_suggestion(tmp_path: Path) -> None:
    run = finished(tmp_path, parameters={"slots": [3], "batch": [8], "mode": ["b"]})
    assert len(run.history) == 1
    with pytest.warns(SuggestionWarning, match="^every other allowed configuration was tried or is enqueued: none is"):
        assert run.suggestions(2).empty


@pytest.mark.parametrize("strategy", ["tpe", "grid"])
def test_a_study_of_another_strategy_has_the_suggestions_of_auto(tmp_path: Path, strategy: str) -> None:
    run = finished(tmp_path, strategy=strategy, trials=10)
    with pytest.warns(SuggestionWarning, match=f"^the study's strategy is {strategy}, which chooses by itself"):
        frame = run.suggestions(2)
    assert frame["output_tokens_per_s"].notna().all()


def test_results_imported_without_a_task_have_no_suggestions(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["import", str(write_table(tmp_path)), "--study", str(tmp_path / "imported")])
    assert result.exit_code == 0
    with pytest.raises(StudyError, match="imported without a task, so it is unknown which configurations are allowed"):
        at.open(tmp_path / "imported").suggestions(3)


def test_skipped_configurations_name_the_failed_trials_that_they_resemble(study: StudyHandle) -> None:
    failed = [str(trial.number) for trial in study.history if trial.failure]
    (text,) = study.skipped()
    found = re.fullmatch(r"\d+ configurations? with .*batch=16.*, like trials? ([\d, and]+): (.*)", text)
    assert found is not None
    assert set(re.findall(r"\d+", found[1])) <= set(failed)
    assert found[2] == "out of memory at start"


def test_the_command_prints_suggestions_below_the_trials(study: StudyHandle) -> None:
    frame = study.suggestions(2)
    result = CliRunner().invoke(cli, ["show", str(study.path), "--suggestions", "2"])
    assert (result.exit_code, result.stderr) == (0, "")
    trials, _, suggested = result.stdout.partition("next configurations, the first one first:\n")
    assert "Best is trial" in trials
    lines = suggested.splitlines()
    first = params_of(frame)[0]
    assert lines[0] == f"   1  slots={first['slots']} batch={first['batch']} mode={first['mode']}"
    assert lines[1].strip() == frame["reason"][1]
    rate = r"output_tokens_per_s [\d.]+ tokens/s \([\d.]+ to [\d.]+ tokens/s\)"
    assert re.match(rf" +predicted: {rate}; ttft_p99_s", lines[2])
    assert "expected gain" in lines[2] and "keeps the limits with a probability of" in lines[2]
    assert lines[-1].startswith("skipped: ")
    data = json.loads(CliRunner().invoke(cli, ["show", str(study.path), "--suggestions", "2", "--json"]).stdout)
    assert [one["slots"] for one in data["suggestions"]] == frame["slots"].to_list()
    assert data["skipped"] == study.skipped()
    assert "suggestions" not in json.loads(CliRunner().invoke(cli, ["show", str(study.path), "--json"]).stdout)
    refused = CliRunner().invoke(cli, ["show", str(study.path), "--suggestions", "0"])
    assert refused.exit_code == 2
    assert "1<=x<=100" in refused.stderr


def test_a_note_is_one_line_on_stderr(tmp_path: Path) -> None:
    finished(tmp_path, strategy="random", trials=6)
    result = CliRunner().invoke(cli, ["show", str(tmp_path / "study"), "--suggestions", "1"])
    assert result.stderr.splitlines() == [
        "note: the study's strategy is random, which chooses by itself: these are what auto would try"
    ]


def test_a_replay_whose_table_is_gone_says_so(tmp_path: Path) -> None:
    finished(tmp_path, trials=6)
    (tmp_path / "table.csv").unlink()
    with pytest.raises(StudyError, match=r"table\.csv"):
        at.open(tmp_path / "study").suggestions(1)
