"""Search strategies on recorded tables: their time as a share of random search's, and the duration of the lab itself.

``AUTOTUNE_NB_TABLES`` is the folder with the tables; without one, only the table that is simulated here is used. The
constants of the strategies must not be chosen on the simulated table.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.recorded import RecordedTable
from autotune_nb.search import lab_random
from autotune_nb.search.lab import compare
from autotune_nb.search.lab_problem import LabProblem, lab_problem
from autotune_nb.search.lab_proposals import Proposed
from autotune_nb.search.lab_registry import DEFAULT
from autotune_nb.search.lab_strategies import Outcome
from autotune_nb.search.lab_study import MIN_TRIALS, WITHIN, SimulatedStudy, simulate
from autotune_nb.search.lab_workers import simulated_studies
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective
from autotune_nb.trial.trial import Trial, TrialState
from tests.benchmarks.figure import Figure

TABLES = Path(os.environ.get("AUTOTUNE_NB_TABLES", Path(__file__).parents[3] / "shared" / "tables"))
#: Limits on the 99th percentiles of the time to first token and of the time per token, by table.
_LIMITS = {"T1": (1.0, 0.1), "T3": (5.0, 1.0), "simulated": (2.0, 0.08)}
_SEEDS, _TPE_SEEDS, _CUT_SEEDS = 30, 10, 5


def lab() -> list[Figure]:
    """Return the figures of every strategy on every problem, with 30 studies each (10 of TPE)."""
    files = sorted(TABLES.glob("*.csv")) if TABLES.is_dir() else []
    tables = [*(replace(RecordedTable.of_file(file), name=file.stem) for file in files), simulated_table()]
    problems = [one for table in tables for one in problems_of(table)]
    figures = [_duration(problems[0])]
    tpe = _ratios("tpe", problems, _TPE_SEEDS)
    figures += [Figure("lab_time_ratio_tpe", statistics.median(map(np.median, tpe)), 1.0, _note(problems, tpe))]
    return [*figures, *_of_auto("auto", problems, tpe), *_of_auto("auto-whole", problems, tpe), _wrong_cuts(problems)]


class _CountedCuts(Proposed):
    """Counts the trials that were cut, and those of them whose true value was the best so far."""

    def __init__(self, problem: LabProblem, seed: int) -> None:
        super().__init__("auto", problem, seed, cut=True)
        self.cut = self.wrong = 0

    def tell(self, outcome: Outcome) -> None:
        i, problem = outcome.index, self.problem
        if not outcome.failed and (~outcome.ran & ~np.isnan(problem.level_s[i])).any():
            true = problem.value[i] if problem.maximize else -problem.value[i]
            self.cut += 1
            self.wrong += bool(problem.feasible[i]) and true > self.best_gain
        super().tell(outcome)


def _wrong_cuts(problems: Sequence[LabProblem]) -> Figure:
    counted = [(one, _CountedCuts(one, seed), seed) for one in problems for seed in range(_CUT_SEEDS)]
    for problem, strategy, seed in counted:
        simulate(problem, strategy, seed=seed, trials=MIN_TRIALS)
    cut, wrong = (sum(getattr(strategy, name) for _, strategy, _ in counted) for name in ("cut", "wrong"))
    return Figure("lab_wrong_cuts", 1000 * wrong / max(cut, 1), 0.0, f"of 1 000; {cut} trials were cut")


def _of_auto(name: str, problems: Sequence[LabProblem], tpe: Sequence[Sequence[float]]) -> list[Figure]:
    studies = [_studies(name, one, _SEEDS) for one in problems]
    auto = [_shares(one, found) for one, found in zip(problems, studies, strict=True)]
    medians = [float(np.median(one)) for one in auto]
    to_tpe = [middle / float(np.median(one)) for middle, one in zip(medians, tpe, strict=True)]
    failing = [(one, found) for one, found in zip(problems, studies, strict=True) if one.failed.mean() > 0.1]
    share = statistics.median(
        sum(study.failed for study in found)
        / sum(study.num_counted for study in found)
        / lab_random.failed_share(one, WITHIN)
        for one, found in failing
    )
    cpu_ms = 1000 * max(float(np.median([study.cpu_s for study in found])) for found in studies)
    noisy = [np.median(_ratios(name, [one], _SEEDS, noise=0.03)[0]) for one in problems]
    name = name.replace("-", "_")
    return [
        Figure(f"lab_time_ratio_{name}", statistics.median(medians), 0.10, _note(problems, auto)),
        Figure(f"lab_time_ratio_{name}_worst", max(medians), 0.20),
        Figure(f"lab_time_ratio_{name}_p90", max(float(np.quantile(one, 0.9)) for one in auto), 0.40),
        Figure(f"lab_{name}_to_tpe", statistics.median(to_tpe), 0.4),
        Figure(f"lab_{name}_to_tpe_worst", max(to_tpe), 1.0),
        Figure(f"lab_time_ratio_{name}_noise", float(statistics.median(noisy)), 0.20, "3 % noise"),
        Figure(f"lab_failed_share_{name}", share, 0.4, "to random's, where over 10 % cannot start"),
        Figure(f"lab_cpu_{name}", cpu_ms, 20, "of a proposal", unit="ms"),
    ]


def _duration(problem: LabProblem) -> Figure:
    """Return the minutes that a comparison of all strategies takes on one table, with 30 studies each."""
    began = time.monotonic()
    compare([problem], DEFAULT, seeds=_SEEDS)
    minutes = (time.monotonic() - began) / 60
    return Figure("lab_minutes", minutes, 2.0, f"{len(DEFAULT)} strategies, {len(problem)} configurations", "min")


def _ratios(name: str, problems: Sequence[LabProblem], seeds: int, noise: float = 0.0) -> list[list[float]]:
    """Return the time of each study as a share of random search's expectation, by problem."""
    return [_shares(one, _studies(name, one, seeds, noise), noise) for one in problems]


