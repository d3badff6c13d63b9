"""Every chart as a matplotlib figure, for paper: ``at.chart.matplotlib.history(run).savefig("history.pdf")``."""

from __future__ import annotations

from autotune_nb.chart import _charts as charts
from autotune_nb.chart import _more_charts, _predictions
from autotune_nb.chart._names import matplotlib_function

__all__ = [
    "comparison",
    "dependence",
    "engine_metrics",
    "expected_gain",
    "front",
    "history",
    "importance",
    "latency_throughput",
    "parallel_coordinates",
    "slice",
    "timeline",
]

latency_throughput = matplotlib_function(charts.latency_throughput)
history = matplotlib_function(charts.history)
importance = matplotlib_function(charts.importance)
dependence = matplotlib_function(charts.dependence)
front = matplotlib_function(charts.front)
parallel_coordinates = matplotlib_function(charts.parallel_coordinates)
slice = matplotlib_function(charts.slice)  # noqa: A001 - as Optuna calls it
timeline = matplotlib_function(charts.timeline)
engine_metrics = matplotlib_function(_more_charts.engine_metrics)
expected_gain = matplotlib_function(_predictions.expected_gain)
comparison = matplotlib_function(_more_charts.comparison)
