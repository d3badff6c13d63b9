"""When a run ends: patience, trials that keep failing, and trials that all break a limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import Failure, FailureKind, TaskError
from autotune_nb.runner.budget import BudgetCheck, predicted_seconds, spent_budget
from autotune_nb.runner.cost_budget import is_cost_spent
from autotune_nb.runner.estimate import cost_lines, estimate
from autotune_nb.study import Study
from autotune_nb.trial.cost import usd_text
from autotune_nb.trial.trial import Trial, TrialState
from tests.stubs import open_study
from tests.study.test_study import asked, completed, failed

LIMIT = "ttft_p99_s <= 0.5"


@pytest.fixture
def study(make_task: Any, tmp_path: Path) -> Callable[..., Study]:
    def opened(**budget: Any) -> Study:
        limits = ["ttft_p99_s <= 0.5"]
        task = make_task(budget={"baseline": False, "trials": 200, **budget}, strategy="random", limits=limits)
        return open_study(task, tmp_path)

    return opened


def crashed(trial: Trial, message: str = "it ended with exit code 3") -> Trial:
    failure = Failure(FailureKind.CRASH, "deploy", message, ("cannot start",))
    return trial.with_(state=TrialState.FAILED, failure=failure)


def spent(study: Study, **known: Any) -> str | None:
    return spent_budget(study, **{"previously_ended": 0, **known})


def test_patience_counts_trials_in_the_order_in_which_they_end(study: Callable[..., Study]) -> None:
    one = study(patience=2)
    slow, quick, other = asked(one), asked(one), asked(one)
    one.tell(completed(quick, 10))
    one.tell(completed(other, 9))
    assert spent(one) is None
    # The best has the lowest number and is the last to end.
    one.tell(completed(slow, 30))
    assert spent(one) is None
    one.tell(completed(asked(one), 11))
    assert spent(one) is None
    one.tell(completed(asked(one), 12))
    assert spent(one) == "2 trials brought no improvement"
    # A reopened study has the same order.
    assert [trial.number for trial in open_study(one.task, one.folder).ended] == [1, 2, 0, 3, 4]


def test_trials_that_fail_in_the_same_way_end_the_study_with_that_reason(study: Callable[..., Study]) -> None:
    one = study()
    for number in range(5):
        assert spent(one) is None
        one.tell(crashed(asked(one), f"it ended with exit code {number}"))
    assert spent(one) == (
        "5 trials in a row failed in the same way: crash in deploy: it ended with exit code 4 | cannot start; "
        "remove the cause and run it again, or raise budget.max_failures"
    )
    # Those of a previous run do not count: their cause may be gone.
    assert spent(one, previously_ended=5) is None


def test_failures_of_different_kinds_are_not_the_same(study: Callable[..., Study]) -> None:
    one = study()
    for _ in range(4):
        one.tell(crashed(asked(one)))
        one.tell(failed(asked(one)))
    assert spent(one) is None


def test_a_configuration_that_completed_lifts_the_default_but_not_a_given_bound(study: Callable[..., Study]) -> None:
    one = study()
    one.tell(completed(asked(one), 10))
    for _ in range(9):
        one.tell(failed(asked(one)))
    assert spent(one) is None
    other = study(max_failures=9)
    assert (spent(other) or "").startswith("9 trials in a row failed in the same way: out of memory in deploy")


def test_the_default_configuration_alone_does_not_lift_the_default(study: Callable[..., Study]) -> None:
    one = study(baseline=True)
    one.tell(completed(asked(one), 10))
    for _ in range(5):
        one.tell(crashed(asked(one)))
    assert (spent(one) or "").startswith("5 trials in a row failed in the same way")


def test_patience_ends_a_study_without_a_best(study: Callable[..., Study]) -> None:
    one = study(patience=3)
    for _ in range(3):
        assert spent(one) is None
        one.tell(crashed(asked(one)))
    assert spent(one) == (
        "3 trials in a row failed in the same way: crash in deploy: it ended with exit code 3 | cannot start"
    )
    assert spent(one, previously_ended=3) is None


def test_patience_ends_a_study_whose_trials_all_break_a_limit(study: Callable[..., Study]) -> None:
    one = study(patience=3)
    one.tell(completed(asked(one), 10, violation=0.25))
    one.tell(crashed(asked(one)))
    assert spent(one) is None
    one.tell(completed(asked(one), 10, violation=0.5))
    assert spent(one) == f"none of 3 trials kept every limit, 1 of them failed; broken: {LIMIT}"
    # What was measured counts in a later run too.
    assert spent(one, previously_ended=3) is None
    one.tell(completed(asked(one), 10, violation=0.5))
    assert spent(one, previously_ended=3) == f"none of 3 trials kept every limit; broken: {LIMIT}"


def test_patience_of_failures_that_differ_shows_the_last_one(study: Callable[..., Study]) -> None:
    one = study(patience=2)
    one.tell(failed(asked(one)))
    one.tell(crashed(asked(one)))
    assert spent(one) == "none of 2 trials completed; the last one: crash in deploy: it ended with exit code 3"


def test_the_first_bound_is_the_reason(study: Callable[..., Study]) -> None:
    one = study(trials=1, minutes=1)
    assert spent(one, elapsed_s=59) is None
    assert spent(one, elapsed_s=60) == "the budget of 1 minutes is spent"
    assert spent(one, elapsed_s=60, running=1) == "the budget of 1 trial is spent"


def test_invalid_measurements_of_different_levels_are_one_reason(study: Callable[..., Study]) -> None:
    """On a machine that is overloaded one level or the other has no requests, each in its own words."""
    one = study()
    for number in range(5):
        assert spent(one) is None
        message = "no request completed" if number % 2 else "genai-bench continued without figures for D(16,8)"
        failure = Failure(FailureKind.MEASUREMENT, "benchmark", message)
        one.tell(asked(one).with_(state=TrialState.FAILED, failure=failure))
    assert (spent(one) or "").startswith("5 trials in a row failed in the same way: measurement in benchmark")


def test_nothing_is_predicted_once_the_budget_is_spent(study: Callable[..., Study]) -> None:
    class Proposals:
        asked = 0

        def promise(self, *_: object) -> None:
            self.asked += 1

    one, proposals = study(trials=2, minutes=10), Proposals()
    check = BudgetCheck(one, proposals)  # type: ignore[arg-type]
    one.tell(completed(asked(one), 10))
    check.predict(running=0, elapsed_s=0.0)
    assert proposals.asked == 1
    check.predict(running=1, elapsed_s=0.0)
    check.predict(running=0, elapsed_s=600.0)
    one.tell(completed(asked(one), 10))
    check.predict(running=0, elapsed_s=0.0)
    assert proposals.asked == 1


def test_waits_are_no_part_of_what_a_trial_takes() -> None:
    trials = [Trial(n, {}, seconds={"queue": 500.0, "deploy": 10.0, "wait": 900.0, "benchmark": 20.0}) for n in (0, 1)]
    assert predicted_seconds(trials, None) == 30


def cost_study(make_task: Any, folder: Path, **sections: Any) -> Study:
    budget = {"baseline": False, "trials": 200, **sections.pop("budget")}
    return open_study(make_task(budget=budget, strategy="random", **sections), folder)


def tell_costly(study: Study, hours: float, gpus: int) -> None:
    study.tell(completed(asked(study), 10).with_(seconds={"benchmark": hours * 3600}, gpus=gpus))


def test_no_trial_starts_that_would_probably_exceed_the_gpu_hours(make_task: Any, tmp_path: Path) -> None:
    one = cost_study(make_task, tmp_path, budget={"gpu_hours": 5})
    tell_costly(one, 0.5, 2)
    tell_costly(one, 1.0, 2)
    assert spent(one) is None
    # Two GPU-hours are left, and the running trial takes 1.5 of them.
    assert spent(one, running=1) == (
        "0.5 GPU-hours of the budget of 5 GPU-hours are left, and another trial takes about 1.5 GPU-hours"
    )
    tell_costly(one, 1.0, 2)
    assert spent(one) == "the budget of 5 GPU-hours is spent"


def test_dollars_are_kept_for_the_confirmation(make_task: Any, tmp_path: Path) -> None:
    price = {"usd_per_gpu_hour": 2, "usd_per_hour": 1}
    budget = {"usd": 30, "baseline": True}
    one = cost_study(make_task, tmp_path, budget=budget, price=price, confirm={"rounds": 2, "budget": 5})
    tell_costly(one, 1.0, 1)
    tell_costly(one, 1.0, 1)
    assert spent(one) is None
    # A start before the search is one of the confirmation's five.
    for _ in range(4):
        tell_costly(one, 1.0, 1)
    assert spent(one) == "the rest of the budget of $30.00 is for the confirmation"
    assert not is_cost_spent(one)
    for _ in range(4):
        tell_costly(one, 1.0, 1)
    assert is_cost_spent(one)


def test_what_a_study_costs_at_most_is_known_before_it_runs(make_task: Any) -> None:
    workload = {"scenarios": ["D(1,1)"], "seconds_per_level": 400, "precision": None}
    sections = {"deploy": {"gpus_per_trial": 2}, "workload": workload, "strategy": "random"}
    task = make_task(budget={"trials": 5}, price={"usd_per_gpu_hour": 3}, **sections)
    minutes = estimate(task, task.space).minutes
    assert minutes is not None
    assert cost_lines(task, task.space) == (f"at most about {usd_text(minutes / 60 * 6)}, at 2 GPUs a trial",)
    task = make_task(budget={"trials": 5, "gpu_hours": 4}, **sections)
    assert cost_lines(task, task.space) == ("the budget ends the study at 4 GPU-hours",)
    assert cost_lines(make_task(), task.space) == ()


def test_dollars_need_a_price(make_task: Any) -> None:
    with pytest.raises(TaskError, match=r"^budget.usd: a budget in dollars needs a price, such as price: {usd_per_gpu"):
        make_task(budget={"usd": 5})
    with pytest.raises(TaskError, match=r"^objective: usd_per_million_output_tokens needs a price"):
        make_task(objective="minimize usd_per_million_output_tokens")
    with pytest.raises(TaskError, match=r"^limits\[0\]: usd_per_million_output_tokens needs a price"):
        make_task(limits=["usd_per_million_output_tokens <= 2"])
