"""The starts of a confirmation: which follow from trials that failed, were stopped or were added later."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.task.budget import Confirm
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.score import Objective, Score
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.verdict import (
    Outcome,
    Verdict,
    chosen_configuration,
    level_to_confirm,
    next_start,
    plan_text,
    start_before_search,
    study_verdict,
)
from autotune_nb.verdict.starts import plan_of

RATE = "output_tokens_per_s"
GOAL = Objective(RATE, "maximize")
RULES = Confirm(rounds=3, budget=9)
LEVEL = Level("D(1,2)", 4)
CRASH = Failure(FailureKind.CRASH, "deploy", "it died")
#: Of a start, by its number: a value, a failure, or None if it was stopped.
Result = float | Failure | None


def ended(number: int, threads: int | None, result: Result, confirmation: tuple[int, int] | None = None) -> Trial:
    params = {} if threads is None else {"threads": threads}
    trial = Trial(number, params, baseline=threads is None, confirmation=confirmation)
    if isinstance(result, Failure):
        return trial.with_(state=TrialState.FAILED, failure=result)
    if result is None:
        return trial.with_(state=TrialState.STOPPED)
    return trial.with_(state=TrialState.COMPLETE, score=Score({RATE: result}, {}, LEVEL))


SEARCH = (ended(0, None, 100.0), ended(1, None, 101.0, (0, 0)), ended(2, 2, 120.0), ended(3, 3, 118.0))


def confirm(result: Callable[[int, int | None], Result], trials: tuple[Trial, ...] = SEARCH) -> tuple[Trial, ...]:
    """Run the starts that follow; ``result`` returns what a start's number and threads give."""
    while (start := next_start(trials, GOAL, RULES)) is not None:
        assert len(trials) < 30, "it never ends"
        number = len(trials)
        threads = None if start.params is None else int(str(start.params["threads"]))
        trials = (*trials, ended(number, threads, result(number, threads), (start.round, start.finalist)))
    return trials


def wobble(number: int) -> float:
    return 1 + 0.01 * math.sin(7 * number)


def verdict(trials: tuple[Trial, ...]) -> Verdict:
    return study_verdict(trials, GOAL, RULES)


def test_the_default_starts_twice_before_the_search_if_it_runs() -> None:
    start = start_before_search(SEARCH[:1])
    assert start is not None
    assert (start.round, start.finalist, start.params) == (0, 0, None)
    assert start_before_search(SEARCH[:2]) is None
    assert start_before_search([ended(0, None, CRASH)]) is None
    assert start_before_search([*SEARCH[:1], ended(1, None, None, (0, 0))]) is not None, "a stopped start counts not"


def test_starts_of_the_default_that_differ_are_noise_and_no_drift() -> None:
    trials = (ended(0, None, 100.0), ended(1, None, 180.0, (0, 0)), ended(2, 2, 120.0))
    assert "Do not compare" not in verdict(trials).text
    assert "Do not compare" in study_verdict(trials, GOAL, None).text


def test_a_finalist_that_fails_is_not_started_again_and_cannot_win() -> None:
    trials = confirm(lambda n, threads: CRASH if threads == 2 else (130.0 if threads == 3 else 100.0) * wobble(n))
    assert sum(t.in_round and t.params.get("threads") == 2 for t in trials) == 1
    found = verdict(trials)
    assert (found.outcome, found.recommended, found.ties) == (Outcome.BETTER, 3, (3,))


def test_the_largest_difference_has_the_wider_side_of_the_interval() -> None:
    trials = confirm(lambda n, threads: 99.0 * wobble(n) if threads else 100.0 * wobble(5 * n))
    found = verdict(trials)
    assert found.outcome is Outcome.NO_DIFFERENCE
    assert found.interval is not None
    low, high = found.interval
    assert -low > high > 0
    assert found.text.startswith("No difference found between trial ")
    assert f"at most {100 * high:.2g} % better and at most {-100 * low:.2g} % worse (95 %)" in found.text


def test_an_undecided_answer_says_what_is_possible_and_how_many_rounds_would_decide() -> None:
    def undecided(spread: float) -> str:
        trials = confirm(lambda n, threads: (104.0 if threads else 100.0) * (1 + spread * math.sin(5 * n)))
        found = verdict(trials)
        assert found.outcome is Outcome.UNDECIDED
        return found.text

    few = undecided(0.05)
    assert re.search(r"seems 3.4 % better than .*, but anything from -2 to 9 % is possible \(95 %\)", few)
    assert "about 5 more rounds would decide" in few
    assert "many more rounds would be needed to decide" in undecided(0.4)


def test_if_every_finalist_fails_the_default_is_best() -> None:
    trials = confirm(lambda n, threads: CRASH if threads else 100.0 * wobble(n))
    assert len(trials) == len(SEARCH) + 3
    found = verdict(trials)
    assert (found.outcome, found.recommended) == (Outcome.DEFAULT_BEST, 0)
    assert "every finalist failed or broke a limit" in found.text
    assert found.gain is None


