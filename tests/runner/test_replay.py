"""Replays of recorded tables: the whole runner in simulated time, on a file and on a finished study."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.deploy.replay import ReplayDeployer
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import RunError, SetupError, StudyError, TaskError
from autotune_nb.history.ab import ab_task
from autotune_nb.recorded import RecordedTable, SimulatedClock
from autotune_nb.recorded.replay import Replay
from autotune_nb.run import Run
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets._header_text import header_html
from autotune_nb.widgets._progress import table_html

HEAD = "config_id,status,reason,param:threads,param:mode,level,gpus,startup_s,duration_s,output_tokens_per_s,ttft_p99_s"


def write_table(folder: Path, *, baseline: bool = False) -> Path:
    """Write a table of eight configurations: those with 8 threads run out of memory, 4 and b are the best."""
    rows = []
    configurations: list[tuple[Any, str]] = [(threads, mode) for threads in (1, 2, 4, 8) for mode in "ab"]
    for number, (threads, mode) in enumerate([*configurations, *([("", "")] if baseline else [])]):
        start = f"{threads},{mode}"
        if threads == 8:
            rows.append(f"{number},failed,out of memory: too large,{start},,1,50,,,")
            continue
        speed = 10 * (threads or 1) + (mode == "b")
        rows += [
            f"{number},complete,,{start},1,1,{100 + number},60,{speed},0.{threads or 1}",
            f"{number},complete,,{start},4,1,{100 + number},30,{2 * speed},1.{threads or 1}",
        ]
    file = folder / "table.csv"
    file.write_text("\n".join((HEAD, *rows)) + "\n")
    return file


def replay_task(table: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "replayed",
        "model": "m",
        "engine": {"kind": "command", "command": "engine --port {port}"},
        "parameters": {"threads": [1, 2, 4, 8, 16], "mode": ["a", "b"]},
        "workload": {"scenarios": ["dataset"], "concurrency": [1, 4]},
        "objective": {"direction": "maximize", "figure": "output_tokens_per_s", "at": 4},
        "strategy": "random",
        **changes,
        "budget": {"baseline": False, **changes.get("budget", {})},
        "deploy": {"kind": "replay", "table": str(table), **changes.get("deploy", {})},
    }


def replayed(folder: Path, table: Path, **changes: Any) -> Run:
    return at.tune(at.Task.parse(replay_task(table, **changes)), study=folder).wait(60)


def facts(trials: tuple[Trial, ...]) -> list[Any]:
    return [(t.params, t.state, t.seconds, t.measurements, str(t.failure)) for t in trials]


def test_a_replayed_grid_finds_the_best_of_the_table_in_simulated_time(tmp_path: Path) -> None:
    run = replayed(tmp_path / "study", write_table(tmp_path), strategy="grid")
    # 16 threads are in the space, but were not recorded.
    assert len(run.history) == 8
    best = run.best_trial
    assert best is not None
    assert best.params == {"threads": 4, "mode": "b"}
    assert best.seconds == {"deploy": 105, "benchmark": 90}
    failed = [trial for trial in run.history if trial.state is TrialState.FAILED]
    assert [(t.params["threads"], str(t.failure), t.seconds) for t in failed] == 2 * [
        (8, "out of memory in deploy: too large", {"deploy": 50})
    ]
    assert run.elapsed_s == sum(range(100, 106)) + 6 * 90 + 2 * 50


def test_everything_that_is_printed_says_replayed(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    # Without a seed, both trials may be some that fail.
    strategy = {"sampler": "random", "seed": 0}
    file.write_text(json.dumps(replay_task(write_table(tmp_path), budget={"trials": 2}, strategy=strategy)))
    done = CliRunner().invoke(cli, ["run", str(file), "--study", str(tmp_path / "study")])
    assert done.exit_code == 0, done.output
    progress = done.stderr.splitlines()[:-1]
    assert progress
    assert all("] REPLAYED " in line for line in progress)
    # Simulated minutes.
    assert re.match(r"\[0[3-8]:", progress[-1])
    assert done.stdout.startswith("REPLAYED from ")
    assert "REPLAYED from" in CliRunner().invoke(cli, ["show", str(tmp_path / "study")]).stdout.splitlines()[0]
    assert "REPLAYED from" in repr(at.open(tmp_path / "study"))
    assert "REPLAYED from" in header_html(at.open(tmp_path / "study"))
    assert "REPLAYED from" in table_html(at.open(tmp_path / "study"))
    assert "REPLAYED from" in at.report(tmp_path / "study").to_html()
    checked = CliRunner().invoke(cli, ["check", str(file)])
    assert "REPLAYED from" in checked.stdout
    assert "8 recorded configurations" in checked.stdout


def test_two_configurations_of_a_table_can_be_compared_one_of_them_the_default(tmp_path: Path) -> None:
    budget, confirm = {"baseline": True}, {"rounds": 2, "budget": 5}
    file = tmp_path / "task.json"
    file.write_text(json.dumps(replay_task(write_table(tmp_path, baseline=True), confirm=confirm, budget=budget)))
    for a, b in (("threads=4,mode=b", "default"), ("default", "threads=4,mode=b")):
        study = tmp_path / f"{a[0]}-{b[0]}"
        done = CliRunner().invoke(cli, ["ab", a, b, "--task", str(file), "--study", str(study), "--json"])
        assert done.exit_code == 0, done.output
        trials = json.loads(done.stdout)["trials"]
        values = {one["baseline"]: one["values"] for one in trials}
        assert values == {True: {"output_tokens_per_s": 20.0}, False: {"output_tokens_per_s": 82.0}}
        assert all(one["params"] in ({}, {"threads": 4, "mode": "b"}) for one in trials)


def test_a_configuration_of_a_table_in_the_place_of_the_default_may_be_compared_with_it(tmp_path: Path) -> None:
    task = at.Task.parse(
        replay_task(write_table(tmp_path, baseline=True), confirm={"rounds": 2}, budget={"baseline": True})
    )
    run = at.tune(ab_task(task, {"threads": 4, "mode": "b"}, {}), study=tmp_path / "ab").wait(60)
    scores = {t.baseline: t.score.value for t in run.history if t.score is not None}
    assert scores == {True: 82.0, False: 20.0}


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_replay_is_deterministic_and_resumes_as_if_uninterrupted(tmp_path: Path, parallel: int) -> None:
    table, deploy = write_table(tmp_path), {"parallel": parallel, "noise": 0.05}
    whole = replayed(tmp_path / "whole", table, deploy=deploy, strategy="grid")
    replayed(tmp_path / "parts", table, deploy=deploy, strategy="grid", budget={"trials": 3})
    parts = replayed(tmp_path / "parts", table, deploy=deploy, strategy="grid")
    assert facts(parts.history) == facts(whole.history)
    assert facts(replayed(tmp_path / "again", table, deploy=deploy, strategy="grid").history) == facts(whole.history)


def test_parallel_trials_overlap_in_simulated_time(tmp_path: Path) -> None:
    run = replayed(tmp_path / "study", write_table(tmp_path), strategy="grid", deploy={"parallel": 8})
    # All start at once; the slowest starts in 105 s.
    assert run.elapsed_s == 105 + 90


def test_minutes_of_the_budget_are_simulated(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    run = replayed(tmp_path / "study", table, strategy="grid", budget={"minutes": 6})
    # 190 s each: a second one would end after 360 s.
    assert len(run.history) == 1
    assert run.notices[-1][1] == ("3 min of the budget of 6 minutes are left, and another trial takes about 3 min")
    # With a larger budget it goes on, to within one trial of the budget.
    run = replayed(tmp_path / "study", table, strategy="grid", budget={"minutes": 11})
    assert len(run.history) == 3
    assert 660 - 192 < run.elapsed_s <= 660


def test_edits_apply_to_a_replay(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    run = replayed(tmp_path / "study", table, budget={"trials": 1})
    run.ban("threads", 8, 1)
    run.enqueue({"threads": 4, "mode": "a"})
    with pytest.raises(TaskError, match="one of the recorded configurations"):
        run.enqueue({"threads": 16, "mode": "a"})
    later = replayed(tmp_path / "study", table).history[1:]
    assert later[0].params == {"threads": 4, "mode": "a"}
    assert {trial.params["threads"] for trial in later} <= {2, 4}


def test_a_finished_study_is_replayed_with_its_baseline(tmp_path: Path) -> None:
    task = replay_task(write_table(tmp_path, baseline=True), budget={"baseline": True}, strategy="grid")
    first = at.tune(at.Task.parse(task), study=tmp_path / "first").wait(60)
    task["deploy"] = {"kind": "replay", "table": str(tmp_path / "first")}
    second = at.tune(at.Task.parse(task), study=tmp_path / "second").wait(60)
    assert facts(second.history) == facts(first.history)
    assert second.history[0].baseline


def test_a_replayed_study_has_the_command_lines_of_the_original(tmp_path: Path) -> None:
    task = at.Task.parse(replay_task(tmp_path / "original"))
    params: dict[str, Any] = {"threads": 1, "mode": "a"}
    # Of an engine that ran on another machine.
    command = ("/opt/engine", "--model", "/models/m", "--threads", "1")
    measured = Measurement(Level("dataset", 4), 9.0, 9, 9, 0, {"output_tokens_per_s": 5.0})
    original = Trial(0, params, TrialState.COMPLETE, (measured,), command=command)
    table = RecordedTable.of_trials("original", [original])
    deployer = ReplayDeployer(task, engine_for(task), Replay(table, SimulatedClock()))
    assert tuple(deployer.command(params)) == command
    # One that was not recorded has the task's.
    assert deployer.command({"threads": 2, "mode": "a"})[0] == "engine"


def test_an_imported_table_is_replayed_by_its_own_task(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    assert CliRunner().invoke(cli, ["import", str(table), "--study", str(tmp_path / "imported")]).exit_code == 0
    task = at.with_overrides(at.open(tmp_path / "imported").task, deploy="replay", table=str(table))
    run = at.tune(task, study=tmp_path / "study").wait(60)
    assert len(run.history) == 8
    assert run.best is not None
    assert run.best.command == ""


def test_noise_is_log_normal_between_starts_and_within(tmp_path: Path) -> None:
    table = RecordedTable.of_file(write_table(tmp_path))
    low, high = Level("dataset", 1), Level("dataset", 4)
    params = {"threads": 4, "mode": "a"}

    def logs(figure: str, level: Level, count: int = 400, **noise: float) -> list[float]:
        replay = Replay(table, SimulatedClock(), seed=1, **noise)
        true = table.configurations[4].measurements[level].figures[figure]
        starts = [replay.start(trial, params) for trial in range(count)]
        found = [start[1].measurement(level) for start in starts if start is not None]
        return [math.log(one.figures[figure] / true) for one in found if one is not None]

    between = logs("output_tokens_per_s", low, noise=0.05)
    assert math.sqrt(sum(x * x for x in between) / 400) == pytest.approx(0.05, rel=0.15)
    # A slow start is slow at every level and in every figure.
    assert logs("output_tokens_per_s", high, noise=0.05) == pytest.approx(between)
    assert logs("ttft_p99_s", low, noise=0.05) == pytest.approx([-x for x in between])
    within = logs("output_tokens_per_s", low, noise=0.0, noise_within=0.05)
    assert math.sqrt(sum(x * x for x in within) / 400) == pytest.approx(0.05, rel=0.15)
    assert logs("output_tokens_per_s", high, noise=0.0, noise_within=0.05) != pytest.approx(within)
    assert set(logs("output_tokens_per_s", low, count=5)) == {0.0}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"workload": {"scenarios": ["dataset"], "concurrency": [1, 9, 4]}},
            r"deploy.table: .* no level .* 9; its lev",
        ),
        ({"budget": {"baseline": True}}, r"budget.baseline: .* has no configuration without parameters"),
        (
            {
                "parameters": {"threads": [7], "batch": [1]},
                "workload": {"scenarios": ["dataset"], "concurrency": [9]},
                "objective": "maximize output_tokens_per_s",
                "limits": [],
            },
            r"none of the 8 configurations .* in the task's space: the task lacks mode, whose recorded values are a, b"
            r"; no value of threads was recorded; the recorded ones are 1, 2, 4, 8; batch was not recorded; "
            r"no level .* 9 was recorded; the recorded ones are ",
        ),
        ({"deploy": {"table": "nothing.csv"}}, "there is no file or study 'nothing.csv'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_a_trial(
    tmp_path: Path, changes: dict[str, Any], error: str
) -> None:
    task = at.Task.parse(replay_task(write_table(tmp_path), **changes))
    with pytest.raises((SetupError, TaskError, StudyError), match=error):
        at.tune(task, study=tmp_path / "study").wait(60)
    (answer,) = at.check(task).answers
    assert not answer.ok


def test_a_table_in_which_everything_failed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f"{HEAD}\n0,failed,,1,a,1,1,5,,,\n1,failed,,2,a,1,1,5,,,\n")
    with pytest.raises(SetupError, match="no measured level: each of its 2 configurations failed"):
        replayed(tmp_path / "study", file)


def test_a_table_without_a_level_or_only_with_failures_fails_the_trials_in_words(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f"{HEAD}\n0,complete,,1,a,1,1,5,6,10,1\n1,complete,,2,a,1,1,5,6,10,1\n1,complete,,2,a,4,1,5,6,,1\n")
    with pytest.raises(RunError, match="no trial completed"):
        replayed(tmp_path / "study", file, strategy="grid")
    reasons = [str(trial.failure) for trial in at.open(tmp_path / "study").history]
    assert "has no dataset at concurrency 4 of this configuration" in reasons[0]
    assert "has no output_tokens_per_s" in reasons[1]


@pytest.mark.parametrize(
    "deploy", [{"kind": "replay"}, {"kind": "local", "table": "x"}, {"kind": "local", "noise": 0.1}]
)
def test_a_table_and_noise_are_for_replays_only(tmp_path: Path, deploy: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match="kind replay"):
        at.Task.parse({**replay_task(tmp_path), "deploy": deploy})
