"""Charts: titles, axes, markers and colours, in a notebook and as SVG."""

from __future__ import annotations

import base64
import json
import re
import threading
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from matplotlib.figure import Figure

from autotune_nb.reports.charts import HistoryChart, ImportanceChart, LatencyChart
from autotune_nb.reports.drawing import COLOURS, FRONT, RUNNING, SHARE, Chart
from autotune_nb.reports.plots import History, history, latency_throughput
from autotune_nb.trial.measurement import Level, Measurement
from autotune_nb.trial.score import Limit, Objective, Score
from autotune_nb.trial.trial import Trial, TrialState

RATE, LATENCY = "output_tokens_per_s", "e2e_latency_mean_s"


def trial(number: int, *points: tuple[float, float], violation: float = 0.0, **params: Any) -> Trial:
    levels = tuple(
        Measurement(Level("D(1,2)", i + 1), 1.0, 9, 9, 0, {RATE: x, LATENCY: y}) for i, (x, y) in enumerate(points)
    )
    score = Score({RATE: points[0][0]}, {"ttft_mean_s <= 1": violation}) if points else None
    return Trial(number, params, TrialState.COMPLETE, levels, score, baseline=not params)


DEFAULT = trial(0, (10, 0.5), (20, 0.9))
BEST = trial(1, (30, 0.4), (50, 0.8), name="<b>&x</b>")
OTHER = trial(2, (5, 0.7), threads=1)
BROKEN = trial(3, (90, 3.0), violation=2.0, threads=8)


def test_the_figure_has_one_trace_a_role_and_units_on_its_axes() -> None:
    pytest.importorskip("plotly")
    others = [trial(n, (n, 1.0), threads=n) for n in range(4, 30)]
    figure = LatencyChart(tuple(latency_throughput([DEFAULT, BEST, OTHER, BROKEN, *others], BEST))).figure()
    assert [trace.name for trace in figure.data] == [
        "breaks a limit",
        "other trials",
        "engine's default",
        "best",
        "Pareto front",
    ]
    assert figure.data[-2].x == (30, 50, None)
    assert figure.data[-2].line.color == COLOURS["best"]
    assert "tokens per second" in figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text.endswith(", s")


def test_the_figures_texts_are_escaped() -> None:
    pytest.importorskip("plotly")
    text = LatencyChart(tuple(latency_throughput([BEST], BEST))).figure().data[0].text[0]
    assert "&lt;b&gt;&amp;x&lt;/b&gt;" in text
    assert "<b>" not in text


def test_the_svg_is_drawn_with_units_on_its_axes_and_every_role_named() -> None:
    svg = LatencyChart(tuple(latency_throughput([DEFAULT, BEST, OTHER, BROKEN], BEST))).svg()
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    for text in ("output tokens per second", "mean end-to-end latency, s", "best", "breaks a limit", "other trials"):
        assert f">{text}" in svg, text
    assert all(colour.lower() in svg.lower() for colour in COLOURS.values())


def test_a_level_that_breaks_a_limit_is_marked_in_the_figure_and_in_the_picture() -> None:
    """Otherwise points better than the front's would seem to be forgotten."""
    curves = latency_throughput([DEFAULT, BEST, OTHER], BEST, [Limit.parse("e2e_latency_mean_s <= 0.6")])
    chart = LatencyChart(tuple(curves))
    broken = next(trace for trace in chart.figure().data if trace.name == "breaks a limit")
    # On top of its curve, and joined to none.
    assert chart.figure().data.index(broken) > [t.name for t in chart.figure().data].index("best")
    assert (broken.x, broken.y) == ((5, 20, 50), (0.7, 0.9, 0.8))
    assert ">breaks a limit" in chart.svg()
    marks = re.findall(rf'<path id="([^"]*)"[^>]*style="[^"]*stroke: {COLOURS["infeasible"].lower()}', chart.svg())
    # Three and the legend's.
    assert chart.svg().count(f'<use href="#{marks[0]}"') == 4


def test_a_chart_without_trials_still_draws() -> None:
    pytest.importorskip("plotly")
    bundle = LatencyChart(())._repr_mimebundle_()
    assert bundle["text/plain"] == "<LatencyChart: Further right and lower is better>"
    assert bundle["text/html"].startswith("<img ")


