"""Which parameters matter, told only where there is something to tell."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.study.importance import importances
from autotune_nb.task.parameters import Bool, Choice, Float, Int
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.trial.score import Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

FIGURE = "output_tokens_per_s"
MOST, LEAST = Objective(FIGURE, "maximize"), Objective("ttft_mean_s", "minimize")
SPACE = SearchSpace(
    {
        "a": Int(low=1, high=64, log=True),
        "b": Int(low=2, high=19, step=3),
        "f": Float(low=0.1, high=0.9, step=0.2),
        "g": Float(low=0.001, high=10, log=True),
        "c": Choice(values=["x", None, {"k": 1}, [1], 1, 1.0, True]),
        "d": Bool(),
        "same": Int(low=5, high=5),
    }
)


def tried(count: int, value: Callable[[Point], float], objective: Objective = MOST, *, seed: int = 0) -> list[Trial]:
    rng = random.Random(seed)
    points = [SPACE.random_point(rng) or {} for _ in range(count)]
    return [
        Trial(n, point, TrialState.COMPLETE, score=Score({objective.figure: value(point)}))
        for n, point in enumerate(points)
    ]


def number(value: Any) -> float:
    return float(value)


@pytest.mark.parametrize("objective", [MOST, LEAST])
@pytest.mark.parametrize(
    ("strong", "value"),
    [
        ("a", lambda p: number(p["a"])),
        ("b", lambda p: -number(p["b"])),
        ("f", lambda p: number(p["f"])),
        ("g", lambda p: number(p["g"])),
        ("c", lambda p: {"null": 9.0, '{"k": 1}': 5.0}.get(json.dumps(p["c"]), 0.0)),
        ("d", lambda p: number(p["d"])),
    ],
)
def test_a_strong_parameter_comes_first(
    strong: str, value: Callable[[Point], float], objective: Objective, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(7)
    trials = tried(150, lambda point: value(point) + 1e-3 * rng.random(), objective)
    found = importances(trials, SPACE, objective)
    assert next(iter(found)) == strong
    assert set(found) <= set(SPACE.parameters)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(0 <= share <= 1 for share in found.values())
    assert sum(found.values()) == pytest.approx(1)
    assert capfd.readouterr() == ("", "")


def test_with_few_trials_there_is_nothing_to_tell() -> None:
    trials = tried(10, lambda p: number(p["a"]))
    assert importances(trials, SPACE, MOST)
    assert importances(trials[:9], SPACE, MOST) == {}
    assert importances([], SPACE, MOST) == {}


def test_equal_values_tell_nothing() -> None:
    assert importances(tried(40, lambda _: 3.0), SPACE, MOST) == {}


def test_what_is_no_complete_trial_of_the_space_is_left_out() -> None:
    trials = tried(30, lambda p: number(p["a"]))
    plain = importances(trials, SPACE, MOST)
    failure = Failure(FailureKind.CRASH, "deploy", "x")
    others = [
        Trial(30, {}, TrialState.COMPLETE, score=Score({FIGURE: 1e9}), baseline=True),
        Trial(31, trials[0].params, TrialState.FAILED, failure=failure),
        Trial(32, trials[0].params, TrialState.STOPPED),
        Trial(33, trials[0].params, TrialState.RUNNING),
        Trial(34, {"a": 1}, TrialState.COMPLETE, score=Score({FIGURE: 1e9})),
    ]
    assert importances([*trials, *others], SPACE, MOST) == plain
    assert importances([*trials[:9], *others], SPACE, MOST) == {}


@given(st.integers(10, 40), st.integers(0, 99), st.lists(st.sampled_from([0.0, 1.0, 1e9, -5.0]), min_size=1))
def test_whatever_the_values_are_the_shares_add_up_to_one_or_there_are_none(
    count: int, seed: int, values: list[float]
) -> None:
    rng = random.Random(seed)
    found = importances(tried(count, lambda _: rng.choice(values), seed=seed), SPACE, MOST)
    assert not found or sum(found.values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in found.values())


def test_a_space_without_a_choice_has_nothing_that_matters() -> None:
    space = SearchSpace({"same": Int(low=5, high=5), "only": Choice(values=["x"])})
    trials = [
        Trial(n, {"same": 5, "only": "x"}, TrialState.COMPLETE, score=Score({FIGURE: float(n)})) for n in range(20)
    ]
    assert importances(trials, space, MOST) == {}


def test_a_trial_that_breaks_a_limit_is_never_among_the_best() -> None:
    """The fast batch sizes break a limit: of those that keep it, threads decide."""
    trials = []
    for number in range(40):
        threads, batch = number % 4 + 1, 2 ** (number // 4 % 5)
        score = Score({"output_tokens_per_s": threads + 100.0 * (batch > 4)}, {"limit": 1.0 if batch > 4 else -1.0})
        params = {"threads": threads, "batch": batch}
        trials.append(Trial(number, params, TrialState.COMPLETE, score=score))
    space = SearchSpace({"threads": Choice(values=[1, 2, 3, 4]), "batch": Choice(values=[1, 2, 4, 8, 16])})
    ignoring = [t.with_(score=Score(t.score.values)) for t in trials if t.score]
    assert importances(ignoring, space, MOST)["batch"] > 0.5
    assert importances(trials, space, MOST)["threads"] > 0.5


def test_of_several_objectives_that_matters_which_leads_to_the_front() -> None:
    both = Objective(FIGURE, "maximize", others=(LEAST,))
    trials = [
        # More b is more of both, so that it moves along the front; without d neither is good.
        trial.with_(score=Score({FIGURE: b + 100 * d, LEAST.figure: b + 100 * (not d)}))
        for trial in tried(60, lambda _: 0.0)
        for b, d in [(number(trial.params["b"]), bool(trial.params["d"]))]
    ]
    shares = importances(trials, SPACE, both)
    assert max(shares, key=lambda name: shares[name]) == "d"


def test_trials_with_values_that_the_space_does_not_have_are_left_out() -> None:
    trials = tried(40, lambda point: number(point["a"]))
    odd = trials[0].with_(number=40, params={**trials[0].params, "c": "gone"})
    far = trials[0].with_(number=41, params={**trials[0].params, "b": 1000})
    assert importances([*trials, odd, far], SPACE, MOST) == importances(trials, SPACE, MOST) != {}
    assert importances([odd] * 12, SPACE, MOST) == {}
