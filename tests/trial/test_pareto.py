"""Several objectives: the Pareto front, its knee, and the volume that it dominates."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.trial.pareto import dominates, front_indices, hypervolume, knee, scaled
from autotune_nb.trial.score import Objective

RATE, TIME = Objective("output_tokens_per_s", "maximize"), Objective("ttft_p99_s", "minimize")
BOTH = (RATE, TIME)
PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


@given(PAIRS)
def test_the_front_is_what_nothing_dominates(pairs: list[tuple[int, int]]) -> None:
    front = [pairs[i] for i in front_indices(pairs, BOTH)]
    best = [(x, y) for x, y in pairs if not any((u >= x and v <= y) and (u, v) != (x, y) for u, v in pairs)]
    assert sorted(front) == sorted(best)
    assert front == sorted(front, key=lambda pair: -pair[0])
    assert all(any(dominates(one, other, BOTH) for one in front) for other in pairs if other not in front)


@given(PAIRS)
def test_the_hypervolume_counts_the_cells_that_the_front_dominates(pairs: list[tuple[int, int]]) -> None:
    cells = {
        (i, j)
        for x, y in pairs
        for i, j in itertools.product(range(6), repeat=2)
        # Between the reference (0, 6) and the pair.
        if i < x and j >= y
    }
    assert hypervolume(pairs, BOTH, (0.0, 6.0)) == len(cells)


def test_three_objectives() -> None:
    found = [(1.0, 2.0, 3.0), (3.0, 1.0, 1.0)]
    objectives = (TIME, TIME, TIME)
    assert front_indices(found, objectives) == [0, 1]
    # 3 · 2 · 1 and 1 · 3 · 3, of which 1 · 2 · 1 is in both.
    assert hypervolume(found, objectives, (4.0, 4.0, 4.0)) == 6 + 9 - 2


def test_the_knee_is_where_a_little_of_one_objective_costs_much_of_the_other() -> None:
    front = [(100.0, 5.0), (95.0, 1.0), (50.0, 0.9), (10.0, 0.5)]
    assert front[knee(front, BOTH)] == (95.0, 1.0)
    # Units and the order of the points make no difference.
    assert knee([(x / 1000, y * 1000) for x, y in front[::-1]], BOTH) == 2


def test_a_front_of_one_or_two_has_a_knee() -> None:
    assert knee([(1.0, 2.0)], BOTH) == 0
    assert knee([(7.0, 3.0), (5.0, 1.0)], BOTH) == 0


def test_values_are_scaled_from_the_worst_to_the_best() -> None:
    assert scaled([(1.0, 4.0), (100.0, 4.0), (10.0, 1.0), (10.0, 2.0)], BOTH) == [(0, 0), (1, 0), (0.5, 1), (0.5, 0.5)]
    # A value that is not positive has no logarithm.
    assert scaled([(0.0,), (1.0,), (4.0,)], (RATE,)) == [(0,), (0.25,), (1,)]
    assert scaled([(3.0, 3.0)], BOTH) == [(1, 1)]
