"""Strategies that search for the Pareto front of several objectives."""

from __future__ import annotations

import random

import numpy as np

from autotune_nb.search import Observation, SearchProblem, create_strategy
from autotune_nb.task.space import Point
from autotune_nb.trial.pareto import hypervolume
from autotune_nb.trial.score import Objective
from tests.search.test_strategies import space_of, study

RATE, TIME = Objective("output_tokens_per_s", "maximize"), Objective("ttft_p99_s", "minimize")


def trade_off(seed: int) -> tuple[SearchProblem, list[Observation]]:
    """A table of 144 configurations in which speed costs latency, with a front of several of them."""
    rng = random.Random(seed)
    space = space_of(a=list(range(12)), b=list(range(4)), c=["x", "y", "z"])
    best, gains = rng.choice("xyz"), [rng.uniform(0.5, 3.0) for _ in range(4)]
    table = []
    for number, point in enumerate(space.grid()):
        a, b, worse = float(point["a"]), float(point["b"]), float(point["c"] != best)  # type: ignore[arg-type]
        rate = 20 + 10 * a - gains[0] * b - 5 * worse
        latency = 0.1 * (1 + 0.3 * gains[1] * a**1.5 + 0.5 * gains[2] * b + gains[3] * worse)
        table.append(Observation(number, point, (rate, latency), (), 10.0))
    return SearchProblem(space, (RATE, TIME)), table


def covered(name: str, seed: int, trials: int) -> float:
    """The hypervolume after so many trials as a share of the whole table's."""
    problem, table = trade_off(seed)
    known = {one.number: one for one in table}
    numbers = {tuple(one.params.values()): one.number for one in table}

    def outcome(number: int, point: Point) -> Observation:
        one = known[numbers[tuple(point.values())]]
        return Observation(number, point, one.values, (), 10.0)

    found = study(create_strategy(name, problem, seed), outcome, trials)
    worst = (min(o.values[0] for o in table if o.values), max(o.values[1] for o in table if o.values))
    reached, whole = (
        hypervolume([one.values for one in several if one.values], problem.objectives, worst)
        for several in (found, table)
    )
    return reached / whole


def test_auto_covers_more_of_the_front_than_random_search_in_twice_the_trials() -> None:
    auto = np.mean([covered("auto", seed, 30) for seed in range(3)])
    assert auto > np.mean([covered("random", seed, 60) for seed in range(3)]) > 0.9
