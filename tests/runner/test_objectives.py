"""A study with several objectives: from the task to the Pareto front, in storage, results, tables and charts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.results.configurations import configuration_table
from autotune_nb.run import Run
from autotune_nb.trial.trial import TrialState
from autotune_nb.widgets._header_text import header_html
from tests.runner.test_replay import replay_task

HEAD = "config_id,status,reason,param:threads,param:mode,level,gpus,startup_s,duration_s,output_tokens_per_s,ttft_p99_s"
RATE, TIME = "output_tokens_per_s", "ttft_p99_s"
#: By threads and mode: throughput and latency. Mode b is dominated, 8 threads run out of memory.
VALUES = {
    (1, "a"): (10, 0.1),
    (2, "a"): (60, 0.12),
    (4, "a"): (70, 0.9),
    (1, "b"): (9, 0.2),
    (2, "b"): (50, 0.5),
    (4, "b"): (60, 1.0),
    (8, "a"): None,
}


def write_table(folder: Path) -> Path:
    rows = [HEAD]
    for number, ((threads, mode), values) in enumerate(VALUES.items()):
        start = f"{threads},{mode}"
        if values is None:
            rows.append(f"{number},failed,out of memory: too large,{start},,1,50,,,")
            continue
        rows += [f"{number},complete,,{start},{load},1,100,60,{values[0] * load},{values[1]}" for load in (1, 4)]
    file = folder / "table.csv"
    file.write_text("\n".join(rows) + "\n")
    return file


def task_of(table: Path, **changes: Any) -> at.Task:
    data = replay_task(table, **{"strategy": "auto", **changes})
    first = data.pop("objective")
    return at.Task.parse({"objectives": [first, f"minimize {TIME}"], **data})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("objectives")
    return at.tune(task_of(write_table(folder)), study=folder / "study").wait(60)


def numbers(run: Run) -> dict[tuple[Any, Any], int]:
    return {(t.params["threads"], t.params["mode"]): t.number for t in run.history}


def test_the_front_its_knee_and_what_is_dominated(run: Run) -> None:
    by = numbers(run)
    assert len(by) == len(VALUES)
    # With budget.cut nothing is cut: a trial that is worse in one objective may be on the front.
    assert TrialState.CUT not in {trial.state for trial in run.history}
    front = run.front
    assert list(front.index) == [by[4, "a"], by[2, "a"], by[1, "a"]]
    assert list(front[RATE]) == [280, 240, 40]
    assert list(front["knee"]) == [False, True, False]
    best = run.best
    assert best is not None
    assert (best.number, best.values) == (by[2, "a"], {RATE: 240, TIME: 0.12})
    assert "--threads 2" in best.command
    trials = run.trials
    assert set(trials.index[trials["pareto"].astype(bool)]) == set(front.index)
    assert str(run.verdict).startswith(
        f"REPLAYED from {run.task.deploy.table}: 3 configurations are on the Pareto front of"
    )
    assert f"Its knee, the best compromise, is trial {by[2, 'a']} with {RATE} 240 tokens/s, {TIME} 120 ms" in str(
        run.verdict
    )


def test_the_storage_has_every_value_and_optuna_finds_the_same_front(run: Run) -> None:
    (name,) = optuna.get_all_study_names(f"sqlite:///{run.folder / 'study.db'}")
    stored = optuna.load_study(study_name=name, storage=f"sqlite:///{run.folder / 'study.db'}")
    assert [d.name for d in stored.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert {one.number for one in stored.best_trials} == set(run.front.index)


def test_results_show_and_an_opened_study_have_the_front(run: Run) -> None:
    written = json.loads((run.folder / "results.json").read_text())
    assert [one["number"] for one in written["front"]] == list(run.front.index)
    assert written["front"][1]["values"] == written["best"]["values"] == {RATE: 240, TIME: 0.12}
    shown = CliRunner().invoke(cli, ["show", str(run.folder)])
    assert shown.exit_code == 0, shown.output
    assert "the Pareto front, 3 configurations; * is its knee" in shown.output
    assert f"is trial {run.best_trial.number} with {RATE} 240 tokens/s" in shown.output  # type: ignore[union-attr]
    opened = at.open(run.folder)
    assert opened.front.equals(run.front)
    again = json.loads(CliRunner().invoke(cli, ["show", str(run.folder), "--json"]).output)
    assert again["front"] == written["front"]


def test_the_report_has_the_front_as_table_and_chart_and_the_hypervolume_over_time(run: Run) -> None:
    report = run.report()
    html = report.to_html()
    assert "no measured configuration is better than one of them in an objective" in html
    assert f"3 configurations are on the Pareto front, trial {run.best_trial.number} is the knee" in html  # type: ignore[union-attr]
    chart = run.chart("front")
    assert set(chart.frame().query("on_front")["number"]) == set(run.front.index)
    assert [trace.name for trace in chart.figure().data] == ["other configurations", "knee", "Pareto front"]
    course = run.chart("history").frame()
    best = course["best_so_far"].dropna()
    assert best.is_monotonic_increasing
    # The ends and the knee dominate most of the box, and any single trial less than all of them.
    assert course["hypervolume"].max() < best.iloc[-1] <= 1
    assert "Hypervolume of the Pareto front" in run.chart("history").title


def test_the_monitor_shows_all_objectives_and_the_front(run: Run) -> None:
    text = header_html(run)
    assert "Pareto front: 3 configurations; its knee: trial" in text
    assert "240 tokens/s, 120 ms" in text
    table = configuration_table(run.history, run.task.goal)
    assert sum(1 for row in table.rows if str(table.cell(row, "state")).endswith("complete, on the Pareto front")) == 3
    assert TIME in [column.key for column in table.columns if column.shown]


def test_patience_counts_trials_that_do_not_change_the_front(tmp_path: Path) -> None:
    table = write_table(tmp_path)

    def tried(patience: int) -> list[tuple[Any, Any]]:
        task = task_of(table, strategy="grid", budget={"patience": patience})
        run = at.tune(task, study=tmp_path / str(patience)).wait(60)
        return [(trial.params["threads"], trial.params["mode"]) for trial in run.history]

    # The third is on the front, although the knee is still the second.
    assert tried(2) == [(1, "a"), (2, "a"), (4, "a"), (1, "b"), (2, "b")]


def test_charts_of_a_single_objective_have_no_front(tmp_path: Path) -> None:
    run = at.tune(at.Task.parse(replay_task(write_table(tmp_path))), study=tmp_path / "study").wait(60)
    with pytest.raises(ValueError, match="and front for several objectives"):
        run.chart("front")
    assert len(run.front) == 1
