"""Partial dependence of the objective on single parameters, and the figures that a proposal predicts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotune_nb.search import Observation, SearchProblem, create_strategy
from autotune_nb.search.dependence import Dependence, partial_dependences
from autotune_nb.task.parameters import Choice, Float, Int
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.trial.score import Limit, Objective
from tests.search.test_strategies import climb, out_of_memory, points, problem_of, space_of, study

SPACE = space_of(a=list(range(10)), b=list(range(6)), c=["x", "y"])
FOUND = study(create_strategy("random", problem_of(SPACE), 5), climb, 30)


def by_value(one: Dependence) -> dict[Any, float]:
    return {value: predicted[0] for value, predicted in zip(one.values, one.predicted, strict=True)}


def test_the_effect_of_each_parameter_is_found_and_lies_in_the_interval() -> None:
    a, c = partial_dependences(problem_of(SPACE), FOUND, ["a", "c"])
    assert (a.parameter, a.figure, a.ordered, a.values) == ("a", "output_tokens_per_s", True, tuple(range(10)))
    assert (c.ordered, c.values) == (False, ("x", "y"))
    predicted = by_value(a)
    assert max(predicted, key=lambda value: predicted[value]) in (6, 7, 8)
    # It is that of a on average over the other parameters.
    for value, (_, low, high) in zip(a.values, a.predicted, strict=True):
        truth = np.exp(np.mean([np.log(100 - (value - 7) ** 2 - (o.params["b"] - 2) ** 2) for o in FOUND]))
        assert low * 0.95 <= truth <= high * 1.05
    # c has no effect.
    x, y = by_value(c).values()
    assert x == pytest.approx(y, rel=0.03)
    assert {one.at for one in a.measured} == {one.params["a"] for one in FOUND}


def test_what_was_not_tried_is_uncertain() -> None:
    near = [one for one in FOUND if float(one.params["a"]) < 5]  # type: ignore[arg-type]
    (a,) = partial_dependences(problem_of(SPACE), near, ["a"])
    width = [np.log(high / low) for _, low, high in a.predicted]
    assert width[9] > 2 * max(width[:5])


def test_values_that_rules_exclude_are_left_out_and_ranges_are_sampled() -> None:
    parameters: Any = {
        "n": Int(low=1, high=100_000, log=True),
        "x": Float(low=0.5, high=0.9),
        "m": Choice(values=[8, 2, 4]),
        "one": Choice(values=["only"]),
    }
    space = SearchSpace.of(parameters, ["m <= 4"])
    found = study(create_strategy("random", problem_of(space), 1), lambda n, p: climb(n, {"a": 1, "b": n % 5}), 12)
    found = [replace(o, params=p) for o, p in zip(found, space.random_points(random.Random(3), 40), strict=False)]
    n, x, m = partial_dependences(problem_of(space), found, ["n", "x", "m", "one"])
    assert 2 <= len(n.values) <= 12 and n.values[0] == 1 and n.values[-1] == 100_000
    assert all(isinstance(value, int) for value in n.values)
    assert len(x.values) == 12 and x.values[-1] == 0.9
    assert m.values == (2, 4)


def test_the_default_counts_and_what_is_not_in_the_space_does_not() -> None:
    baseline = Observation(90, {}, (50.0,), (-0.5,), 9.0, baseline=True)
    foreign = Observation(91, {"a": 99, "b": 1, "c": "x"}, (1e6,), (-0.5,), 9.0)
    failed = out_of_memory(92, {"a": 1, "b": 1, "c": "x"})
    found = [*FOUND[:12], baseline, foreign, failed]
    default: Point = {"a": 3, "b": 3, "c": "y"}
    (a,) = partial_dependences(problem_of(SPACE, default=default), found, ["a"])
    assert len(a.measured) == 13
    assert (a.measured[-1].at, a.measured[-1].value) == (3, 50.0)
    assert partial_dependences(problem_of(SPACE), [baseline], ["a"]) == []


def test_a_model_that_cannot_be_fitted_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(np.linalg, "cholesky", fail)
    with pytest.raises(np.linalg.LinAlgError):
        partial_dependences(problem_of(SPACE), FOUND, ["a"])
    proposal = create_strategy("auto", problem_of(SPACE)).propose(FOUND)[0]
    assert proposal.text == "without a model: far from every configuration that was tried"


def test_several_proposals_have_figures_predicted_from_trials_alone() -> None:
    strategy = create_strategy("auto", problem_of(SPACE), 0)
    first, *rest = strategy.propose(FOUND, n=4)
    assert first.params == strategy.propose(FOUND)[0].params
    assert len(set(points([Observation(0, one.params) for one in (first, *rest)]))) == 4
    # The values imagined for those before it would leave no gain to the one after the best.
    assert first.value == strategy.propose(FOUND)[0].value
    for one in (first, *rest):
        assert one.value is not None and one.gain is not None
        assert 0 <= one.gain < 0.5
        assert "expected gain" in one.text
        (limit,) = one.limits
        # The trials kept 0.5 s by a half.
        assert limit[1] <= limit[0] <= limit[2]
        assert limit[0] == pytest.approx(0.25, rel=0.1)


def test_a_latency_is_predicted_in_its_direction() -> None:
    goal = Objective("ttft_p99_s", "minimize", None, (Limit.parse("output_tokens_per_s >= 10"),))
    problem = SearchProblem(SPACE, (goal,))
    found = [
        replace(one, values=(1 / one.values[0],), excess=(-1.0,)) if one.values else one for one in FOUND
    ]  # 20 tokens/s
    (proposal,) = create_strategy("auto", problem, 0).propose(found)
    assert proposal.value is not None and proposal.interval is not None and proposal.gain is not None
    assert proposal.interval[0] < proposal.value < proposal.interval[1] < 1
    assert proposal.limits[0][0] == pytest.approx(20, rel=0.1)
    assert proposal.gain > 0
