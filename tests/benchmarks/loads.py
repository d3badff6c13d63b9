"""The search for the highest load: how often a cliff of the throughput is not located, on simulated engines."""

from __future__ import annotations

import math
import random
import statistics

from autotune_nb.search.load_search import LoadBisection
from autotune_nb.task.workload import LoadSearch
from autotune_nb.trial.load import LoadRange
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.pooling import pooled
from autotune_nb.trial.score import Limit
from tests.benchmarks.figure import Figure

_ENGINES, _REQUESTS, _RATE = 400, 300, 100.0
_SECTION = LoadSearch(high=256)
#: The time to the first token stays far below it, so that the cliff alone bounds the load.
_LIMITS = (Limit.parse("ttft_mean_s <= 10"),)
#: Noise between starts, and how heavy-tailed requests are: the standard deviation of the logarithm of one's length.
_CASES = ((0.03, 0.0), (0.03, 0.6), (0.1, 0.0), (0.1, 0.6))


def loads() -> list[Figure]:
    """Return how often a cliff between two loads is not located within a step, or reported where there is none."""
    rng, missed, alarms, notes, levels = random.Random(7), 0, 0, [], []
    for noise, tail in _CASES:
        of_case = 0
        for _ in range(_ENGINES):
            cliff, loss = rng.randint(2, 250), rng.uniform(0.35, 0.8)
            found, count = _search(rng, cliff, loss, noise, tail)
            levels.append(count)
            of_case += not _located(found, cliff)
            alarms += _search(rng, cliff, 0.0, noise, tail)[0].cliff is not None
        missed += of_case
        notes.append(f"{noise:.0%} noise{', heavy tails' if tail else ''} {of_case / _ENGINES:.3f}")
    engines = _ENGINES * len(_CASES)
    note = f"of {engines} engines, {statistics.fmean(levels):.1f} levels each; {', '.join(notes)}"
    return [
        Figure("throughput_cliff_not_located", missed / engines, 0.05, note),
        Figure("throughput_cliff_without_one", alarms / engines, 0.05),
    ]


def _located(found: LoadRange, cliff: int) -> bool:
    """Whether the throughput falls between the loads that were found, and they are at most one step apart."""
    if found.kept is None or found.broken is None or found.cliff != (found.kept, found.broken):
        return False
    return found.kept < cliff <= found.broken <= max(found.kept + 1, math.ceil(found.kept * _SECTION.step))


def _search(rng: random.Random, cliff: int, loss: float, noise: float, tail: float) -> tuple[LoadRange, int]:
    """Search an engine whose throughput saturates and falls by a share from a load on; returns the number of levels."""
    assert _SECTION.high is not None
    search = LoadBisection(_SECTION.low, _SECTION.high, _SECTION.step, _LIMITS, _SECTION.most_runs)
    # It is half saturated well before the cliff, as where requests begin to evict one another from the KV cache.
    start, capacity, count = rng.lognormvariate(0, noise), cliff * rng.uniform(0.1, 0.5), 0
    measured: dict[int, Measurement] = {}
    while (load := search.next_load(list(measured.values()))) is not None:
        within = 0.01 + tail / math.sqrt(_REQUESTS)
        rate = (
            _RATE
            * start
            * load
            / (load + capacity)
            * (1 - loss if load >= cliff else 1)
            * rng.lognormvariate(0, within)
        )
        figures = {"output_tokens_per_s": rate, "ttft_mean_s": 0.01 * load / rate}
        steady = {"output_tokens_per_s_error": within * rate}
        one = Measurement(Level("D(8,8)", load), 60.0, _REQUESTS, _REQUESTS, 0, figures, steady=steady)
        measured[load] = pooled(measured[load], one) if load in measured else one
        count += 1
    return LoadRange.of(list(measured.values()), _LIMITS), count
