"""A study whose objective is the highest load that keeps every limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.bench.genai_bench import _files_of_runs
from autotune_nb.cli.main import cli
from autotune_nb.errors import TaskError
from autotune_nb.run import Run
from autotune_nb.runner.attempt import Attempt
from autotune_nb.runner.estimate import estimate
from autotune_nb.runner.trial_cuts import TrialCuts
from autotune_nb.study import Study
from autotune_nb.task.limit_requests import load_lines
from autotune_nb.task.task import Task
from autotune_nb.trial.load import levels_to_score
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import score
from autotune_nb.trial.trial import Trial, TrialState
from tests.bench.test_genai_bench import bench_for
from tests.runner.test_replay import HEAD, replay_task
from tests.stubs import open_study
from tests.study.test_study import asked

SEARCH: dict[str, Any] = {
    "workload": {"scenarios": ["D(16,8)"], "load_search": {"high": 64}},
    "objective": "maximize max_concurrency",
    "limits": ["ttft_p99_s <= 0.5"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Replays four configurations: with 1, 2 and 4 threads they keep the limit up to 4, 16 and 8; 8 has a cliff."""
    folder = tmp_path_factory.mktemp("load")
    rows = []
    for threads, highest in ((1, 4), (2, 16), (4, 8), (8, 16)):
        for load in (1, 2, 4, 8, 16, 32):
            rate = 100 * load / (load + 2) * (0.5 if threads == 8 and load > 4 else 1)
            rows.append(f"{threads},complete,,{threads},{load},0,10,60,{rate},{0.4 * load / highest}")
    (folder / "table.csv").write_text("\n".join([HEAD.replace("param:mode,", ""), *rows]) + "\n")
    data = replay_task(folder / "table.csv", strategy="grid", objective=SEARCH["objective"], limits=SEARCH["limits"])
    workload = {"scenarios": ["dataset"], "load_search": {"high": 32}}
    data |= {"parameters": {"threads": [1, 2, 4, 8]}, "workload": workload}
    return at.tune(at.Task.parse(data), study=folder / "study").wait(60)


def test_the_highest_load_is_the_value_and_its_level_that_of_every_other_figure(run: Run) -> None:
    found = {t.params["threads"]: (t.score.value, str(t.score.level)) for t in run.history if t.score}
    assert found[1] == (4, "dataset at concurrency 4")
    assert found[2] == (16, "dataset at concurrency 16")
    assert run.best is not None
    assert (run.best.params, run.best.values) == ({"threads": 2}, {"max_concurrency": 16})
    # It stops at the first load that breaks the limit.
    assert [m.level.concurrency for m in run.history[0].measurements] == [1, 2, 4, 8]


def test_a_trial_whose_load_stays_below_the_best_is_cut(run: Run) -> None:
    worse = next(t for t in run.history if t.params["threads"] == 4)
    assert (worse.state, worse.cut_reason) == (
        TrialState.CUT,
        "breaks a limit at concurrency 16, where trial 1 keeps them all at 16",
    )


def test_a_cliff_is_reported_as_a_cliff(run: Run) -> None:
    text = "a cliff: the throughput falls by 40% between concurrency 4 and 8"
    (trial,) = (t for t in run.history if t.params["threads"] == 8)
    assert trial.score is not None
    assert trial.score.value == 4
    assert run.trials.loc[trial.number, "notes"] == text
    assert text in CliRunner().invoke(cli, ["show", str(run.folder)]).output
    assert json.loads((run.folder / "results.json").read_text())["best"]["values"] == {"max_concurrency": 16}


def measure(cuts: TrialCuts, highest: int) -> Attempt:
    attempt = Attempt()
    while (level := cuts.next_level(attempt.measurements)) is not None:
        figures = {"ttft_p99_s": 0.5 * level.concurrency / (highest + 0.5), "max_concurrency": float(level.concurrency)}
        attempt.add(Measurement(level, 10.0, 300, 300, 0, figures))
        if cuts.is_enough(attempt.measurements):
            break
    return attempt


def told(study: Study, highest: int) -> Trial:
    trial, goal = asked(study), study.task.goal
    measured = measure(TrialCuts(trial, study), highest).measurements
    scored = score(levels_to_score(measured, goal), goal)
    study.tell(trial.with_(state=TrialState.COMPLETE, score=scored, measurements=tuple(measured)))
    return study.trials[-1]