def test_if_the_default_fails_there_is_nothing_to_compare_with() -> None:
    trials = confirm(lambda n, threads: 130.0 * wobble(n) if threads else CRASH)
    assert len(trials) == len(SEARCH) + 3
    found = verdict(trials)
    assert (found.outcome, found.recommended) == (Outcome.UNDECIDED, 2)
    assert "the engine's default failed" in found.text
    chosen = chosen_configuration(trials, GOAL, RULES)
    assert chosen is not None
    assert chosen.params == {"threads": 2}


def test_a_failure_of_the_surroundings_costs_one_value_only() -> None:
    lost = Failure(FailureKind.INFRASTRUCTURE, "deploy", "the cluster is away")
    trials = confirm(lambda n, threads: lost if n == 5 else (130.0 if threads == 2 else 100.0) * wobble(n))
    assert verdict(trials).outcome is Outcome.BETTER


def test_a_start_that_was_stopped_is_started_again() -> None:
    trials = (*SEARCH, ended(4, None, None, (1, 0)))
    start = next_start(trials, GOAL, RULES)
    assert start is not None
    assert (start.round, start.finalist) == (1, 0)


def test_values_of_the_search_change_neither_the_gain_nor_the_value_of_the_best() -> None:
    lucky = (*SEARCH[:2], ended(2, 2, 500.0), SEARCH[3])
    trials = confirm(lambda n, threads: (110.0 if threads == 2 else 100.0) * wobble(n), lucky)
    found = verdict(trials)
    assert found.gain == pytest.approx(0.1, abs=0.02)
    chosen = chosen_configuration(trials, GOAL, RULES)
    assert chosen is not None
    assert chosen.trial.number == found.recommended
    assert max(chosen.values) < 150


def test_a_limit_broken_in_the_rounds_rules_a_finalist_out() -> None:
    def slow(trial: Trial) -> Trial:
        score = Score({RATE: 130.0}, {"ttft_p99_s <= 1": 0.5}, LEVEL)
        return trial.with_(score=score) if trial.params == {"threads": 2} else trial

    trials = confirm(lambda n, threads: (115.0 if threads else 100.0) * wobble(n))
    again = SEARCH
    while (start := next_start(again, GOAL, RULES)) is not None:
        threads = None if start.params is None else int(str(start.params["threads"]))
        value = (115.0 if threads else 100.0) * wobble(len(again))
        again = (*again, slow(ended(len(again), threads, value, (start.round, start.finalist))))
    assert verdict(trials).outcome is Outcome.BETTER
    assert verdict(again).recommended == 3


def test_the_verdict_says_at_which_levels_values_were_read_if_they_differ() -> None:
    trials = confirm(lambda n, threads: (130.0 if threads == 2 else 100.0) * wobble(n))
    assert "different levels" not in verdict(trials).text
    lighter = Score({RATE: 60.0}, {}, Level("D(1,2)", 1))
    trials = (*trials[:-1], trials[-1].with_(score=lighter))
    assert f"different levels: the default and trials 2, 3 under {LEVEL}" in verdict(trials).text


def test_a_lower_figure_that_is_better_has_a_positive_gain() -> None:
    goal = Objective("ttft_p99_s", "minimize")

    def latency(trial: Trial) -> Trial:
        assert trial.score is not None
        return trial.with_(score=Score({"ttft_p99_s": trial.score.value}, {}, LEVEL))

    trials = tuple(map(latency, (SEARCH[0], SEARCH[1], ended(2, 2, 80.0))))
    while (start := next_start(trials, goal, RULES)) is not None:
        value = (80.0 if start.params else 100.0) * wobble(len(trials))
        threads = 2 if start.params else None
        trials = (*trials, latency(ended(len(trials), threads, value, (start.round, start.finalist))))
    found = study_verdict(trials, goal, RULES)
    assert found.outcome is Outcome.BETTER
    assert found.gain == pytest.approx(0.2, abs=0.02)
    assert found.interval is not None
    assert found.interval[0] < 0.2 < found.interval[1]


def test_equal_highest_loads_do_not_prove_a_gain_of_a_step() -> None:
    goal = Objective("max_concurrency", "maximize")
    search = (ended(0, None, 20.0), ended(1, None, 20.0, (0, 0)), ended(2, 2, 22.0))
    plan = plan_of(search, goal, RULES)
    assert plan is not None
    assert plan.conclude([{0: math.log(20), 1: math.log(22)}] * 2).outcome is Outcome.UNDECIDED
    assert plan.conclude([{0: math.log(20), 1: math.log(40)}] * 2).outcome is Outcome.BETTER
    # Every start searches its own load.
    assert level_to_confirm(search, goal, RULES) is None
    assert level_to_confirm(search, GOAL, RULES) == LEVEL


def test_a_plan_says_which_gains_it_finds() -> None:
    text = plan_text(Confirm(rounds=5))
    assert "12 starts in all" in text
    assert "from 7.9 % if starts of one configuration differ by 3 %, from 29 % if they differ by 10 %" in text
