"""Previous studies inform the models of ``auto``: their shape saves trials, and if it misleads it is not used."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from autotune_nb.search import Observation, PreviousStudy, SearchProblem, create_strategy
from autotune_nb.search.encoding import Encoding
from autotune_nb.search.lab_problem import LabProblem
from autotune_nb.search.lab_proposals import Proposed
from autotune_nb.search.lab_study import simulate
from autotune_nb.search.previous_studies import MAX_ROWS, PreviousRows, measured_again
from autotune_nb.search.saved_trials import SavedTrials, saved_trials
from autotune_nb.task.space import Point
from autotune_nb.trial.score import Objective
from tests.search.tables import problem, row
from tests.search.test_strategies import RATE, complete, out_of_memory, space_of

SPACE = space_of(a=[1, 2, 3, 4], b=[1, 2, 3, 4])


def value_of(a: int, b: int) -> float:
    return 100.0 - 10 * (a - 3) ** 2 - 5 * (b - 2) ** 2


def previous_study(factor: float = 1.0, name: str = "runs/a") -> PreviousStudy:
    points: list[Point] = [{"a": a, "b": b} for a in (1, 2, 3, 4) for b in (1, 2, 3, 4)]
    return PreviousStudy(name, tuple(complete(i, p, factor * value_of(**p)) for i, p in enumerate(points)))  # type: ignore[arg-type]


def test_the_best_of_a_previous_study_are_measured_again_first() -> None:
    strategy = create_strategy("auto", SearchProblem(SPACE, (RATE,), {"a": 1, "b": 1}, previous=(previous_study(),)))
    seen: list[Observation] = []
    for number in range(4):
        proposal = strategy.propose(seen)[0]
        seen.append(complete(number, proposal.params, 7 * value_of(**proposal.params)))  # type: ignore[arg-type]
        if number == 1:
            assert proposal.params == {"a": 3, "b": 2}
            assert proposal.reason == "the best of runs/a, measured again"
            assert proposal.value is None
    # Their level is that of the new study, from the trials that both have measured.
    assert proposal.value is not None
    assert proposal.value == pytest.approx(7 * value_of(**proposal.params), rel=0.1)  # type: ignore[arg-type]


def test_with_several_objectives_the_front_is_measured_again_first() -> None:
    space = space_of(a=list(range(8)), b=[0, 1])
    objectives = (Objective("output_tokens_per_s", "maximize"), Objective("ttft_p99_s", "minimize"))
    points: list[Point] = [{"a": a, "b": b} for a in range(8) for b in (0, 1)]
    # Without b, more of a is faster and takes longer; b only costs.
    values = [(float(10 + p["a"] - 5 * p["b"]), float(1 + p["a"] + p["b"])) for p in points]  # type: ignore[operator,arg-type]
    observations = [Observation(i, p, v) for i, (p, v) in enumerate(zip(points, values, strict=True))]
    observations[14] = replace(observations[14], excess=(0.2,))
    again = list(measured_again(SearchProblem(space, objectives, previous=(PreviousStudy("x", tuple(observations)),))))
    assert [point["b"] for point, _ in again] == [0, 0, 0, 0]
    assert [point["a"] for point, _ in again] == [6, 4, 2, 0]
    assert {reason for _, reason in again} == {"on the Pareto front of x, measured again"}


def test_what_breaks_a_limit_or_is_not_allowed_any_more_is_not_measured_again() -> None:
    observations = previous_study().observations
    broken = [replace(o, excess=(0.2,)) if o.params == {"a": 3, "b": 2} else o for o in observations]
    space = space_of(["a != 2"], a=[1, 2, 3, 4], b=[1, 2, 3, 4])
    previous = PreviousStudy("x", (*broken, out_of_memory(16, {"a": 3, "b": 2})))
    strategy = create_strategy("auto", SearchProblem(space, (RATE,), previous=(previous,)))
    first = strategy.propose([])[0]
    assert first.params == {"a": 3, "b": 1}
    assert "measured again" not in strategy.propose([complete(0, first.params, 1.0)], [{"a": 3, "b": 3}])[0].reason


def test_values_are_moved_to_the_level_of_the_points_that_both_have_measured() -> None:
    previous, encoding = previous_study(), Encoding(SPACE)
    rows = PreviousRows(SearchProblem(SPACE, (RATE,), previous=(previous, previous)), encoding)
    values = np.log([o.values[0] for o in rows.observations if o.values])
    codes = encoding.encode([{"a": 3, "b": 2}, {"a": 1, "b": 1}])
    moved = rows.aligned(values, codes, np.log([200.0, 2 * value_of(1, 1)]))
    assert moved == pytest.approx(values + math.log(2))
    assert rows.studies.tolist() == [1] * 16 + [2] * 16
    # Without a common point, the means are equal.
    alone = rows.aligned(values, encoding.encode([]), np.array([3.0]))
    assert alone[:16].mean() == pytest.approx(3.0)


def test_of_a_large_study_the_best_half_and_a_spread_of_the_rest_are_used() -> None:
    space = space_of(a=list(range(200)))
    many = PreviousStudy("x", tuple(complete(n, {"a": n}, 1.0 + n) for n in range(200)))
    rows = PreviousRows(SearchProblem(space, (RATE,), previous=(many,)), Encoding(space))
    used = [o.params["a"] for o in rows.observations]
    assert len(used) == MAX_ROWS
    assert used[:3] == [199, 198, 197]
    assert used[-1] == 0


def table(seed: int, *, level: float = 1.0, sign: int = 1) -> LabProblem:
    """A table of three parameters with one optimum; another seed is another version of the engine."""
    rng = np.random.default_rng(seed)
    drift = rng.normal(0, 0.03, (3, 6))
    rows = []
    for a in range(6):
        for b in range(6):
            for c in range(4):
                log = -0.05 * (a - 4) ** 2 - 0.03 * (b - 1) ** 2 - 0.08 * (c - 2) ** 2 - 0.03 * (a - 4) * (b - 1)
                log = sign * log + drift[0, a] + drift[1, b] + drift[2, c]
                rows.append(row(len(rows), (1.0, level * 100 * math.exp(log)), a=a, b=b, c=c))
    return problem(*rows)


def trials_until_found(target: LabProblem, seed: int, *previous: PreviousStudy) -> int:
    found = simulate(target, Proposed("auto", target, seed, previous=previous), seed=seed, min_trials=0).found
    assert found is not None
    return found[0]


def learned(source: LabProblem, seed: int) -> PreviousStudy:
    strategy = Proposed("auto", source, seed)
    simulate(source, strategy, seed=seed, trials=20)
    return strategy.observed


def test_another_version_saves_trials_and_a_misleading_study_costs_few() -> None:
    target, seeds = table(0), range(4)
    cold = [trials_until_found(target, seed) for seed in seeds]
    similar = [trials_until_found(target, seed, learned(table(1, level=3.0), 50 + seed)) for seed in seeds]
    misleading = [trials_until_found(target, seed, learned(table(2, sign=-1), 50 + seed)) for seed in seeds]
    assert statistics.mean(similar) <= 0.6 * statistics.mean(cold)
    # The two that are measured again, and a few until the data contradict the opposite of the truth.
    assert statistics.mean(misleading) <= statistics.mean(cold) + 6


def test_the_saved_trials_are_predicted_by_simulating_a_search_without_previous_studies() -> None:
    target, previous = table(0), learned(table(1, level=3.0), 50)
    strategy = Proposed("auto", target, 0, previous=(previous,))
    simulate(target, strategy, seed=0, trials=8)
    space = space_of(a=list(range(6)), b=list(range(6)), c=list(range(4)))
    searched = SearchProblem(space, (target.goal,), previous=(previous,))
    found = saved_trials(searched, strategy.observed.observations)
    assert found is not None
    assert found.found <= 8
    assert found.without > found.found
    assert saved_trials(replace(searched, previous=()), strategy.observed.observations) is None
    assert saved_trials(searched, []) is None
    # Every search begins with the engine's default: where that is the best, nothing was saved.
    best = max(strategy.observed.observations, key=lambda one: one.values or ())
    others = [one for one in strategy.observed.observations if one.number != best.number]
    assert saved_trials(searched, [*others, replace(best, baseline=True)]) is None


def test_the_saved_trials_are_reported_in_a_sentence() -> None:
    assert str(SavedTrials(3, 11)) == (
        "the warm start saved about 8 trials: it took 3 to come within 2% of the best, and a search without previous "
        "studies is predicted to take 11"
    )
    assert str(SavedTrials(5, 4)).startswith("the warm start saved about 0 trials")
    assert str(SavedTrials(5, 40, at_least=True)).startswith("the warm start saved at least 35 trials")
