"""Benchmarks: put load on a ready engine and yield a measurement for each load level.

genai-bench and aiperf run as local processes, genai-bench also as a Job or as OME's BenchmarkJob. Their result files
are read into ``Measurement``.
``trial.measurement`` defines the figures, ``trial.score`` the scores and limits.
"""

from autotune_nb.bench.aiperf import AiperfBench
from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.bench.local_benchmark import local_benchmark

__all__ = ["AiperfBench", "BenchRequest", "Benchmark", "GenaiBench", "local_benchmark"]
