"""The data of every chart as a DataFrame, one row per marker: ``at.chart.data.history(run)``."""

from __future__ import annotations

from autotune_nb.chart import _charts as charts
from autotune_nb.chart import _more_charts, _predictions
from autotune_nb.chart._names import data_function

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

latency_throughput = data_function(charts.latency_throughput)
history = data_function(charts.history)
importance = data_function(charts.importance)
dependence = data_function(charts.dependence)
front = data_function(charts.front)
parallel_coordinates = data_function(charts.parallel_coordinates)
slice = data_function(charts.slice)  # noqa: A001 - as Optuna calls it
timeline = data_function(charts.timeline)
engine_metrics = data_function(_more_charts.engine_metrics)
expected_gain = data_function(_predictions.expected_gain)
comparison = data_function(_more_charts.comparison)
