"""Reading a report: untrusted in JupyterLab, in a viewer without scripts, and as an HTML page offline."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner
from nbconvert import HTMLExporter

import autotune_nb as at
from autotune_nb.cli.main import cli
from autotune_nb.reports.html_page import to_html
from autotune_nb.reports.study_report import Report
from tests.benchmarks.samples import Samples, sample_task
from tests.conftest import MINIMAL
from tests.stubs import World

from .lab import PATIENCE_S, Lab, Notebook

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study's report as an executed notebook with its HTML page, and the study's results; no test changes them."""
    folder = tmp_path_factory.mktemp("report")
    world = World(folder, copy.deepcopy(MINIMAL))
    done = at.tune(world.task(trials=3, budget={"baseline": True}), study=world.folder)
    done.wait()
    out = folder / "report.ipynb"
    reported = CliRunner().invoke(cli, ["report", str(world.folder), "-o", str(out), "--html"])
    assert reported.exit_code == 0, reported.output
    return out, done.results()


def figures(page: Any) -> list[str]:
    """Return which of the report's figures and headings a page does not show."""
    body = page.locator("body").inner_text()
    wanted = ("Best is trial", "tokens/s", "output_tokens_per_s", "Configurations", "Task", "Environment")
    return [word for word in (*wanted, "genai-bench", "Reproduce") if word not in body]


def drawn(page: Any) -> list[tuple[str, int]]:
    """Return every image's alternative text and natural width, which is 0 if it could not be drawn."""
    images: list[tuple[str, int]] = page.evaluate(
        "() => [...document.images].filter(i => i.alt).map(i => [i.alt, i.complete ? i.naturalWidth : 0])"
    )
    return images


@pytest.fixture
def bare(context: Any) -> Iterator[Any]:
    """A browser context without network and scripts."""
    made = context.browser.new_context(offline=True, java_script_enabled=False)
    # Playwright itself can still evaluate scripts.
    yield made
    made.close()


@pytest.fixture
def elsewhere(lab: Lab, context: Any) -> Iterator[list[str]]:
    """The URLs outside the server that the browser requests; the requests are blocked."""
    asked: list[str] = []

    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.abort()

    def is_elsewhere(url: str) -> bool:
        return not url.startswith((lab.url, "data:", "blob:"))

    context.route(is_elsewhere, refuse)
    yield asked
    context.unroute(is_elsewhere, refuse)


def test_an_untrusted_report_in_jupyterlab_has_interactive_charts_and_tables(
    notebook: Notebook, report: tuple[Path, dict[str, Any]], elsewhere: list[str]
) -> None:
    file, results = report
    # The notebook is neither run nor trusted.
    notebook.open(file, "python-7.4")
    page = notebook.page
    notebook.until(lambda: page.locator(".js-plotly-plot").count() == 2, "the charts")
    shown: list[list[float]] = page.locator(".js-plotly-plot").first.evaluate(
        "node => node.data.map(t => Array.from(t.x ?? [], x => Number.isFinite(x) ? x : null))"
    )
    measured = {round(m["output_tokens_per_s"], 3) for t in results["trials"] for m in t["measurements"]}
    assert measured <= {round(x, 3) for trace in shown for x in trace if x is not None}
    text = page.locator(".jp-Notebook").inner_text()
    assert "Best is trial" in text
    assert "Reproduce" in text
    assert page.locator(".jp-RenderedHTML table").count() >= 2
    trusted = "() => window.jupyterapp.shell.currentWidget.content.widgets.map(w => !!w.model.trusted)"
    assert not any(page.evaluate(trusted)[1:-1])
    # No other host was requested; the requests would have been blocked.
    page.evaluate("fetch('https://elsewhere.invalid/x').catch(() => null)")
    assert elsewhere == ["https://elsewhere.invalid/x"]


