"""Hostile names and values as texts of charts."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from autotune_nb.reports.chart_text import chart_text, tooltip
from autotune_nb.reports.metric_series import MetricSeries
from autotune_nb.reports.metrics_chart import MetricsChart
from autotune_nb.reports.parallel_chart import parallel_chart
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial
from tests.conftest import MINIMAL
from tests.widgets.stub_handle import LIMIT, NASTY, complete


def test_a_text_is_escaped_as_plotly_reads_it() -> None:
    # Plotly has no entity for a quotation mark, and would show its name.
    assert chart_text("""{"a": 1, 'b': <b>} & \u202e\x1b""") == """{"a": 1, 'b': &lt;b&gt;} &amp; \\u202e\\u001b"""


def test_a_tooltip_has_a_few_lines() -> None:
    label = " ".join(f"parameter_{n}=some_value_{n}" for n in range(12))
    lines = tooltip(label).split("<br>")
    assert " ".join(lines) == label
    assert max(map(len, lines)) <= 60
    long = tooltip(" ".join(f"parameter_{n}={'v' * 100}" for n in range(300)))
    assert long.count("<br>") == 11
    assert long.endswith("…")
    nasty = tooltip(NASTY)
    assert "<img" not in nasty and "\u202e" not in nasty and nasty.encode()


#: Tasks and tables refuse half a surrogate pair.
_NAME = NASTY.replace("\ud800", "")


def _trials() -> list[Trial]:
    return [complete(n, 10.0 + n, **{_NAME: f"{n % 3} {_NAME}", "long": "x" * 5000 + str(n)}) for n in range(6)]


def test_hostile_parameters_are_text_in_a_figure_and_in_a_picture() -> None:
    chart = parallel_chart(_trials(), None, Task.parse({**MINIMAL, "limits": [LIMIT]}).goal, {})
    data = chart.figure().to_json().encode().decode()
    assert "<img" not in data and "&quot;" not in data and "\\u202e" in data.replace("\\\\", "\\")
    assert (
        max(len(line) for trace in chart.traces().values() for text in trace["text"] for line in text.split("<br>"))
        < 200
    )
    # A picture is XML, in which a control character would be an error.
    ElementTree.fromstring(chart.svg())


def test_the_names_of_metrics_in_a_table_are_text() -> None:
    chart = MetricsChart(1, (MetricSeries("<b>%{x}", "<i>", (0.0, 1.0), (1.0, 2.0)),))
    (trace,) = chart.traces().values()
    assert (trace["name"], chart.axes()["annotations"][0]["text"]) == (
        "&lt;b&gt;%{x}",
        "<b>&lt;b&gt;%{x}, &lt;i&gt;</b>",
    )
    assert trace["hovertemplate"].startswith("%{fullData.name}:")
