"""The real genai-bench and the real aiperf on one server of known behaviour: by how much their figures differ.

aiperf is looked for on the PATH, or at ``AUTOTUNE_NB_AIPERF``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from autotune_nb.bench import AiperfBench, Benchmark, BenchRequest, GenaiBench
from autotune_nb.engines.random_model import write_random_model
from autotune_nb.task.sections import RandomWeights
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Measurement
from tests.benchmarks.figure import Figure
from tests.known_engine import KnownEngine

#: Four requests at a time take 0.95 s each, so that about as many arrive as at the rate of 4 in a second.
_FIRST_TOKEN_S, _TOKEN_S = 0.2, 0.05
_SCENARIO, _CONCURRENCY, _RATE, _SECONDS = "D(32,16)", 4, 4, 30
_GOAL = 5.0
_FIGURES = ("ttft_p50_s", "ttft_mean_s", "tpot_mean_s", "e2e_latency_mean_s", "e2e_latency_p90_s", "output_tokens_mean")


def cross_check() -> list[Figure]:
    """Return by how many percent each figure of aiperf differs from genai-bench's."""
    program = os.environ.get("AUTOTUNE_NB_AIPERF") or shutil.which("aiperf")
    if program is None:
        click.echo("cross_check: skipped, there is no aiperf on the PATH (pip install 'autotune_nb[rate]')")
        return []
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        return asyncio.run(_compare(Path(name), program))


async def _compare(folder: Path, program: str) -> list[Figure]:
    _, tokenizer = write_random_model(RandomWeights(layers=1, hidden_size=64, feed_forward_size=64), folder / "model")
    closed = _task({"concurrency": [_CONCURRENCY]}, {})
    open_loop = _task({"rate": [_RATE], "arrival": "constant"}, {"kind": "aiperf", "executable": program})
    benchmarks: list[Benchmark] = [
        GenaiBench(closed, backend="vllm", engine=None, labels={}),
        AiperfBench(open_loop, labels={}),
    ]
    one, other = [await _measure(each, folder / type(each).__name__, tokenizer) for each in benchmarks]
    counts = f"{one.num_completed_requests} and {other.num_completed_requests} requests"
    figures = []
    for name in _FIGURES:
        mine, its = one.figures[name], other.figures[name]
        note = f"genai-bench {mine:.4g}, aiperf {its:.4g}, {counts}"
        figures.append(Figure(f"aiperf_differs_{name}", 100 * abs(its / mine - 1), _GOAL, note, "%"))
    return figures


async def _measure(benchmark: Benchmark, folder: Path, tokenizer: Path) -> Measurement:
    folder.mkdir()
    await benchmark.prepare(str(tokenizer))
    try:
        with KnownEngine(first_token_s=_FIRST_TOKEN_S, token_s=_TOKEN_S) as engine:
            request = BenchRequest(url=engine.url, model="m", tokenizer=str(tokenizer), folder=folder)
            async with aclosing(benchmark.measure(request)) as levels:
                return await anext(levels)
    finally:
        await benchmark.close()


def _task(load: dict[str, Any], benchmark: dict[str, Any]) -> Task:
    workload = {"scenarios": [_SCENARIO], "seconds_per_level": _SECONDS, "requests_per_level": 1000, "precision": None}
    task = {"name": "t", "model": "m", "engine": "vllm", "parameters": {"max_num_seqs": [1, 2]}}
    return Task.parse(
        {
            **task,
            "objective": "maximize output_tokens_per_s",
            "workload": {**workload, **load},
            **({"benchmark": benchmark} if benchmark else {}),
        }
    )