COURSE = History(RATE, (0, 1, 2, 4), (10.0, 30.0, 5.0, 90.0), (True, True, True, False), (0, 1, 4), (10.0, 30.0, 30.0))
ALL: tuple[Chart, ...] = (
    LatencyChart(tuple(latency_throughput([DEFAULT, BEST, OTHER, BROKEN], BEST))),
    HistoryChart(COURSE),
    ImportanceChart({"threads": 0.7, "batch_size": 0.3}),
)


@pytest.mark.parametrize("chart", ALL, ids=lambda chart: type(chart).__name__)
def test_every_chart_shows_itself_with_a_title_and_named_axes(chart: Chart) -> None:
    bundle = chart._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/html", "text/plain"}
    layout = bundle["application/vnd.plotly.v1+json"]["layout"]
    assert layout["title"]["text"] == chart.title
    assert layout["xaxis"]["title"]["text"]
    assert "\n" not in bundle["text/plain"]
    html = bundle["text/html"]
    assert html.startswith("<img ")
    assert "script" not in html
    picture = ET.fromstring(base64.b64decode(html.split("base64,")[1].split('"')[0]))
    words = [node.text for node in picture.iter() if node.tag.endswith("}text")]
    assert chart.title in words
    assert layout["xaxis"]["title"]["text"] in words


def test_the_titles_say_what_one_should_see() -> None:
    assert [chart.title for chart in ALL] == [
        "Further right and lower is better; the star is trial 1",
        "Best so far: 30 tokens/s, by trial 1 (higher is better)",
        "threads matters most: 70 % of what distinguishes the best trials",
    ]
    nothing = History(RATE, (), (), (), (), ())
    assert HistoryChart(nothing).title == "No trial completed"
    assert HistoryChart(History(RATE, (0,), (1.0,), (False,), (), ()), "minimize").title == (
        "No trial keeps every limit (lower is better)"
    )
    assert "ten complete trials" in ImportanceChart({}).title


def test_the_data_of_each_is_a_table_for_a_plot_of_ones_own() -> None:
    levels, course, shares = (chart.frame() for chart in ALL)
    assert list(levels.columns) == ["number", "role", "level", RATE, LATENCY, "kept", "on_front"]
    assert levels.query("on_front")[RATE].tolist() == [30, 50]
    assert course.to_dict("list") == {
        "number": [0, 1, 2, 4],
        RATE: [10.0, 30.0, 5.0, 90.0],
        "feasible": [True, True, True, False],
        "best_so_far": [10.0, 30.0, 30.0, 30.0],
    }
    assert shares.to_dict("list") == {"parameter": ["threads", "batch_size"], "share": [0.7, 0.3]}


def test_roles_differ_in_more_than_their_colour() -> None:
    figure = ALL[0].figure()
    traces = [trace for trace in figure.data if trace.name != "Pareto front"]
    assert len({trace.marker.symbol for trace in traces}) == len(traces) == 4
    assert len({trace.line.color for trace in figure.data}) == 5


OKABE_ITO = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999", "#000000"}


def test_the_colours_are_those_that_the_colour_blind_can_tell_apart() -> None:
    colours = [*COLOURS.values(), FRONT, RUNNING]
    assert len(set(colours)) == len(colours)
    assert {*colours, SHARE} <= OKABE_ITO


def test_the_picture_tells_roles_apart_without_colour_and_can_be_read_in_print() -> None:
    svg = ALL[0].svg()
    shapes = {
        role: re.findall(rf'<path id="[^"]*" d="([^"]*)" style="[^"]*stroke: {colour.lower()}', svg)
        for role, colour in COLOURS.items()
    }
    assert [len(found) for found in shapes.values()] == [1, 1, 1, 1]
    assert len({found[0] for found in shapes.values()}) == 4
    # The front is the only line with dashes; every line has a width that a printer draws.
    lines = re.findall(r'style="fill: none; ([^"]*)"', svg)
    assert {style for style in lines if "dasharray" in style} == {s for s in lines if FRONT.lower() in s}
    assert any("dasharray" in style for style in lines)
    for chart in ALL:
        picture = chart.svg()
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", picture)]
        width = float(re.findall(r'viewBox="0 0 ([\d.]+)', picture)[0])
        # Points on a page of 16 cm, which is what is left of A4 between margins.
        assert min(sizes) / width * 16 / 2.54 * 72 >= 7.5


