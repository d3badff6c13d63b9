"""The processor time of a proposal of ``auto`` after many trials of a large space."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time

import numpy as np

from autotune_nb.search import Observation, SearchProblem, create_strategy
from autotune_nb.task.parameters import Choice
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.trial.score import Limit, Objective

_GOAL = Objective("output_tokens_per_s", "maximize", limits=(Limit("ttft_p99_s", "<=", 1.0),))
_REPEATS = 5


def proposal_ms(trials: int, configurations: int, parameters: int) -> float:
    """Return the median milliseconds of a proposal in a space of so many configurations, on one thread.

    Without those of the first one, which encodes the space once a study.
    """
    # Threads of linear algebra that wait for each other on a busy machine would count, too.
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", __name__, *map(str, (trials, configurations, parameters))]
    return float(subprocess.run(command, env={**os.environ, **threads}, check=True, capture_output=True).stdout)


def _milliseconds(trials: int, configurations: int, parameters: int) -> float:
    rng = random.Random(7)
    space = SearchSpace({f"p{i}": Choice(type="choice", values=list(range(6))) for i in range(parameters)})
    # Spread over the space, each once.
    points: dict[tuple[int, ...], Point] = {}
    while len(points) < configurations:
        values = tuple(rng.randrange(6) for _ in range(parameters))
        points[values] = {f"p{i}": value for i, value in enumerate(values)}
    problem = SearchProblem(space.with_points(list(points.values())), (_GOAL,))
    weights = [rng.random() for _ in range(parameters)]
    observed = [_observation(n, values, weights) for n, values in enumerate(list(points)[: trials + _REPEATS])]
    strategy = create_strategy("auto", problem, 0)
    strategy.propose(observed[:trials])
    seconds = []
    for more in range(1, _REPEATS + 1):
        began = time.process_time()
        strategy.propose(observed[: trials + more])
        seconds.append(time.process_time() - began)
    return 1000 * statistics.median(seconds)


def _observation(number: int, values: tuple[int, ...], weights: list[float]) -> Observation:
    x = float(np.dot(values, weights)) / sum(weights)
    params: Point = {f"p{i}": value for i, value in enumerate(values)}
    if values[0] == 5 and values[1] > 3:
        return Observation(number, params, failure="out of memory at start", own=True, started=False, seconds=60.0)
    return Observation(number, params, (100 + 20 * x - x * x,), (0.1 * (x - 3),), 100.0 + 10 * x)


if __name__ == "__main__":
    sys.stdout.write(str(_milliseconds(*map(int, sys.argv[1:]))))
