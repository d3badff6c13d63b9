"""The search for the highest load within a trial, on simulated engines whose boundary is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from autotune_nb.search.load_search import LoadBisection
from autotune_nb.task.workload import LoadSearch
from autotune_nb.trial.load import LoadRange
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.pooling import pooled
from autotune_nb.trial.score import Limit

LIMITS = (Limit.parse("ttft_mean_s <= 1"),)


def bisection(low: int = 1, high: int = 256, step: float = 1.1, start: int = 0) -> LoadBisection:
    section = LoadSearch(low=low, high=high, step=step)
    return LoadBisection(low, high, step, LIMITS, section.most_runs, start)


def searched(search: LoadBisection, ttft_s: Callable[[int], float]) -> tuple[LoadRange, list[int]]:
    """Return the boundary that the search finds for an engine, and the loads in the order in which they ran."""
    measured: dict[int, Measurement] = {}
    loads = []
    while (load := search.next_load(list(measured.values()))) is not None:
        one = Measurement(Level("D(8,8)", load), 10.0, 50, 50, 0, {"ttft_mean_s": ttft_s(load)})
        measured[load] = pooled(measured[load], one) if load in measured else one
        loads.append(load)
    return LoadRange.of(list(measured.values()), LIMITS), loads


def within_a_step(found: LoadRange, highest: int, step: float = 1.1) -> bool:
    """Whether the highest load that keeps the limit is the one that was found, or less than a step above it."""
    return found.kept is not None and found.kept <= highest < max(found.kept + 1, found.kept * step)


@pytest.mark.parametrize("start", [0, 1, 7, 200, 999])
@pytest.mark.parametrize("highest", [1, 2, 3, 5, 11, 64, 100, 255])
def test_the_highest_load_is_found_within_a_step_from_wherever_the_search_starts(highest: int, start: int) -> None:
    search = bisection(start=start)
    found, loads = searched(search, lambda load: load / (highest + 0.5))
    assert within_a_step(found, highest)
    assert len(loads) <= search.most_runs
    # Both ends of the gap were measured twice.
    assert loads.count(found.kept or 0) == loads.count(found.broken or 0) == 2


def test_an_engine_without_a_boundary_ends_at_the_highest_and_one_that_never_keeps_the_limit_at_the_lightest() -> None:
    found, loads = searched(bisection(), lambda _load: 0.5)
    assert (found.kept, loads) == (256, [1, 2, 4, 8, 16, 32, 64, 128, 256])
    found, loads = searched(bisection(low=2, start=20), lambda _load: 2.0)
    assert (found.kept, loads) == (None, [20, 10, 5, 2, 2])


def test_half_of_the_best_load_saves_levels() -> None:
    _, all_loads = searched(bisection(), lambda load: load / 50.5)
    found, fewer = searched(bisection(start=24), lambda load: load / 50.5)
    assert within_a_step(found, 50)
    assert len(all_loads) - len(fewer) >= 3


def test_with_noise_it_ends_in_time_and_near_the_boundary() -> None:
    rng, near = random.Random(1), 0
    for _ in range(60):
        search = bisection()
        found, loads = searched(search, lambda load: load / 40.5 * rng.lognormvariate(0, 0.1))
        assert len(loads) <= search.most_runs
        near += found.kept is not None and 40 / 1.3 <= found.kept <= 40 * 1.3
    assert near >= 54


def test_recorded_loads_are_measured_once_each_until_a_limit_breaks() -> None:
    search = LoadBisection(1, 16, 1.1, LIMITS, 20, recorded=(1, 2, 4, 8, 16))
    found, loads = searched(search, lambda load: load / 5)
    assert (found.kept, loads) == (4, [1, 2, 4, 8])
