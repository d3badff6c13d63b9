"""Turns a function that returns a chart into one that returns its Plotly figure, its matplotlib figure or its data."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from autotune_nb.reports.drawing import Chart

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

#: The end of every docstring, since a notebook's tooltip shows nothing else.
_ARGUMENTS = """

    Args:
        source: A study, a run, the folder of a study, a DataFrame (``run.trials``, or measurements in long form), or
            the path of a CSV or parquet file.
        objective: Of a table, such as ``"maximize output_tokens_per_s"``; a study and ``run.trials`` have their own.
        limits: Of a table, such as ``["ttft_p99_s <= 0.5"]``.

    Raises StudyError if there is no study or table to draw, TaskError for an invalid objective or limit.
    """
P = ParamSpec("P")
T = TypeVar("T")


def plotly_function(chart: Callable[P, Chart]) -> Callable[P, go.Figure]:
    """Return the function of ``at.chart``."""
    return _returning(chart, lambda made: made.figure(), "autotune_nb.chart", "plotly.graph_objects.Figure")


def matplotlib_function(chart: Callable[P, Chart]) -> Callable[P, Figure]:
    """Return the function of ``at.chart.matplotlib``."""
    name = "autotune_nb.chart.matplotlib"
    return _returning(chart, lambda made: made.matplotlib_figure(), name, "matplotlib.figure.Figure")


def data_function(chart: Callable[P, Chart]) -> Callable[P, pd.DataFrame]:
    """Return the function of ``at.chart.data``."""
    return _returning(chart, lambda made: made.frame(), "autotune_nb.chart.data", "pandas.DataFrame")


def _returning(chart: Callable[P, Chart], take: Callable[[Chart], T], module: str, returned: str) -> Callable[P, T]:
    @functools.wraps(chart)
    def function(*args: P.args, **kwargs: P.kwargs) -> T:
        return take(chart(*args, **kwargs))

    # Those that are drawn from something else describe their own.
    function.__doc__ = chart.__doc__ if "Args:" in (chart.__doc__ or "") else f"{chart.__doc__}{_ARGUMENTS}"
    # What help() and a notebook's tooltip show.
    function.__module__, function.__qualname__ = module, chart.__name__
    signature = inspect.signature(chart).replace(return_annotation=returned)
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function
