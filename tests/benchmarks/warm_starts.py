"""The trials of warm starts as a share of those without: from another table, another version, and one that misleads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from autotune_nb.search import PreviousStudy
from autotune_nb.search.lab_problem import LabProblem
from autotune_nb.search.lab_proposals import Proposed
from autotune_nb.search.lab_study import simulate
from tests.benchmarks.figure import Figure
from tests.benchmarks.lab_tables import all_problems

_SEEDS, _LEARNED = 8, 30
#: The standard deviation of the logarithm of each value's effect in another version, and the level of all figures.
_DRIFT, _LEVEL = 0.05, 1.4


def warm_starts() -> Iterator[Figure]:
    """Yield the mean trials until one of the best is found, as a share of a search without previous studies."""
    problems = all_problems()
    cold = {id(one): [_trials(one, seed) for seed in range(_SEEDS)] for one in problems}
    pairs = [(one, other) for one in problems for other in problems if _comparable(one, other)]
    if pairs:
        yield _share("another_model", [one for one, _ in pairs], cold, lambda i, seed: _learned(pairs[i][1], seed), 0.5)
    yield _share(
        "another_version", problems, cold, lambda i, seed: _learned(_another_version(problems[i], seed), seed), 0.6
    )
    yield _share("misleading", problems, cold, lambda i, seed: _learned(_opposite(problems[i]), seed), 1.25)


def _share(
    name: str,
    problems: list[LabProblem],
    cold: dict[int, list[int]],
    previous: Callable[[int, int], PreviousStudy],
    goal: float,
) -> Figure:
    shares = []
    for i, problem in enumerate(problems):
        warm = [_trials(problem, seed, previous(i, 100 + seed)) for seed in range(_SEEDS)]
        shares.append(statistics.mean(warm) / statistics.mean(cold[id(problem)]))
    listed = ", ".join(f"{one.name} {share:.2f}" for one, share in zip(problems, shares, strict=True))
    return Figure(f"warm_start_trials_{name}", statistics.mean(shares), goal, f"{_SEEDS} studies each: {listed}")


def _comparable(one: LabProblem, other: LabProblem) -> bool:
    return one is not other and one.objective == other.objective and one.params[0].keys() == other.params[0].keys()


def _trials(problem: LabProblem, seed: int, *previous: PreviousStudy) -> int:
    study = simulate(problem, Proposed("auto", problem, seed, previous=previous), seed=seed, min_trials=0)
    return study.found[0] if study.found else len(study.seconds)


def _learned(problem: LabProblem, seed: int) -> PreviousStudy:
    strategy = Proposed("auto", problem, seed)
    simulate(problem, strategy, seed=seed, trials=_LEARNED)
    return strategy.observed


def _another_version(problem: LabProblem, seed: int) -> LabProblem:
    rng = np.random.default_rng(seed)
    logarithm = np.zeros(len(problem))
    for name in problem.params[0]:
        values = [repr(one.get(name)) for one in problem.params]
        effects = {value: _DRIFT * rng.standard_normal() for value in dict.fromkeys(values)}
        logarithm += [effects[value] for value in values]
    return replace(problem, values=_LEVEL * problem.values * np.exp(logarithm)[:, None])


def _opposite(problem: LabProblem) -> LabProblem:
    """Return the problem whose best configurations are the worst."""
    return replace(problem, values=1 / problem.values)
