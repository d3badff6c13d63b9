"""Every chart as a matplotlib figure, for paper: ``at.chart.matplotlib.history(run).savefig("history.pdf")``."""

from __future__ import annotations

from autotune_nb.chart import _charts as charts
from autotune_nb.chart._names import matplotlib_function

__all__ = ["dependence", "front", "history", "importance", "latency_throughput"]

latency_throughput = matplotlib_function(charts.latency_throughput)
history = matplotlib_function(charts.history)
importance = matplotlib_function(charts.importance)
dependence = matplotlib_function(charts.dependence)
front = matplotlib_function(charts.front)