@pytest.mark.parametrize("figure", ["output_tokens_per_s", "ttft_p99_s", "requests_per_s"])
def test_the_courses_axis_has_the_unit_of_the_objective(figure: str) -> None:
    units = {"output_tokens_per_s": "tokens/s", "ttft_p99_s": "s", "requests_per_s": "requests/s"}
    unit = units[figure]
    shown = HistoryChart(History(figure, (0, 1), (2.0, 3.0), (True, True), (0, 1), (2.0, 3.0)))
    assert shown.figure().layout.yaxis.title.text == f"{figure}, {unit}"
    assert f">{figure}, {unit}<" in shown.svg()


def test_the_front_is_drawn_and_named() -> None:
    front = next(trace for trace in ALL[0].figure().data if trace.name == "Pareto front")
    assert list(zip(front.x, front.y, strict=True)) == [(50, 0.8), (30, 0.4)]
    assert ">Pareto front" in ALL[0].svg()


def test_of_thousands_of_curves_those_are_drawn_that_matter() -> None:
    many = [trial(n, (100 + n % 7, 1.0 + n), (150 + n % 11, 2.0 + n), threads=n) for n in range(4, 5000)]
    chart = LatencyChart(tuple(latency_throughput([DEFAULT, BEST, BROKEN, *many], BEST)))
    drawn = {name for trace in chart.figure().data for name in (trace.text or ()) if name}
    assert any(text.startswith("trial 1,") for text in drawn)
    assert any(text.startswith("trial 0,") for text in drawn)
    assert "300 of 4999 trials" in chart.title
    assert len(chart.frame()) == 2 * 4996 + 2 + 2 + 1
    assert len(chart.svg()) < 150_000
    done = [t for t in many if t.score]
    course = HistoryChart(history(done, Objective(RATE, "maximize")))
    assert len(course.svg()) < 100_000
    assert len(course.frame()) == 4996


@pytest.mark.parametrize("name", ["<script>x</script>", "größe_🚀", "عدد_الخيوط", "線程數", "a$b$c_{x}"], ids=range(5))
def test_a_name_in_any_script_is_drawn_as_text(name: str) -> None:
    chart = ImportanceChart({name: 0.6, "b": 0.4})
    picture = ET.fromstring(chart.svg())
    assert name in [node.text for node in picture.iter() if node.tag.endswith("}text")]
    assert "<script" not in chart.image_html()
    assert "<script" not in json.dumps(chart.figure().to_json())


def test_a_long_name_leaves_room_for_its_bar() -> None:
    assert f">{'x' * 12}…{'x' * 11}<" in ImportanceChart({"x" * 300: 0.6, "b": 0.4}).svg()


def test_a_value_on_an_axis_keeps_its_digits() -> None:
    small = History("ttft_mean_s", (0, 1), (0.00012, 0.00014), (True, True), (0,), (0.00012,))
    words = [node.text or "" for node in ET.fromstring(HistoryChart(small).svg()).iter() if node.tag.endswith("}text")]
    assert any(word.startswith("0.0001") for word in words)
    assert "ttft_mean_s, s" in words


def test_an_image_does_not_get_the_settings_of_one_that_another_thread_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    chart = LatencyChart(tuple(latency_throughput([BEST], BEST)))
    first_inside, second_inside, first_ended = threading.Event(), threading.Event(), threading.Event()
    savefig = Figure.savefig

    def interleaved(*args: Any, **kwargs: Any) -> None:
        """The second image is saved when the first has restored the settings, if it can begin before that."""
        if first_inside.is_set():
            second_inside.set()
            first_ended.wait(30)
        else:
            first_inside.set()
            second_inside.wait(0.2)
        savefig(*args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", interleaved)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(chart.svg)
        assert first_inside.wait(30)
        second = pool.submit(chart.svg)
        one = first.result()
        first_ended.set()
        assert second.result() == one
