"""What the strategy expects of another trial: it ends studies with patience auto, and is shown while they run."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune_nb as at
from autotune_nb import events
from autotune_nb.errors import TaskError
from autotune_nb.runner.live import LiveTrials
from autotune_nb.search import Promise
from autotune_nb.widgets._header_text import header_html
from tests.runner.test_replay import HEAD, replay_task, replayed
from tests.widgets.stub_handle import StubHandle


def write_smooth_table(folder: Path) -> Path:
    """Write a table of 48 configurations whose speed depends smoothly on the threads, and a little on the mode."""
    rows = []
    for threads in range(1, 17):
        for place, mode in enumerate("abc"):
            speed = 100 - (threads - 9) ** 2 / 2 - place
            start = f"{len(rows)},complete,,{threads},{mode}"
            rows.append(f"{start},1,1,60,60,{speed},0.1\n{start},4,1,60,60,{speed},0.1")
    file = folder / "table.csv"
    file.write_text("\n".join((HEAD, *rows)) + "\n")
    return file


def test_patience_auto_ends_a_study_once_another_trial_is_not_worth_its_time(tmp_path: Path) -> None:
    parameters = {"threads": list(range(1, 17)), "mode": ["a", "b", "c"]}
    table, budget = write_smooth_table(tmp_path), {"patience": "auto", "trials": 48}
    run = replayed(tmp_path / "study", table, strategy="auto", parameters=parameters, budget=budget)
    assert 5 <= len(run.history) < 30
    assert run.best_trial is not None
    assert run.best_trial.params["threads"] in (8, 9, 10)
    assert "which is not worth its time after" in run.notices[-1][1]
    # The report has it, also that of the study as it is stored.
    opened = at.open(tmp_path / "study")
    assert run.end_reason == opened.end_reason == run.notices[-1][1]
    assert f"The study is finished: {run.end_reason}" in opened.report().to_html()
    assert run.promise is not None
    assert run.promise.gain < 0.02
    # Without the bound it goes on.
    run.set_budget(patience=None, trials=len(run.history) + 1)
    again = replayed(tmp_path / "study", table, strategy="auto", parameters=parameters, budget=budget)
    assert len(again.history) == len(run.history) + 1


def test_patience_auto_needs_a_strategy_that_predicts(tmp_path: Path) -> None:
    table = write_smooth_table(tmp_path)
    with pytest.raises(TaskError, match=r"^budget.patience: auto needs strategy auto, .* tpe does not: give a number"):
        at.Task.parse(replay_task(table, strategy="tpe", budget={"patience": "auto"}))
    with pytest.raises(TaskError, match=r"^budget.patience: input should be .*'auto'"):
        at.Task.parse(replay_task(table, budget={"patience": "often"}))
    run = replayed(tmp_path / "study", table, parameters={"threads": [1, 2], "mode": ["a"]}, budget={"trials": 1})
    with pytest.raises(TaskError, match="needs strategy auto"):
        run.set_budget(patience="auto")


def test_what_is_expected_of_another_trial_is_shown_in_every_process(tmp_path: Path) -> None:
    class Promising(StubHandle):
        promise: Promise | None = None

    handle = Promising(at.Task.parse(replay_task(write_smooth_table(tmp_path))), tmp_path)
    assert "expected to gain" not in header_html(handle)
    handle.promise = Promise(0.0123, 200.0)
    assert "Another trial of about 3 min is expected to gain 1.2%." in header_html(handle)
    live = LiveTrials(2)
    assert live.to_dict("running")["promise"] is None
    live(events.Predicted(Promise(0.5, 3.0)))
    assert live.to_dict("running")["promise"] == {"gain": 0.5, "seconds": 3.0}
