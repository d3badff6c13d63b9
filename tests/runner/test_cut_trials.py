"""Trials that are cut, in replays: what they keep, what is never cut, and where they are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.recorded import RecordedTable
from autotune_nb.results.configurations import configuration_table
from autotune_nb.results.exporting import export
from autotune_nb.search import SearchProblem, observation
from autotune_nb.task.space import SearchSpace
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._header_text import header_html
from tests.runner.test_replay import replay_task, replayed, write_table

#: The fewer threads, the better; those with 4 break the limit under the heavier load.
LATENCY = {"objective": {"direction": "minimize", "figure": "ttft_p99_s", "at": 4}, "limits": ["ttft_p99_s <= 1.3"]}
#: The trial of the default breaks it, and those with 1 thread do.
SLOW_DEFAULT = {"limits": ["ttft_p99_s <= 0.5"]}


def test_trials_are_cut_after_the_level_that_counts(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    run = replayed(tmp_path / "study", table, strategy="grid", **LATENCY)
    # Two are equal, two are worse, two break the limit as well, and two fail.
    states = [(t.params["threads"], str(t.state), len(t.measurements)) for t in run.history]
    assert states == [
        *[(1, "complete", 2)] * 2, *[(2, "cut", 1)] * 2, *[(4, "cut", 1)] * 2, *[(8, "failed", 0)] * 2
    ]  # fmt: skip
    assert [t.measurements[0].level.concurrency for t in run.history[:6]] == [4] * 6
    assert run.elapsed_s == sum(range(100, 106)) + 2 * 90 + 4 * 30 + 2 * 50
    assert run.history[2].cut_reason == (
        "1.2 s under dataset at concurrency 4, the level that counts, where trial 0 has the best, 1.1 s"
    )
    assert run.history[4].cut_reason.startswith("breaks ttft_p99_s <= 1.3 by 8%")
    whole = replayed(tmp_path / "whole", table, strategy="grid", budget={"cut": False}, **LATENCY)
    assert {str(t.state) for t in whole.history} == {"complete", "failed"}
    assert whole.history[0].measurements[0].level.concurrency == 1
    assert whole.verdict == run.verdict
    assert [t.score for t in whole.history] == [t.score for t in run.history]


def test_the_trial_of_the_default_and_repeats_are_not_cut(tmp_path: Path) -> None:
    table = write_table(tmp_path, baseline=True)
    budget = {"baseline": True, "trials": 3}
    run = replayed(tmp_path / "study", table, strategy="grid", budget=budget, **SLOW_DEFAULT)
    assert [str(t.state) for t in run.history] == ["complete", "cut", "cut"]
    # The order is that of all trials.
    assert [one.level.concurrency for one in run.history[0].measurements] == [4, 1]
    run.enqueue(run.history[1].params)
    again = replayed(tmp_path / "study", table, strategy="grid", budget={**budget, "trials": 4}, **SLOW_DEFAULT)
    assert again.history[3].params == again.history[1].params
    assert again.history[3].state is TrialState.COMPLETE


def test_a_cut_trial_and_its_reason_are_shown_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(replay_task(write_table(tmp_path), strategy="grid", budget={"trials": 4}, **LATENCY)))
    done = CliRunner().invoke(cli, ["run", str(file), "--study", str(tmp_path / "study")])
    assert done.exit_code == 0, done.output
    reason = "1.2 s under dataset at concurrency 4, the level that counts, where trial 0 has the best, 1.1 s"
    assert f"cut: {reason}" in done.stderr
    assert f"cut: {reason}" in CliRunner().invoke(cli, ["show", str(tmp_path / "study")]).stdout
    study = at.open(tmp_path / "study")
    assert "2 complete, 2 cut" in repr(study)
    frame = study.trials
    assert list(frame["state"]) == ["complete", "complete", "cut", "cut"]
    assert frame["cut"][2] == reason
    assert reason in at.report(tmp_path / "study").to_html()
    assert "2 cut" in header_html(study)
    goal = study.task.goal
    table = configuration_table(study.history, goal)
    assert [table.cell(row, "cut") for row in table.rows] == [None, None, reason, reason]
    assert [str(table.cell(row, "state"))[-8:] for row in table.rows] == ["complete", "complete", "cut", "cut"]
    # Exported, it is a table that is replayed and imported.
    exported = tmp_path / "out.csv"
    exported.write_text(str(export(study, "csv")))
    recorded = RecordedTable.of_file(exported)
    assert [one.failure for one in recorded.configurations] == [None] * 4
    assert [len(one.measurements) for one in recorded.configurations] == [2, 2, 1, 1]
    assert [one.trials[0].cut_reason for one in recorded.configurations] == ["", "", reason, reason]


def test_the_strategy_learns_what_a_cut_trial_measured(tmp_path: Path) -> None:
    limits = (Limit("ttft_p99_s", "<=", 1.3),)
    objective = Objective("ttft_p99_s", "minimize", Level("dataset", 4), limits)
    space = SearchSpace.of(at.Task.parse(replay_task(write_table(tmp_path))).parameters, [])
    score = Score({"ttft_p99_s": 1.2}, {str(limits[0]): -0.13}, Level("dataset", 4))
    trial = Trial(3, {"threads": 2, "mode": "a"}, TrialState.CUT, score=score)
    seen = observation(trial, SearchProblem(space, (objective,)))
    assert seen == observation(trial.with_(state=TrialState.COMPLETE), SearchProblem(space, (objective,)))
    assert seen.values == (1.2,)
    assert seen.excess == pytest.approx([-0.1])


def test_no_cut_is_an_option_of_run(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(replay_task(write_table(tmp_path), strategy="grid", budget={"trials": 3}, **LATENCY)))
    assert CliRunner().invoke(cli, ["run", str(file), "--study", str(tmp_path / "s"), "--no-cut"]).exit_code == 0
    assert {str(trial.state) for trial in at.open(tmp_path / "s").history} == {"complete"}