def _studies(name: str, problem: LabProblem, seeds: int, noise: float = 0.0) -> list[SimulatedStudy]:
    return simulated_studies(problem, name, range(seeds), trials=None, noise=noise)


def _shares(problem: LabProblem, studies: Sequence[SimulatedStudy], noise: float = 0.0) -> list[float]:
    expected_s = lab_random.expected_seconds(problem, 2 * WITHIN if noise else WITHIN)
    # A study that has tried everything has found it, except with noise.
    return [(one.found[1] if one.found else 1.5 * float(one.seconds[-1])) / expected_s for one in studies]


def _note(problems: Sequence[LabProblem], ratios: Sequence[Sequence[float]]) -> str:
    return ", ".join(
        f"{one.name} {one.objective.split()[1]} {float(np.median(own)):.3f}"
        for one, own in zip(problems, ratios, strict=True)
    )


def problems_of(table: RecordedTable) -> list[LabProblem]:
    """Return three problems: throughput per GPU under limits, throughput at the heaviest load, and the p99 latency."""
    heavy, heaviest = str(table.levels[-2]), str(table.levels[-1])
    ttft_s, tpot_s = _LIMITS.get(table.name, _LIMITS["T3"])
    limits = (Limit("ttft_p99_s", "<=", ttft_s), Limit("tpot_p99_s", "<=", tpot_s))
    rate = Objective("output_tokens_per_s", "maximize", limits=limits)
    return [
        lab_problem(table, rate, at=heavy, per_gpu=True),
        lab_problem(table, replace(rate, limits=()), at=heaviest),
        lab_problem(table, Objective("e2e_latency_p99_s", "minimize"), at=heavy),
    ]


def simulated_table() -> RecordedTable:
    """Return a table of 480 configurations of which about a third cannot start, from a simple model of an engine."""
    rng = np.random.default_rng(7)
    levels = [Level("dataset", load) for load in (4, 16, 64, 192)]
    space = itertools.product(
        (1, 2, 4, 8), (0.7, 0.8, 0.88, 0.95), (32, 64, 128, 256, 512), (512, 2048, 8192), ("auto", "fp8")
    )
    trials, gpus = [], {}
    for number, (size, memory, seqs, tokens, cache) in enumerate(space):
        params = {
            "tensor_parallel_size": size,
            "gpu_memory_utilization": memory,
            "max_num_seqs": seqs,
            "max_num_batched_tokens": tokens,
            "kv_cache_dtype": cache,
        }
        gpus[number] = size
        startup_s = 60 + 240 / size + 0.05 * seqs
        # GB for the cache: what the weights, the activations and the graphs leave of 80 GB on each GPU.
        room = size * (80 * memory - 96 / size - tokens / 1024 - seqs / 64)
        reserve = size * (80 * (1 - memory) - 3 - tokens / 2048)
        if room < 4 or reserve < 0:
            failure = Failure(
                FailureKind.OUT_OF_MEMORY, "deploy", "no room for the cache" if room < 4 else "at capture"
            )
            trials.append(Trial(number, params, TrialState.FAILED, failure=failure, seconds={"deploy": startup_s}))
            continue
        slots = room / (0.16 if cache == "fp8" else 0.32)
        tilt = float(np.exp(0.01 * rng.standard_normal()))
        measurements = [
            _simulated(level, size, min(seqs, slots), seqs > slots, tokens, cache == "fp8", tilt) for level in levels
        ]
        seconds = {"deploy": startup_s}
        trials.append(Trial(number, params, TrialState.COMPLETE, tuple(measurements), seconds=seconds))
    return RecordedTable.of_trials("simulated", trials, gpus)


def _simulated(
    level: Level, size: int, slots: float, preempts: bool, tokens: int, fp8: bool, tilt: float
) -> Measurement:
    """Return one level: decoding grows with the batch, communication with the GPUs, prefill in chunks delays it."""
    batch = min(level.concurrency, slots)
    step_s = (0.03 / size + 0.002 * np.log2(size) + batch * (2e-4 if fp8 else 1.6e-4) / size**0.8) * tilt
    chunk_s = tokens * 6e-5 / size**0.85 + 0.003
    prefill_s = 600 / tokens * chunk_s if tokens < 600 else 600 * 6e-5 / size**0.85 + 0.003
    stall = 1.15 if preempts and level.concurrency > slots else 1.0
    tpot_s = (step_s + 0.35 * min(1.0, batch / 64) * chunk_s) * stall
    queue_s = max(0.0, level.concurrency - slots) / max(slots, 1) * 128 * tpot_s
    ttft_s = prefill_s * (1 + batch / 24) + queue_s
    latency_s = ttft_s + 128 * tpot_s
    rate = 128 * level.concurrency / latency_s
    figures = {
        "output_tokens_per_s": rate,
        "ttft_p99_s": 1.6 * ttft_s,
        "tpot_p99_s": 1.3 * tpot_s,
        "e2e_latency_p99_s": 1.4 * latency_s,
    }
    requests = 400
    duration_s = min(300.0, requests * 128 / rate)
    return Measurement(level, duration_s, requests, requests, 0, {name: float(v) for name, v in figures.items()})
