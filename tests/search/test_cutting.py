"""Cutting a trial: the order of its levels, the reason to end it, and that it never changes which trial is the best."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.search.cutting import LEAST_MARGIN, Cutting, margin_of
from autotune_nb.trial.configuration import best_configuration
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective, score
from autotune_nb.trial.trial import Trial, TrialState

RATE, TTFT, E2E = "output_tokens_per_s", "ttft_p99_s", "e2e_latency_mean_s"
LEVELS = tuple(Level("D(8,8)", load) for load in (1, 4, 16))
AT_16 = Objective(RATE, "maximize", LEVELS[2], (Limit(TTFT, "<=", 1.0),))
AT_BEST = Objective(RATE, "maximize", None, (Limit(TTFT, "<=", 1.0),))
LATENCY = Objective(E2E, "minimize", None)

#: The figures of one configuration at each level.
Row = Sequence[dict[str, float]]


def measured(level: Level, figures: dict[str, float], problems: tuple[str, ...] = ()) -> Measurement:
    return Measurement(level, 10.0, 5, 5, 0, figures, problems)


def row(rates: Sequence[float], times: Sequence[float]) -> Row:
    return [{RATE: rate, TTFT: time, E2E: 2 * time} for rate, time in zip(rates, times, strict=True)]


def studied(rows: Sequence[Row], objective: Objective, levels: tuple[Level, ...] = LEVELS) -> list[Trial]:
    """Run a trial of each row, in order, and cut them."""
    cutting, trials = Cutting(objective, levels), list[Trial]()
    for number, figures in enumerate(rows):
        own, reason = list[Measurement](), None
        while reason is None and (level := cutting.next_level(own)) is not None:
            own.append(measured(level, figures[levels.index(level)]))
            reason = cutting.reason_to_cut(own, best_configuration(trials, objective))
        state = TrialState.CUT if reason else TrialState.COMPLETE
        trials.append(Trial(number, {"n": number}, state, tuple(own), score(own, objective), cut_reason=reason or ""))
    return trials


def whole(rows: Sequence[Row], objective: Objective, levels: tuple[Level, ...] = LEVELS) -> list[Trial]:
    """Run all levels of every row."""
    trials = []
    for number, figures in enumerate(rows):
        own = tuple(map(measured, levels, figures))
        trials.append(Trial(number, {"n": number}, TrialState.COMPLETE, own, score(own, objective)))
    return trials


def best_number(trials: Sequence[Trial], objective: Objective) -> int | None:
    best = best_configuration(trials, objective)
    return None if best is None else best.trial.number


def test_the_level_that_counts_runs_first_and_decides() -> None:
    good, worse, slow = row([10, 20, 100], [0.1] * 3), row([10, 20, 90], [0.1] * 3), row([10, 20, 900], [0.1, 0.1, 1.2])
    rows = [good, worse, slow, row([1, 1, 101], [0.1] * 3)]
    trials = studied(rows, AT_16)
    assert [trial.state for trial in trials] == ["complete", "cut", "cut", "complete"]
    assert [len(trial.measurements) for trial in trials] == [3, 1, 1, 3]
    assert trials[0].measurements[0].level == LEVELS[2]
    assert trials[1].cut_reason == (
        "90 tokens/s under D(8,8) at concurrency 16, the level that counts, where trial 0 has the best, 100 tokens/s"
    )
    assert trials[2].cut_reason == (
        "breaks ttft_p99_s <= 1 by 20% under D(8,8) at concurrency 16, the level that counts"
    )
    # Its score is that of a whole trial.
    assert [trial.score for trial in trials] == [trial.score for trial in whole(rows, AT_16)]


def test_a_level_that_is_too_slow_rules_heavier_ones_out_of_the_best_level() -> None:
    fine = row([10, 40, 100], [0.1, 0.2, 0.5])
    overloaded = row([9, 30, 30], [0.1, 3.0, 9.0])
    never = row([9, 30, 30], [2.0, 3.0, 9.0])
    trials = studied([fine, overloaded, never], AT_BEST)
    assert Cutting(AT_BEST, LEVELS[::-1]).order == LEVELS
    assert [[one.level.concurrency for one in trial.measurements] for trial in trials] == [[1, 4, 16], [1, 4], [1]]
    assert trials[1].cut_reason.endswith("the heaviest that ran; heavier levels are slower still")
    assert [trial.score for trial in trials] == [t.score for t in whole([fine, overloaded, never], AT_BEST)]
    # Before anything is the best, a trial that keeps the limits somewhere is run whole.
    assert [trial.state for trial in studied([overloaded, never], AT_BEST)] == ["complete", "cut"]


def test_another_scenario_may_still_count() -> None:
    levels = tuple(Level(name, load) for name in ("D(8,8)", "D(99,8)") for load in (1, 4))
    cutting, own = Cutting(AT_BEST, levels), list[Measurement]()
    for time, wanted in ((2.0, levels[2]), (0.1, levels[3]), (0.1, levels[1])):
        own.append(measured(cutting.next_level(own) or levels[0], {RATE: 5.0, TTFT: time}))
        assert cutting.reason_to_cut(own, None) is None
        assert cutting.next_level(own) == wanted


def test_invalid_levels_and_ties_decide_nothing() -> None:
    best = best_configuration(studied([row([1, 1, 100], [0.1] * 3)], AT_16), AT_16)
    cutting = Cutting(AT_16, LEVELS)

    def reason(figures: dict[str, float], *problems: str) -> str | None:
        return cutting.reason_to_cut([measured(LEVELS[2], figures, problems)], best)

    assert reason({RATE: 50.0, TTFT: 0.1})
    assert reason({RATE: 50.0, TTFT: 0.1}, "no token") is None
    assert reason({RATE: 50.0}) is None
    assert reason({RATE: 100.0, TTFT: 0.1}) is None
    assert reason({RATE: 500.0, TTFT: 1.0}) is None
    # A level that does not count says nothing.
    assert cutting.reason_to_cut([measured(LEVELS[0], {RATE: 1.0, TTFT: 9.0})], best) is None


def test_the_margin_grows_with_the_differences_between_repeats() -> None:
    trials = whole([row([1, 1, 100], [0.1] * 3)] * 3, AT_16)
    assert margin_of(trials) == 0
    repeated = [trial.with_(params={}) for trial in whole([row([1, 1, n], [0.1] * 3) for n in (95, 105)], AT_16)]
    assert margin_of(repeated) == pytest.approx(0.14, abs=0.01)
    best, own = best_configuration(repeated, AT_16), [measured(LEVELS[2], {RATE: 90.0, TTFT: 0.1})]
    assert Cutting(AT_16, LEVELS).reason_to_cut(own, best)
    assert Cutting(AT_16, LEVELS, margin_of(repeated)).reason_to_cut(own, best) is None


def test_before_repeats_the_margin_is_that_of_usual_noise_if_the_best_is_confirmed() -> None:
    once = whole([row([1, 1, n], [0.1] * 3) for n in (95, 105)], AT_16)
    lucky = [trial.with_(params={}) for trial in whole([row([1, 1, 100], [0.1] * 3)] * 2, AT_16)]
    often = [trial.with_(params={}) for trial in whole([row([1, 1, 100], [0.1] * 3)] * 5, AT_16)]
    assert [margin_of(trials, confirmed=True) for trials in (once, lucky, often)] == [LEAST_MARGIN, LEAST_MARGIN, 0.0]
    assert margin_of(once) == 0.0
    # Of trials that are truly better by 5 %, at 3 % noise.
    rng = random.Random(5)
    pairs = [[math.exp(rng.gauss(0, 0.03)) for _ in range(2)] for _ in range(400)]

    def num_cut(margin: float) -> int:
        cutting, reasons = Cutting(AT_16, LEVELS, margin), 0
        for a, b in pairs:
            best = best_configuration(whole([row([1, 1, 100 * a], [0.1] * 3)], AT_16), AT_16)
            found = measured(LEVELS[2], {RATE: 105 * b, TTFT: 0.1})
            reasons += cutting.reason_to_cut([found], best) is not None
        return reasons

    assert num_cut(0.0) > 0.09 * len(pairs)
    assert num_cut(LEAST_MARGIN) < 0.05 * len(pairs)


def test_without_times_to_judge_by_the_order_of_the_task_stays_and_nothing_is_cut() -> None:
    levels = LEVELS[::-1]
    objective = Objective(RATE, "maximize", None, (Limit("requests_per_s", ">=", 1.0),))
    assert Cutting(objective, levels).order == levels
    rows = [[{RATE: rate, "requests_per_s": 0.5}] * 3 for rate in (100.0, 1.0)]
    assert {trial.state for trial in studied(rows, objective, levels)} == {TrialState.COMPLETE}


#: Times that rise with the load, as they do on any engine; rates may do anything.
_ROWS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 12), min_size=3, max_size=3),
        st.lists(st.floats(0.01, 4), min_size=3, max_size=3).map(sorted),
    ).map(lambda both: row([10.0 * rate for rate in both[0]], both[1])),
    min_size=1,
    max_size=12,
)


@given(_ROWS, st.sampled_from([AT_16, AT_BEST, LATENCY]), st.permutations(LEVELS))
def test_a_cut_never_changes_which_trial_is_the_best(rows: list[Row], objective: Objective, order: list[Level]) -> None:
    levels = tuple(order)
    placed = [[figures[LEVELS.index(level)] for level in levels] for figures in rows]
    cut, full = studied(placed, objective, levels), whole(placed, objective, levels)
    assert best_number(cut, objective) == best_number(full, objective)
    for one, other in zip(cut, full, strict=True):
        assert one.score is not None
        assert other.score is not None
        if one.state is TrialState.COMPLETE:
            # Of levels with equal values it is read at the first that ran.
            assert (one.score.values, one.score.feasible) == (other.score.values, other.score.feasible)
        else:
            assert one.score.feasible == other.score.feasible or not one.score.feasible


@pytest.mark.parametrize("objective", [AT_16, AT_BEST, LATENCY])
def test_of_a_thousand_trials_none_is_cut_that_was_the_best(objective: Objective) -> None:
    rng, wrong, num_cut = random.Random(5), 0, 0
    for _ in range(40):
        rows = []
        for _ in range(25):
            speed, time = math.exp(rng.gauss(0, 0.3)), math.exp(rng.gauss(-1, 1))
            # It saturates at 8 requests at a time, and then they wait.
            rows.append(row([speed * min(n, 8) for n in (1, 4, 16)], [time * max(1, n / 2) for n in (1, 4, 16)]))
        trials = studied(rows, objective)
        num_cut += sum(trial.state is TrialState.CUT for trial in trials)
        wrong += best_number(trials, objective) != best_number(whole(rows, objective), objective)
    assert wrong == 0
    assert num_cut > 100


@pytest.mark.parametrize("objective", [AT_16, LATENCY])
def test_with_noise_between_starts_no_trial_that_is_truly_better_by_a_little_is_cut(objective: Objective) -> None:
    rng, maximize = random.Random(5), objective.direction == "maximize"

    def started(number: int, truth: float, name: str) -> Trial:
        rate, time = (truth * math.exp(rng.gauss(0, 0.03)) for _ in range(2))
        own = tuple(measured(level, {RATE: rate, TTFT: 0.1, E2E: time}) for level in LEVELS)
        return Trial(number, {"n": name}, TrialState.COMPLETE, own, score(own, objective))

    wrong = cut = 0
    for _ in range(150):
        # Three starts of the best, and two of another one: what their differences show is the margin.
        trials = [started(n, 100.0, "best") for n in range(3)]
        trials += [started(n, 80.0 if maximize else 120.0, "other") for n in (3, 4)]
        cutting = Cutting(objective, LEVELS, margin_of(trials))
        best = best_configuration(trials, objective)
        for truth, better in ((1.06, True), (0.7, False)):
            found = started(9, 100.0 * (truth if maximize else 1 / truth), "new").measurements
            by_level = {one.level: one for one in found}
            reason = cutting.reason_to_cut([by_level[cutting.order[0]]], best)
            wrong += better and reason is not None
            cut += not better and reason is not None
    assert wrong == 0
    assert cut > 75


def test_an_undecided_limit_cuts_nothing_and_is_at_its_bound_for_the_search() -> None:
    """Neither kept nor broken: one of 28 requests is beyond a p99, and at 95 % that decides nothing."""
    cutting, limit = Cutting(AT_16, LEVELS), str(AT_16.limits[0])
    slow = measured(LEVELS[2], {RATE: 900.0, TTFT: 1.2})

    def reason(beyond: int) -> str | None:
        return cutting.reason_to_cut([replace(slow, beyond={limit: (28, beyond)})], None)

    assert reason(1) is None
    assert "breaks ttft_p99_s <= 1 by 20%" in (reason(3) or "")
    scored = score([replace(slow, beyond={limit: (28, 1)})], AT_16)
    assert (scored.limits, scored.feasible) == ({limit: 0.0}, True)