def test_the_runner_chooses_loads_between_and_repeats_the_ends(make_task: Any, tmp_path: Path) -> None:
    study = open_study(make_task(budget={"baseline": False}, **SEARCH), tmp_path)
    first = told(study, 23)
    assert first.score is not None
    assert 22 <= first.score.value <= 23
    runs = {m.level.concurrency: m.runs for m in first.measurements}
    assert min(load for load, count in runs.items() if count == 2) == first.score.value
    # The next trial begins at half of the best load.
    cuts = TrialCuts(asked(study), study)
    begin = cuts.next_level([])
    assert begin is not None
    assert begin.concurrency == round(first.score.value / 2)
    assert [m.level.concurrency for m in cuts.in_order(first.measurements)] == sorted(runs)
    assert cuts.most_levels == study.task.workload.most_levels >= sum(runs.values())


def test_a_benchmark_that_does_not_ask_ends_at_the_first_load_that_breaks_a_limit(
    make_task: Any, tmp_path: Path
) -> None:
    task = make_task(budget={"baseline": False}, **SEARCH)
    assert [level.concurrency for level in task.workload.levels] == [1, 2, 4, 8, 16, 32, 64]
    study = open_study(task, tmp_path)
    cuts = TrialCuts(asked(study), study)
    kept = Measurement(Level("D(16,8)", 8), 10.0, 9, 9, 0, {"ttft_p99_s": 0.4})
    broken = Measurement(Level("D(16,8)", 16), 10.0, 9, 9, 0, {"ttft_p99_s": 0.6})
    assert not cuts.is_enough([kept])
    assert cuts.is_enough([kept, broken])


def test_every_run_of_a_load_has_its_own_prompts_and_keeps_its_file(make_task: Any, tmp_path: Path) -> None:
    bench = bench_for(make_task(**SEARCH))
    levels = [Level("D(16,8)", load) for load in (1, 2, 3, 40)]
    seeds = [bench._seed((level,), run) for level in levels for run in (0, 1)]
    assert len(set(seeds)) == 8
    (tmp_path / "a_time_10s.json").write_text("1")
    assert _files_of_runs(tmp_path, 0) == {tmp_path / "a_time_10s.json"}
    assert _files_of_runs(tmp_path, 3) == {tmp_path / "run-3-a_time_10s.json"}
    assert _files_of_runs(tmp_path, 4) == {tmp_path / "run-3-a_time_10s.json"}
    assert _files_of_runs(tmp_path / "none", 1) == set()


def test_the_estimate_says_how_many_levels_a_search_takes_at_most(make_task: Any) -> None:
    task = make_task(budget={"trials": 3}, **SEARCH)
    (line,) = load_lines(task)
    assert line.startswith("each trial searches its highest load from 1 to 64: at most 16 levels of up to")
    assert load_lines(make_task()) == ()
    text = str(estimate(task, task.space))
    assert f"3 trials, each with up to {task.workload.most_levels} levels" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"limits": []},
            r"limits: max_concurrency needs a limit that a heavier load breaks, such as ttft_p90_s <= 0.5",
        ),
        ({"limits": ["output_tokens_per_s >= 5"]}, "limits: max_concurrency needs a limit"),
        ({"objective": "minimize max_concurrency"}, "objective: .*: it is maximized"),
        ({"objective": {"direction": "maximize", "figure": "max_concurrency", "at": 1}}, "objective.*"),
        ({"objective": "maximize requests_per_s"}, "workload.load_search: a load search needs the objective maximize"),
        ({"workload": {**SEARCH["workload"], "concurrency": [1, 2]}}, "workload: load_search chooses the concurrency"),
        ({"workload": {**SEARCH["workload"], "scenarios": ["D(1,1)", "D(2,2)"]}}, "workload: load_search needs one"),
        (
            {"workload": {"scenarios": ["D(1,1)"], "load_search": {"low": 8, "high": 4}}},
            "workload.load_search: high is 4",
        ),
    ],
)
def test_what_a_load_search_cannot_do_is_refused(make_task: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=f"^{message}"):
        make_task(**{**SEARCH, **changes})


def test_a_fixed_ladder_may_have_the_objective_too(make_task: Any) -> None:
    workload = {"scenarios": ["D(1,1)", "D(2,2)"], "concurrency": [1, 8, 32]}
    task: Task = make_task(**{**SEARCH, "workload": workload})
    assert task.workload.most_levels == 6
