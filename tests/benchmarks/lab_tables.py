"""The problems on which strategies are measured: recorded tables, if there are any, and a simulated one.

``AUTOTUNE_NB_TABLES`` is the folder with the tables. The constants of the strategies must not be chosen on the
simulated table.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.recorded import RecordedTable
from autotune_nb.search.lab_problem import LabProblem, lab_problem
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective
from autotune_nb.trial.trial import Trial, TrialState

TABLES = Path(os.environ.get("AUTOTUNE_NB_TABLES", Path(__file__).parents[3] / "shared" / "tables"))
#: Limits on the 99th percentiles of the time to first token and of the time per token, by table.
_LIMITS = {"T1": (1.0, 0.1), "T3": (5.0, 1.0), "simulated": (2.0, 0.08)}
#: What an engine's own default would be, by table, or the smallest shape of it that starts.
_DEFAULTS = {
    "T1": [1, 1, "sarathi-512", 128],
    "T3": [2, 1, "sarathi-512", 128],
    "simulated": [2, 0.88, 256, 2048, "auto"],
}


def all_problems() -> list[LabProblem]:
    """Return the problems of all tables."""
    files = sorted(TABLES.glob("*.csv")) if TABLES.is_dir() else []
    tables = [*(replace(RecordedTable.of_file(file), name=file.stem) for file in files), simulated_table()]
    return [one for table in tables for one in problems_of(table)]


def with_default(problem: LabProblem) -> LabProblem:
    """Return the problem of a study that tries the engine's default first; of an unknown table unchanged."""
    values = _DEFAULTS.get(problem.name)
    found = next((i for i, params in enumerate(problem.params) if list(params.values()) == values), None)
    return replace(problem, default=found)


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
