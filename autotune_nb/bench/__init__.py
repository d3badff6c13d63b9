"""Benchmarks: put load on a ready engine and yield a measurement for each load level.

genai-bench runs as a local process, as a Job or as OME's BenchmarkJob. Its result files are read into ``Measurement``.
``trial.measurement`` defines the figures, ``trial.score`` the scores and limits.
"""

from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.genai_bench import GenaiBench

__all__ = ["BenchRequest", "Benchmark", "GenaiBench"]
