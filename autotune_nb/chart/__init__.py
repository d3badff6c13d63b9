"""Every chart as a Plotly figure, from a study, a run, a DataFrame or a file::

    at.chart.latency_throughput(run)
    at.chart.history("runs/qwen3")
    at.chart.importance(run.trials)
    at.chart.slice("levels.csv", objective="minimize ttft_p99_s")
    at.chart.engine_metrics(run, trial=7)
    at.chart.comparison("runs/qwen3", "runs/nightly")

``at.chart.matplotlib`` has the same functions for figures on paper, ``at.chart.data`` for the data of each chart as a
DataFrame. A table has the columns of ``run.trials`` or those that ``autotune-nb export --as csv`` writes.

A chart is added in ``reports`` first, where the monitor and the report use it; here it gets its public name.
"""

from __future__ import annotations

from autotune_nb.chart import _charts as charts
from autotune_nb.chart import _more_charts, _predictions, data, matplotlib
from autotune_nb.chart._names import plotly_function

__all__ = [
    "comparison",
    "data",
    "dependence",
    "engine_metrics",
    "expected_gain",
    "front",
    "history",
    "importance",
    "latency_throughput",
    "matplotlib",
    "parallel_coordinates",
    "slice",
    "timeline",
]

latency_throughput = plotly_function(charts.latency_throughput)
history = plotly_function(charts.history)
importance = plotly_function(charts.importance)
dependence = plotly_function(charts.dependence)
front = plotly_function(charts.front)
parallel_coordinates = plotly_function(charts.parallel_coordinates)
slice = plotly_function(charts.slice)  # noqa: A001 - as Optuna calls it
timeline = plotly_function(charts.timeline)
engine_metrics = plotly_function(_more_charts.engine_metrics)
expected_gain = plotly_function(_predictions.expected_gain)
comparison = plotly_function(_more_charts.comparison)
