"""Benchmarks: they put load on a ready engine and yield a measurement for each load level.

genai-bench as a local process, as a Job or as OME's BenchmarkJob, and its result files read into ``Measurement``. What
a figure means is in ``trial.measurement``; scores and limits are in ``trial.score``.
"""

from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.genai_bench import GenaiBench

__all__ = ["BenchRequest", "Benchmark", "GenaiBench"]