@pytest.mark.parametrize("form", ["page", "nbconvert"])
def test_without_scripts_and_network_the_page_and_nbconverts_rendering_show_the_figures(
    bare: Any, report: tuple[Path, dict[str, Any]], tmp_path: Path, form: str
) -> None:
    file, results = report
    page_file = file.with_suffix(".html")
    if form == "nbconvert":
        # Like GitHub and nbviewer: rendered by nbconvert, without running scripts.
        body, _ = HTMLExporter(template_name="classic").from_notebook_node(nbformat.read(file, as_version=4))
        page_file = tmp_path / "viewer.html"
        page_file.write_text(body)
    page = bare.new_page()
    page.goto(page_file.as_uri(), wait_until="domcontentloaded", timeout=PATIENCE_S * 1000)
    page.screenshot(path=tmp_path / "shot.png", full_page=True)
    assert figures(page) == []
    pictures = drawn(page)
    assert [re.split("[;:]", alt)[0] for alt, _ in pictures] == [
        "Further right and lower is better",
        "Best",
    ]
    assert all(width > 100 for _, width in pictures)
    best = results["best"]
    assert f"Best is trial {best['number']}" in page.locator("body").inner_text()
    assert json.dumps(results["task"]["name"]).strip('"') in page.locator("body").inner_text()


def test_offline_the_page_has_interactive_charts_and_a_table_that_sorts_and_runs_no_other_script(
    context: Any, report: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    nb, file = nbformat.read(report[0], as_version=4), tmp_path / "report.ipynb"
    bad = "<script>document.title = 'bad'</script><img src=x onerror=\"document.title = 'bad'\">"
    nb.cells[-2].outputs[-1].data["text/html"] += bad
    nbformat.write(nb, file)
    assert to_html(file).stat().st_size < 6_000_000
    offline = context.browser.new_context(offline=True)
    try:
        page = offline.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.with_suffix(".html").as_uri(), timeout=PATIENCE_S * 1000)
        page.locator(".at-configurations.at-lively").wait_for(timeout=PATIENCE_S * 1000)
        assert page.locator(".at-chart.at-lively .js-plotly-plot").count() == 2
        assert not page.locator(".at-chart > img").first.is_visible()
        # No column is cut off: the page's style for tables does not hold for this one.
        assert page.locator(".at-live table").evaluate("one => one.clientWidth >= one.scrollWidth")
        rows = page.locator(".at-live tbody tr")
        first = rows.first.inner_text()
        page.get_by_role("button", name="trial", exact=False).first.click()
        page.wait_for_function(f"document.querySelector('.at-live tbody tr').innerText !== {json.dumps(first)}")
        search, status = page.locator(".at-live input[type=search]"), page.locator(".at-live [role=status]")
        for text, shown in (
            ("complete and state = best", "1 of "),
            ("(failed or not failed) and trial < 1", "1 of "),
            ("no_such = 1", "there is no column 'no_such'"),
            ("(failed", "a ) is missing"),
        ):
            search.fill(text)
            assert status.inner_text().startswith(shown), text
        assert page.title() != "bad"
        assert errors == []
        # On paper: the pictures and every row.
        page.emulate_media(media="print")
        assert page.locator(".at-chart > img").first.is_visible()
        assert page.locator(".at-table-plain tbody tr").first.is_visible()
        assert not page.locator(".at-live").first.is_visible()
    finally:
        offline.close()


def test_a_wide_table_is_not_cut_on_paper(bare: Any, tmp_path: Path) -> None:
    samples = Samples(sample_task(12))
    begun = [samples.begun(number) for number in range(12)]
    trials = [samples.ended(trial, samples.measurements(dict(trial.params))) for trial in begun]
    # Values that cannot be wrapped.
    wide = [
        t.with_(params={**t.params, **{f"a_parameter_of_a_long_name_{n}": "x" * 40 for n in range(4)}}) for t in trials
    ]
    shown = Report(tuple(wide), wide[0], samples.task.goal, None).to_html()
    output = nbformat.v4.new_output("display_data", {"text/html": shown})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("report", outputs=[output])])
    nbformat.write(notebook, tmp_path / "wide.ipynb")
    page = bare.new_page()
    # A4 between margins of a centimetre.
    page.set_viewport_size({"width": 718, "height": 1000})
    page.goto(to_html(tmp_path / "wide.ipynb").as_uri(), wait_until="domcontentloaded", timeout=PATIENCE_S * 1000)
    widths = (
        "() => [...document.querySelectorAll('table, pre')].map(e => [e.scrollWidth, e.clientWidth, e.offsetWidth])"
    )
    # On a screen it scrolls.
    assert any(scroll > client for scroll, client, _ in page.evaluate(widths))
    page.emulate_media(media="print")
    assert all(max(scroll, offset) <= 718 for scroll, _, offset in page.evaluate(widths))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 718
