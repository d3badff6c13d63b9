"""Starts that find in a cache what an earlier one has compiled take less time, which ``auto`` learns."""

from __future__ import annotations

import random

import numpy as np

from autotune_nb.search import Observation, SearchProblem, create_strategy
from autotune_nb.search.warm_starts import WarmStarts
from autotune_nb.task.space import Point
from tests.search.test_strategies import RATE, complete, out_of_memory, space_of

SPACE = space_of(size=[1, 2, 4, 8], tokens=[1, 2, 3, 4], seqs=[1, 2, 3, 4])
PROBLEM = SearchProblem(SPACE, (RATE,), compile_parameters=("size", "tokens"))


def point(size: int, tokens: int, seqs: int) -> Point:
    return {"size": size, "tokens": tokens, "seqs": seqs}


def test_a_start_is_warm_after_one_with_the_same_values_has_started() -> None:
    warm = WarmStarts(PROBLEM)
    other = complete(3, point(2, 1, 3), 1.0)
    warm.fit(
        [out_of_memory(0, point(2, 1, 1)), complete(1, point(1, 1, 1), 1.0), complete(2, point(1, 1, 2), 1.0), other]
    )
    assert warm.trials == {2}
    points = [point(1, 1, 4), point(2, 1, 4), point(4, 1, 1)]
    assert warm.of(points).tolist() == [1, 1, 0]
    assert warm.of(points, np.array([2, 0])).tolist() == [0, 1]
    assert warm.of([points[0]]).tolist() == [1]
    # After more trials the same points have other answers.
    warm.fit([other])
    assert warm.of(points).tolist() == [0, 1, 0]


def test_the_engines_default_compiles_too() -> None:
    warm = WarmStarts(SearchProblem(SPACE, (RATE,), point(1, 1, 1), compile_parameters=("size",)))
    baseline = Observation(0, {}, (1.0,), (-0.5,), 100.0, baseline=True)
    warm.fit([baseline, complete(1, point(1, 2, 2), 1.0)])
    assert warm.trials == {1}
    assert warm.of([point(1, 4, 4), point(2, 1, 1)]).tolist() == [1, 0]


def test_warm_starts_are_predicted_to_be_faster_and_preferred() -> None:
    rng, seen, compiled = random.Random(5), list[Observation](), set()
    points = [point(size, tokens, seqs) for size in (1, 2, 4, 8) for tokens in (1, 2, 3, 4) for seqs in (1, 2, 3, 4)]
    # Nothing matters but whether it was compiled: 40 s instead of 400 s. No trial has size 8 with 3 or 4 tokens.
    for number, one in enumerate(
        rng.sample([p for p in points if (p["size"], p["tokens"]) not in ((8, 3), (8, 4))], 25)
    ):
        key = one["size"], one["tokens"]
        seen.append(complete(number, one, rng.uniform(99, 101), seconds=40.0 if key in compiled else 400.0))
        compiled.add(key)
    proposal = create_strategy("auto", PROBLEM).propose(seen)[0]
    assert (proposal.params["size"], proposal.params["tokens"]) in compiled
    assert proposal.seconds is not None
    assert 30 < proposal.seconds < 60
