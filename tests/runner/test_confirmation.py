"""The confirmation of a run, on replayed tables: which starts it has, what it says, and how it continues."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.errors import StudyMismatchError, TaskError
from autotune_nb.results.comparison import compare
from autotune_nb.results.configurations import configuration_table
from autotune_nb.results.exporting import export
from autotune_nb.results.importing import import_results
from autotune_nb.run import Run
from autotune_nb.trial.trial import TrialState
from autotune_nb.verdict import Outcome
from autotune_nb.widgets._header_text import header_html
from autotune_nb.widgets._panels import escaped
from tests.runner.test_replay import replay_task

HEAD = "config_id,status,reason,param:threads,level,gpus,startup_s,duration_s,output_tokens_per_s,ttft_p99_s"


def write_table(folder: Path, speeds: dict[int | None, float], failing: tuple[int, ...] = ()) -> Path:
    """Write a table of one parameter; the default has None."""
    rows = [
        f"{number},failed,out of memory: too large,{threads},4,1,5,,,"
        if threads in failing
        else f"{number},complete,,{threads or ''},4,1,5,10,{speed},{speed / 100}"
        for number, (threads, speed) in enumerate(speeds.items())
    ]
    file = folder / "table.csv"
    file.write_text("\n".join((HEAD, *rows)) + "\n")
    return file


def confirmed(folder: Path, table: Path, **changes: Any) -> Run:
    changes = {
        "parameters": {"threads": [1, 2, 3, 4, 5, 6]},
        "workload": {"scenarios": ["dataset"], "concurrency": [4]},
        "confirm": True,
        **changes,
    }
    changes["budget"] = {"baseline": True, "trials": 7, **changes.get("budget", {})}
    changes["deploy"] = {"noise": 0.02, **changes.get("deploy", {})}
    return at.tune(at.Task.parse(replay_task(table, **changes)), study=folder).wait(60)


FASTER = {None: 100.0, 1: 90.0, 2: 101.0, 3: 130.0, 4: 99.0, 5: 95.0, 6: 98.0}
EQUAL = dict.fromkeys(FASTER, 100.0)


def test_the_finalists_and_the_default_are_started_again_after_the_search(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, FASTER))
    searched = [trial for trial in run.history if trial.confirmation is None]
    again = [trial for trial in run.history if trial.confirmation is not None]
    assert len(searched) == 7
    assert 5 <= len(again) <= 12
    assert (again[0].number, again[0].confirmation, again[0].baseline) == (1, (0, 0), True)
    rounds = Counter(trial.confirmation[0] for trial in again[1:] if trial.confirmation)
    assert rounds[1] == 3, "the default and two finalists"
    assert all(count >= 2 for count in rounds.values())
    assert all(t.params == {"threads": 3} for t in again if t.confirmation and t.confirmation[1] == 1)
    verdict = run.verdict
    assert verdict.outcome is Outcome.BETTER
    assert verdict.gain is not None
    assert verdict.interval is not None
    assert verdict.interval[0] < 0.3 < verdict.interval[1]
    assert 0.2 < verdict.gain < 0.4
    first = min(trial.number for trial in run.history if trial.params == {"threads": 3})
    assert (verdict.recommended, verdict.ties) == (first, (first,))
    assert run.best is not None
    assert run.best.params == {"threads": 3}
    assert f"Trial {first} is better than the engine's default by" in str(verdict)


def test_equal_configurations_have_no_difference_and_the_default_is_recommended(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, EQUAL))
    assert run.verdict.outcome in (Outcome.NO_DIFFERENCE, Outcome.UNDECIDED)
    assert run.verdict.recommended == 0
    assert 0 in run.verdict.ties
    assert run.best is not None
    assert run.best.params == {}


def test_the_verdict_is_the_same_wherever_it_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    run = confirmed(folder, write_table(tmp_path, FASTER))
    results = json.loads((folder / "results.json").read_text())
    stored = results["verdict"]
    assert set(stored) == {
        *("outcome", "gain", "interval", "confidence", "rounds"),
        *("detectable", "recommended", "ties", "text"),
    }
    assert stored["outcome"] == "better"
    assert stored["confidence"] == 0.95
    assert stored == run.verdict.to_dict()
    opened = at.open(folder)
    assert opened.verdict == run.verdict
    shown = CliRunner().invoke(cli, ["show", str(folder)]).output
    assert stored["text"] in shown
    assert at.report(folder).verdict == str(run.verdict)
    assert escaped(run.verdict) in header_html(opened)
    assert f"# {run.verdict}" in str(export(opened, "env")).splitlines()
    assert opened.history == run.history
    assert results["best"]["number"] == stored["recommended"]


def test_a_tie_is_no_slower_alternative_and_the_table_has_the_rounds(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, EQUAL))
    tied = [one for one in run.report().alternatives if one.number in run.verdict.ties]
    assert tied
    assert all(one.reasons[0] == "the confirmation cannot tell it apart" for one in tied)
    rounds = run.trials["round"]
    assert rounds[1] == 0
    assert list(rounds.dropna()) == [trial.confirmation[0] for trial in run.history if trial.confirmation]
    assert rounds.isna().sum() == 7


def test_the_best_and_the_default_are_compared_by_the_rounds_alone(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, FASTER))
    best = run.best_configuration
    assert best is not None
    rounds = [t.score.value for t in run.history if t.score and t.in_round and t.params == {"threads": 3}]
    assert best.values == tuple(rounds)
    found = compare(run.history, run.best_trial, run.task.goal)
    assert found is not None
    assert all(times == f"mean of {len(rounds)} starts" for _, _, times in found.columns)
    others = run.report().alternatives
    assert others
    assert all(one.number not in {t.number for t in run.history if t.in_round} for one in others)


def test_an_export_of_a_confirmed_study_is_imported_as_one_without_a_confirmation(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, FASTER))
    file = tmp_path / "all.csv"
    file.write_text(str(export(run, "csv")))
    found = at.open(import_results(file, tmp_path / "imported").folder)
    assert len(found.history) == len(run.history)
    assert found.verdict.outcome is Outcome.MEASURED_ONCE
    assert "not confirmed" in str(found.verdict)


def test_a_confirmed_study_is_read_from_its_results_alone(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    run = confirmed(folder, write_table(tmp_path, FASTER))
    for file in folder.glob("*.db*"):
        file.unlink()
    opened = at.open(folder)
    assert opened.verdict == run.verdict
    assert opened.results()["verdict"] == run.verdict.to_dict()


def test_a_study_without_a_confirmation_says_measured_once(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, FASTER), confirm=False)
    assert run.verdict.outcome is Outcome.MEASURED_ONCE
    assert "measured once" in str(run.verdict)
    assert len(run.history) == 7
    assert (run.verdict.gain, run.verdict.interval, run.verdict.rounds) == (None, None, 0)


def test_an_interrupted_confirmation_continues_where_it_was(tmp_path: Path) -> None:
    folder, table = tmp_path / "study", write_table(tmp_path, EQUAL)
    whole = confirmed(tmp_path / "whole", table)
    first = confirmed(folder, table, budget={"minutes": 4.2})
    assert [t for t in first.history if t.confirmation is not None and t.confirmation[0] == 2]
    assert len(first.history) < len(whole.history)
    second = confirmed(folder, table)
    assert [(t.params, t.confirmation) for t in second.history] == [(t.params, t.confirmation) for t in whole.history]
    assert second.verdict.to_dict() == whole.verdict.to_dict()
    third = confirmed(folder, table)
    assert len(third.history) == len(whole.history)


def test_more_trials_later_do_not_change_the_confirmation(tmp_path: Path) -> None:
    folder, table = tmp_path / "study", write_table(tmp_path, FASTER)
    first = confirmed(folder, table, budget={"trials": 4})
    verdict = first.verdict
    later = confirmed(folder, table, budget={"trials": 7})
    assert sum(t.confirmation is None for t in later.history) == 7
    assert later.verdict.to_dict() == verdict.to_dict()


@pytest.mark.parametrize("cut", [True, False])
def test_the_rounds_measure_only_the_level_at_which_they_are_compared(tmp_path: Path, cut: bool) -> None:
    rows = [
        f"{number},complete,,{threads or ''},{load},1,5,10,{speed * (1 if load == 4 else 0.4)},1"
        for number, (threads, speed) in enumerate(FASTER.items())
        for load in (1, 4)
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join((HEAD, *rows)) + "\n")
    workload = {"scenarios": ["dataset"], "concurrency": [1, 4]}
    run = confirmed(tmp_path / "study", table, workload=workload, budget={"cut": cut})
    assert {m.level.concurrency for m in run.history[0].measurements} == {1, 4}
    rounds = [trial for trial in run.history if trial.in_round]
    assert all([m.level.concurrency for m in trial.measurements] == [4] for trial in rounds)
    assert all(trial.state is TrialState.COMPLETE for trial in rounds)
    assert run.verdict.outcome is Outcome.BETTER


@pytest.mark.parametrize(("confirm", "state"), [(True, TrialState.COMPLETE), (False, TrialState.CUT)])
def test_a_trial_that_is_worse_by_little_is_not_cut_if_it_may_be_a_finalist(
    tmp_path: Path, confirm: bool, state: TrialState
) -> None:
    rows = [
        f"{number},complete,,{threads},{load},1,5,10,{speed},1"
        for number, (threads, speed) in enumerate({"": 100.0, "1": 99.0, "2": 90.0}.items())
        for load in (1, 4)
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join((HEAD, *rows)) + "\n")
    changes: dict[str, Any] = {
        "parameters": {"threads": [1, 2]},
        "workload": {"scenarios": ["dataset"], "concurrency": [1, 4]},
        "objective": {"direction": "maximize", "figure": "output_tokens_per_s", "at": 4},
        "deploy": {"noise": 0.0},
        "budget": {"trials": 3},
    }
    run = confirmed(tmp_path / "study", table, confirm=confirm, strategy="grid", **changes)
    found = {trial.params.get("threads"): trial.state for trial in run.history if trial.confirmation is None}
    assert found == {None: TrialState.COMPLETE, 1: state, 2: TrialState.CUT}


def test_a_study_may_get_a_confirmation_later_but_not_other_rules(tmp_path: Path) -> None:
    folder, table = tmp_path / "study", write_table(tmp_path, FASTER)
    searched = confirmed(folder, table, confirm=False)
    later = confirmed(folder, table)
    assert later.history[: len(searched.history)] == searched.history
    assert later.verdict.outcome is Outcome.BETTER
    with pytest.raises(StudyMismatchError, match=r"confirm\.alpha differs"):
        confirmed(folder, table, confirm={"alpha": 0.1})


def test_show_and_the_monitor_name_the_rounds(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    run = confirmed(folder, write_table(tmp_path, FASTER))
    shown = CliRunner().invoke(cli, ["show", str(folder)]).output
    assert "same configuration as trial 0, round 1" in shown
    # In the monitor they are rows with an interval.
    table = configuration_table(run.history, run.task.goal, run.task.confirmation)
    confirmed_rows = [row for row in table.rows if table.cell(row, "interval")]
    assert confirmed_rows
    assert all(len(row.trials) > run.verdict.rounds for row in confirmed_rows if "best" in str(row.cells[1]))


def test_minutes_are_kept_for_the_confirmation(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, FASTER), budget={"minutes": 2, "trials": 7})
    assert sum(t.confirmation is None for t in run.history) < 7
    assert run.verdict.rounds >= 1
    assert run.elapsed_s < 2.5 * 60


def test_a_default_that_fails_or_breaks_a_limit_leaves_nothing_to_confirm(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "a", write_table(tmp_path, FASTER), limits=["ttft_p99_s <= 0.99"])
    assert all(trial.confirmation in (None, (0, 0)) for trial in run.history)
    assert run.verdict.outcome is Outcome.MEASURED_ONCE
    assert "breaks ttft_p99_s <= 0.99" in str(run.verdict)


def test_parallel_trials_confirm_after_the_search_has_ended(tmp_path: Path) -> None:
    run = confirmed(tmp_path / "study", write_table(tmp_path, FASTER), deploy={"parallel": 3})
    first = min(t.number for t in run.history if t.confirmation is not None and t.confirmation[0])
    assert all(t.number < first for t in run.history if t.confirmation is None)
    assert run.verdict.outcome is Outcome.BETTER
    assert all(trial.state is TrialState.COMPLETE for trial in run.history)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"confirm": {"rounds": 8}}, "confirm: 8 rounds need at least 17 starts, not 12"),
        ({"confirm": {"rounds": 1}}, "confirm: one round does not show the noise"),
        ({"budget": {"baseline": False}}, "confirm: compares with the engine's default: set budget.baseline to true"),
        ({"confirm": {"alpha": 0}}, "confirm.alpha: "),
        ({"confirm": {"margins": 1}}, "confirm.margins: unknown field; did you mean 'margin'"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(tmp_path: Path, changes: dict[str, Any], error: str) -> None:
    with pytest.raises(TaskError, match=error):
        confirmed(tmp_path / "study", write_table(tmp_path, FASTER), **changes)


def test_the_short_form_has_the_default_rounds(make_task: Any) -> None:
    budget = {"baseline": True}
    assert (
        make_task(confirm=True, budget=budget).confirmation == make_task(confirm={"rounds": 5}, budget=budget).confirm
    )
    assert make_task(confirm={"margin": 0.1}, budget=budget).confirm.rounds == 5
    assert make_task(confirm=False).confirmation is None
    assert make_task().confirmation is None
