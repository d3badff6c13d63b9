"""What every strategy keeps to, and what ``auto`` learns from trials."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import Failure, FailureKind, UnknownNameError
from autotune_nb.search import (
    Observation,
    SearchProblem,
    Strategy,
    create_strategy,
    observation,
)
from autotune_nb.search.auto import AutoStrategy
from autotune_nb.search.figure_models import FigureModels
from autotune_nb.task.parameters import Choice, Int, Value
from autotune_nb.task.space import Point, SearchSpace, point_key
from autotune_nb.task.task import Task
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState
from tests.strategies import MIXED_SPACE

RATE = Objective("output_tokens_per_s", "maximize", None, (Limit.parse("ttft_p99_s <= 0.5"),))
#: Each kind of strategy: those of the package, and samplers of Optuna without and with a state.
NAMES = ["auto", "nsgaii", "random", "tpe"]
Outcome = Callable[[int, Point], Observation]


def space_of(rules: list[str] = [], **values: list[Value]) -> SearchSpace:  # noqa: B006
    return SearchSpace.of({name: Choice(values=several) for name, several in values.items()}, rules)


def problem_of(space: SearchSpace, *, default: Point | None = None) -> SearchProblem:
    return SearchProblem(space, (RATE,), default)


def complete(number: int, point: Point, value: float, excess: float = -0.5, seconds: float = 100.0) -> Observation:
    return Observation(number, point, (value,), (excess,), seconds)


def out_of_memory(number: int, point: Point) -> Observation:
    return Observation(number, point, failure="out of memory at start", own=True, started=False)


def study(strategy: Strategy, outcome: Outcome, trials: int) -> list[Observation]:
    found: list[Observation] = []
    for number in range(trials):
        proposals = strategy.propose(found)
        if not proposals:
            break
        found.append(outcome(number, proposals[0].params))
    return found


def mixed_outcome(number: int, point: Point) -> Observation:
    """Deterministic figures; some points fail, some break the limit."""
    draw = random.Random(point_key(point))
    if draw.random() < 0.2:
        return out_of_memory(number, point)
    return complete(number, point, draw.uniform(1, 100), draw.uniform(-0.9, 0.9), draw.uniform(1, 100))


def points(found: list[Observation]) -> list[Value]:
    return [point_key(one.params) for one in found]


@given(
    st.sampled_from(NAMES),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_proposals_are_allowed_and_new_until_none_is_left(name: str, sizes: list[int], seed: int, ruled: bool) -> None:
    values: dict[str, list[Value]] = {f"p{i}": list(range(size)) for i, size in enumerate(sizes)}
    space = space_of(["p0 <= p1"] if ruled and len(sizes) > 1 and min(sizes[:2]) else [], **values)
    size = space.num_points
    assert size is not None
    found = study(create_strategy(name, problem_of(space), seed), mixed_outcome, min(size, 12))
    assert len(found) == min(size, 12)
    assert len(set(points(found))) == len(found)
    assert all(space.check(one.params) == one.params for one in found)
    if size <= 12:
        assert create_strategy(name, problem_of(space), seed).propose(found) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_space_that_cannot_be_enumerated_is_searched_within_its_rules(name: str) -> None:
    space = Task.parse(
        {"model": "m", "engine": {"kind": "command", "command": "x {port}"}, "name": "n", **MIXED_SPACE}
        | {"workload": {"scenarios": ["D(1,2)"], "concurrency": [1]}, "objective": "maximize requests_per_s"}
    ).space
    found = study(create_strategy(name, problem_of(space), 1), mixed_outcome, 14)
    assert len(set(points(found))) == 14
    assert all(space.check(one.params) == one.params for one in found)


@given(st.sampled_from(NAMES), st.integers(0, 99), st.integers(0, 14))
def test_a_resumed_study_proposes_what_an_uninterrupted_one_would_have(name: str, seed: int, after: int) -> None:
    space = space_of(a=[1, 2, 4, 8], b=["x-1", "x-2", "y"], c=[True, False], d=[None, 3, 5])
    whole = study(create_strategy(name, problem_of(space), seed), mixed_outcome, 15)
    # Another object, and the trials in another order.
    found = create_strategy(name, problem_of(space), seed).propose(whole[:after][::-1])
    assert found[0].params == whole[after].params


@pytest.mark.parametrize("name", NAMES)
def test_parallel_proposals_differ_and_exclude_the_running_ones(name: str) -> None:
    space = space_of(a=list(range(6)), b=list(range(6)))
    strategy = create_strategy(name, problem_of(space), 3)
    found = study(strategy, mixed_outcome, 8)
    running = [p.params for p in strategy.propose(found, n=3)]
    more = [p.params for p in strategy.propose(found, running, n=3)]
    assert len({*points(found), *map(point_key, running), *map(point_key, more)}) == 14


def test_a_space_of_one_point_and_an_unknown_strategy() -> None:
    space = space_of(a=[1])
    assert create_strategy("auto", problem_of(space)).propose([])[0].params == {"a": 1}
    with pytest.raises(UnknownNameError, match="autoo"):
        create_strategy("autoo", problem_of(space))


def test_rules_that_leave_few_of_a_trillion_points() -> None:
    wide = Int(low=1, high=10**6)
    space = SearchSpace.of({"a": wide, "b": wide}, ["a + b <= 30000"])
    found = study(create_strategy("auto", problem_of(space), 0), mixed_outcome, 9)
    assert len(set(points(found))) == 9
    assert all(space.check(one.params) for one in found)


def test_the_default_comes_first_and_the_baseline_in_its_place_teaches() -> None:
    space = space_of(a=list(range(5)), b=list(range(5)))
    problem = problem_of(space, default={"a": 2, "b": 3})
    assert create_strategy("auto", problem, 4).propose([])[0].params == {"a": 2, "b": 3}
    baseline = replace(complete(0, {}, 50.0), baseline=True)
    strategy = create_strategy("auto", problem, 4)
    found = [baseline]
    while proposals := strategy.propose(found):
        found.append(mixed_outcome(len(found), proposals[0].params))
    # Measured already, so it is the last one.
    assert len(found) == 26
    assert found[-1].params == {"a": 2, "b": 3}


def climb(number: int, point: Point) -> Observation:
    a, b = float(point["a"]), float(point["b"])  # type: ignore[arg-type]
    return complete(number, point, 100 - (a - 7) ** 2 - (b - 2) ** 2)


def test_auto_finds_the_best_of_a_smooth_table_in_few_trials() -> None:
    space = space_of(a=list(range(10)), b=list(range(10)), c=["x", "y", "z"])
    tried = []
    for seed in range(3):
        found = study(AutoStrategy(problem_of(space), seed), climb, 30)
        values = [one.values[0] for one in found if one.values]
        tried.append(values.index(max(values)) + 1 if max(values) == 100 else math.inf)
    # At random it takes 75 of 300 trials.
    assert np.median(tried) <= 22


def test_auto_seldom_tries_what_resembles_a_failure_and_says_why() -> None:
    space = space_of(a=list(range(8)), b=list(range(8)))

    def outcome(number: int, point: Point) -> Observation:
        return out_of_memory(number, point) if point["a"] > 4 else climb(number, point)  # type: ignore[operator]

    strategy = AutoStrategy(problem_of(space), 1)
    found = study(strategy, outcome, 25)
    failed = [one for one in found if one.values is None]
    # At random 9 of 25, and the best of those that run lies beside those that do not.
    assert 1 <= len(failed) <= 7
    (skipped,) = strategy.skipped(found)
    assert "out of memory at start" in skipped
    assert str(failed[0].number) in skipped


def test_failures_of_the_surroundings_change_nothing_but_what_was_tried() -> None:
    space = space_of(a=list(range(8)), b=list(range(8)))
    strategy = AutoStrategy(problem_of(space), 1)
    found = study(strategy, climb, 8)
    lost = Observation(8, strategy.propose(found)[0].params, failure="infrastructure (deploy)", started=False)
    assert strategy.skipped([*found, lost]) == []
    assert strategy.named([*found, lost]) == strategy.named(found)


@given(st.integers(0, 99))
def test_what_is_named_was_measured_and_keeps_the_limits(seed: int) -> None:
    space = space_of(a=list(range(6)), b=list(range(6)))
    strategy = AutoStrategy(problem_of(space), seed)
    found = study(strategy, mixed_outcome, 10)
    named = strategy.named(found)
    feasible = [one for one in found if one.feasible]
    assert named in feasible if feasible else named is None


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_a_whole_table_without_noise_is_the_exhaustive_best(seed: int) -> None:
    space = space_of(a=[1, 2, 3], b=[1, 2, 3])
    strategy = AutoStrategy(problem_of(space), seed, noisy=False)
    found = study(strategy, mixed_outcome, 9)
    named = strategy.named(found)
    best = max((one for one in found if one.feasible), key=lambda one: one.values or (0.0,))
    assert named == best


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-300, 1e300])
def test_figures_that_have_no_logarithm_or_are_all_alike_are_fitted(value: float) -> None:
    space = space_of(a=list(range(4)), b=[1, 2])
    found = study(AutoStrategy(problem_of(space), 0), lambda n, p: complete(n, p, value, -1.0, 0.0), 8)
    assert len(set(points(found))) == 8


def test_a_model_that_cannot_be_fitted_falls_back_to_spread_out_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(np.linalg, "cholesky", fail)
    space = space_of(a=list(range(6)), b=list(range(6)))
    found = study(AutoStrategy(problem_of(space), 0), climb, 12)
    assert len(set(points(found))) == 12


def test_several_objectives_cover_both_ends() -> None:
    space = space_of(a=list(range(12)), b=list(range(4)))
    fast, short = Objective("output_tokens_per_s", "maximize"), Objective("ttft_p99_s", "minimize")

    def outcome(number: int, point: Point) -> Observation:
        a, b = float(point["a"]), float(point["b"])  # type: ignore[arg-type]
        return Observation(number, point, (10 + 10 * a - b, 0.1 + 0.1 * a + 0.1 * b), (), 10.0)

    found = study(AutoStrategy(SearchProblem(space, (fast, short)), 0), outcome, 24)
    front = [one.params["a"] for one in found if one.params["b"] == 0]
    # The front is b = 0; at random 6 of 24 are on it.
    assert len(front) >= 8
    assert max(front) >= 9 and min(front) <= 2  # type: ignore[operator,type-var]


def test_a_proposal_predicts_and_gives_its_reason() -> None:
    space = space_of(a=list(range(10)), b=list(range(10)))
    strategy = AutoStrategy(problem_of(space), 0)
    found = study(strategy, climb, 14)
    proposal = strategy.propose(found)[0]
    assert proposal.interval is not None
    assert proposal.value is not None
    assert proposal.interval[0] < proposal.value < proposal.interval[1]
    truth = climb(0, proposal.params).values
    assert truth is not None
    assert proposal.value == pytest.approx(truth[0], rel=0.3)
    assert proposal.seconds == pytest.approx(100, rel=0.2)
    assert "predicted" in proposal.text


def test_the_promise_falls_as_the_best_is_found() -> None:
    space = space_of(a=list(range(8)), b=list(range(8)))
    strategy = AutoStrategy(problem_of(space), 0)
    found = study(strategy, climb, 40)
    # Before the models decide nothing is predicted.
    assert strategy.promise(found[:4]) is None
    early, late = strategy.promise(found[:6]), strategy.promise(found)
    assert early is not None
    assert late is not None
    assert late.gain < 0.01 < early.gain
    assert late.seconds == pytest.approx(100, rel=0.2)


def test_a_trial_as_an_observation() -> None:
    problem = problem_of(space_of(a=[1, 2]))
    score = Score({"output_tokens_per_s": 5.0}, {"ttft_p99_s <= 0.5": 0.25})
    trial = Trial(3, {"a": 1}, TrialState.COMPLETE, score=score, seconds={"deploy": 2.0, "benchmark": 3.0})
    assert observation(trial, problem) == Observation(3, {"a": 1}, (5.0,), (0.5,), 5.0)
    unchecked = trial.with_(score=Score({"output_tokens_per_s": 5.0}, {}))
    assert observation(unchecked, problem).excess == (0.0,)
    for kind in FailureKind:
        failed = Trial(3, {"a": 1}, TrialState.FAILED, failure=Failure(kind, "benchmark", "it ended"))
        found = observation(failed, problem)
        assert found.started
        assert found.own is (kind in ("configuration", "out_of_memory", "crash", "timeout"))
        assert not found.feasible


def test_a_promise_and_the_proposal_after_it_fit_the_models_once(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(space_of(a=list(range(8)), b=[1, 2]))
    strategy, fresh = (AutoStrategy(problem, 3) for _ in range(2))
    fits: list[int] = []
    fit = FigureModels.fit

    def counted(self: FigureModels, complete: Any, *args: Any, **kwargs: Any) -> None:
        fits.append(len(complete))
        fit(self, complete, *args, **kwargs)

    seen = [complete(n, {"a": n, "b": 1 + n % 2}, 10.0 + n) for n in range(6)]
    expected = fresh.propose(seen)
    monkeypatch.setattr(FigureModels, "fit", counted)
    assert strategy.promise(seen) is not None
    assert strategy.propose(seen) == expected
    assert fits == [6]
    # Another trial is learned from, and a running one imagined.
    strategy.propose([*seen, complete(6, {"a": 6, "b": 1}, 20.0)], [{"a": 7, "b": 1}])
    assert fits == [6, 7, 8]
