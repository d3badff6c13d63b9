"""Limits on percentiles: how many levels decide them wrongly, with simulated requests whose percentile is known."""

from __future__ import annotations

import math
import random
from collections import Counter
from statistics import NormalDist
from types import SimpleNamespace

from autotune_nb.bench._arguments import level_plan
from autotune_nb.bench._steady_state import LevelEnd
from autotune_nb.task.task import Task
from autotune_nb.trial.binomial import is_decided
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Decision
from tests.benchmarks.figure import Figure

_LEVELS, _REQUESTS_PER_S, _SECONDS, _MOST_SECONDS = 1000, 10.0, 20, 90
_GOAL = 0.05


def limits() -> list[Figure]:
    """Return the wrong decisions on limits that are broken by 10 %, and on limits that are kept by 30 %.

    Each is the worst of p99 and p90 with a Pareto and with a lognormal distribution.
    """
    figures = []
    for name, ratio, wrong in (
        ("limits_broken_by_a_tenth_called_kept", 1.1, Decision.KEPT),
        ("limits_kept_by_a_third_called_broken", 0.7, Decision.BROKEN),
    ):
        shares, notes = [], []
        for percent in (99, 90):
            for tail in ("pareto", "lognormal"):
                found = _decisions(percent, tail, ratio)
                shares.append(found[wrong] / _LEVELS)
                each = ", ".join(f"{decision} {found[decision] / _LEVELS:.1%}" for decision in Decision)
                notes.append(f"p{percent} {tail}: {each}")
        figures.append(Figure(name, max(shares), _GOAL, f"({'; '.join(notes)})"))
    return figures


def _decisions(percent: int, tail: str, ratio: float) -> Counter[Decision]:
    """Return the decisions of levels whose requests have this percentile, times ``ratio`` of the bound."""
    rng, found = random.Random(percent), Counter[Decision]()
    task = Task.parse(
        {
            "name": "limits",
            "model": "m",
            "engine": "llama_cpp",
            "parameters": {"threads": [1, 2]},
            "workload": {
                "scenarios": ["D(1,1)"],
                "seconds_per_level": _SECONDS,
                "max_seconds_per_level": _MOST_SECONDS,
                "requests_per_level": 100,
                "precision": None,
            },
            "objective": "maximize output_tokens_per_s",
            "limits": [f"ttft_p{percent}_s <= {1 / ratio!r}"],
        }
    )
    (limit,), plan = task.goal.limits, level_plan(task)
    for _ in range(_LEVELS):
        end = LevelEnd(plan, _SECONDS, 100, is_decided)
        count = beyond = 0
        while True:
            time = _draw(rng, tail, percent / 100)
            count, beyond = count + 1, beyond + limit.is_beyond(time)
            end.count(SimpleNamespace(ttft=time))
            level = SimpleNamespace(began=0.0, num_ended=count, num_scored=count, name=("D(1,1)", 1))
            if end.reached(level, count / _REQUESTS_PER_S):  # type: ignore[arg-type]
                break
        measured = Measurement(Level("D(1,1)"), 1.0, count, count, 0, beyond={str(limit): (count, beyond)})
        decision = limit.decision(measured)
        assert decision is not None
        found[decision] += 1
    return found


def _draw(rng: random.Random, tail: str, quantile: float) -> float:
    """Return the time of a request, of a distribution whose quantile is 1."""
    if tail == "pareto":
        return float(rng.paretovariate(1.5) * (1 - quantile) ** (1 / 1.5))
    return math.exp(0.5 * (rng.gauss(0, 1) - NormalDist().inv_cdf(quantile)))
