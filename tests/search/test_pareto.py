"""Several objectives: the Pareto front, its hypervolume, and strategies that search for it."""

from __future__ import annotations

import itertools
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.search import Observation, SearchProblem, create_strategy, hypervolume, pareto_front
from autotune_nb.task.space import Point
from autotune_nb.trial.score import Objective
from tests.search.test_strategies import space_of, study

RATE, TIME = Objective("output_tokens_per_s", "maximize"), Objective("ttft_p99_s", "minimize")
PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=12)


def observations(pairs: list[tuple[int, int, bool]]) -> list[Observation]:
    return [
        Observation(n, {"a": n}, (float(x), float(y)), (0.1 if bad else -0.1,)) for n, (x, y, bad) in enumerate(pairs)
    ]


@given(PAIRS)
def test_the_front_is_what_no_feasible_trial_is_better_than(pairs: list[tuple[int, int, bool]]) -> None:
    found = observations(pairs)
    front = pareto_front(found, (RATE, TIME))
    feasible = [(x, y) for x, y, bad in pairs if not bad]
    best = [(x, y) for x, y in feasible if not any((u >= x and v <= y) and (u, v) != (x, y) for u, v in feasible)]
    assert sorted(one.values or () for one in front) == sorted(best)
    assert [one.values for one in front] == sorted((one.values for one in front), key=lambda v: -(v or (0,))[0])


@given(PAIRS)
def test_the_hypervolume_counts_the_cells_that_the_front_dominates(pairs: list[tuple[int, int, bool]]) -> None:
    found = observations(pairs)
    cells = {
        (i, j)
        for x, y, bad in pairs
        if not bad
        for i, j in itertools.product(range(6), repeat=2)
        # Between the reference (0, 6) and the trial.
        if i < x and j >= y
    }
    assert hypervolume(found, (RATE, TIME), (0.0, 6.0)) == len(cells)


def test_three_objectives() -> None:
    found = [Observation(0, {}, (1.0, 2.0, 3.0)), Observation(1, {}, (3.0, 1.0, 1.0))]
    objectives = (TIME, TIME, TIME)
    assert pareto_front(found, objectives) == found
    # 3 · 2 · 1 and 1 · 3 · 3, of which 1 · 2 · 1 is in both.
    assert hypervolume(found, objectives, (4.0, 4.0, 4.0)) == 6 + 9 - 2


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
    return hypervolume(found, problem.objectives, worst) / hypervolume(table, problem.objectives, worst)


def test_auto_covers_more_of_the_front_than_random_search_in_twice_the_trials() -> None:
    auto = np.mean([covered("auto", seed, 30) for seed in range(3)])
    assert auto > np.mean([covered("random", seed, 60) for seed in range(3)]) > 0.9
