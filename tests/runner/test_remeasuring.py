"""The engine's default is measured again: when, and how it is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.runner.budget import BudgetCheck
from autotune_nb.runner.remeasuring import default_is_due
from autotune_nb.study import Study
from tests.runs import ran
from tests.stubs import World, open_study
from tests.study.test_study import completed, failed


@pytest.fixture
def study(make_task: Any, tmp_path: Path) -> Callable[..., Study]:
    def opened(others: int, each_s: float, strategy: str = "random", **budget: Any) -> Study:
        """A study whose default and so many other trials have ended."""
        one = open_study(make_task(budget=budget, strategy=strategy), tmp_path)
        for _ in range(1 + others):
            trial = one.ask()
            assert trial is not None
            one.tell(completed(trial, 10).with_(seconds={"benchmark": each_s}))
        return one

    return opened


def due(study: Study, **known: Any) -> bool:
    return default_is_due(study, **{"running": 0, "elapsed_s": 0.0, **known})


def test_the_last_trial_of_a_long_budget_is_the_default(study: Callable[..., Study]) -> None:
    one = study(8, 60, trials=10)
    assert due(one)
    # With another one that runs, the budget is spent.
    assert not due(one, running=1)
    one.tell(completed(one.ask_default(), 10))
    assert not due(one)


@pytest.mark.parametrize(
    ("others", "each_s", "options"),
    [
        (7, 60, {"trials": 10}),
        (8, 10, {"trials": 10}),
        (3, 600, {"trials": 5}),
        (8, 60, {"trials": 10, "remeasure_default": False}),
    ],
)
def test_a_short_or_small_study_is_as_the_budget_says(
    study: Callable[..., Study], others: int, each_s: float, options: dict[str, Any]
) -> None:
    assert not due(study(others, each_s, **options))


def test_a_study_that_ends_before_its_budget_is_spent_measures_it_again(study: Callable[..., Study]) -> None:
    one = study(5, 90, trials=20, minutes=60)
    assert not due(one)
    assert due(one, at_end=True)
    assert not due(one, at_end=True, elapsed_s=3600)
    # Another trial of the default still fits into the minutes.
    assert due(one, elapsed_s=3600 - 150)


def test_it_is_measured_hourly_while_trials_are_left(study: Callable[..., Study]) -> None:
    assert due(study(4, 1000, trials=30))


def test_a_grid_stays_whole_unless_the_task_asks_for_it(study: Callable[..., Study]) -> None:
    assert not due(study(3, 600, strategy="grid", trials=5))


def test_failures_end_a_study_without_the_default(study: Callable[..., Study]) -> None:
    one = study(0, 600, trials=20)
    for _ in range(5):
        trial = one.ask()
        assert trial is not None
        one.tell(failed(trial).with_(seconds={"deploy": 600}))
    assert not due(one, at_end=True)
    check = BudgetCheck(one, None)
    assert not check.fails_repeatedly  # as a resumed study, whose cause may be removed
    for _ in range(5):
        trial = one.ask()
        assert trial is not None
        one.tell(failed(trial))
    assert check.fails_repeatedly


def test_a_short_study_that_asks_for_it_ends_with_the_default(world: World) -> None:
    budget = {"trials": 3, "baseline": True, "remeasure_default": True}
    runner = ran(world, world.task(budget=budget))
    assert [trial.baseline for trial in runner.trials] == [True, False, True]
    assert runner.trials[2].reason == "measured again, to find drift of the machine"
    assert runner.notices[-1] == "the budget of 3 trials is spent"
    # A run that is started again has nothing left to do.
    assert len(ran(world, world.task(budget=budget)).trials) == 3


def test_a_default_that_drifted_is_reported_when_it_is_measured(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_nb.runner.cautions.drift_text", lambda trials: f"drift of {len(trials)} trials")
    budget = {"trials": 3, "baseline": True, "remeasure_default": True}
    notices = ran(world, world.task(budget=budget)).notices
    assert "drift of 3 trials" in notices
