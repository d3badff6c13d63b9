"""The memory estimate in ``auto``: before the first failure, and where it is wrong."""

from __future__ import annotations

from dataclasses import replace

from autotune_nb.search.auto import AutoStrategy
from autotune_nb.search.base import Observation
from autotune_nb.search.memory_prior import MemoryPrior
from autotune_nb.task.space import Point
from tests.search.test_strategies import complete, out_of_memory, problem_of, space_of, study

SPACE = space_of(a=list(range(8)), b=list(range(8)), c=[1, 2, 3])


def room(point: Point) -> float:
    """The true logarithm of available over needed memory: 96 of 192 configurations do not fit."""
    return 0.3 * (3.5 - float(point["a"]))  # type: ignore[arg-type]


def outcome(number: int, point: Point) -> Observation:
    if room(point) < 0:
        return out_of_memory(number, point)
    return complete(number, point, 50 + 5 * float(point["a"]) + float(point["b"]))  # type: ignore[arg-type]


def failures(error: float | None, trials: int) -> int:
    """The failures of three studies whose estimate is wrong by this logarithm; None for no estimate."""
    problem = problem_of(SPACE)
    if error is not None:
        problem = replace(problem, headroom=lambda point: room(point) + error)
    found = [study(AutoStrategy(problem, seed), outcome, trials) for seed in range(3)]
    return sum(one.values is None for trials in found for one in trials)


def test_an_estimate_saves_the_first_failures_even_if_it_is_somewhat_wrong() -> None:
    without = failures(None, 10)
    assert failures(0.0, 10) <= 0.5 * without
    assert failures(0.3, 10) < without


def test_an_estimate_that_trials_contradict_is_corrected() -> None:
    points = [{"a": a, "b": 0, "c": 1} for a in range(8)]
    prior = MemoryPrior(lambda point: room(point) - 0.6, None)
    prior.fit([])
    assert prior.p(points)[3] < 0.05
    prior.fit([complete(n, point, 1.0) for n, point in enumerate(points[:4])])
    assert prior.p(points)[3] > 0.4
    # Other failures say nothing of the memory.
    crashed = Observation(9, points[0], failure="crash (deploy)", own=True, started=False)
    before = prior.p(points).tolist()
    prior.fit([*(complete(n, point, 1.0) for n, point in enumerate(points[:4])), crashed])
    assert prior.p(points).tolist() == before
    assert MemoryPrior(None, None).p(points).tolist() == [1.0] * 8
