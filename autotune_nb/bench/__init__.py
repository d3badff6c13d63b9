"""How a running engine is measured, level by level."""

from autotune_nb.bench.base import Benchmark, BenchRequest
from autotune_nb.bench.genai_bench import GenaiBench

__all__ = ["BenchRequest", "Benchmark", "GenaiBench"]
