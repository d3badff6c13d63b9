"""How long the table of configurations takes in the browser to sort and to filter many rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from autotune_nb.engines.registry import engine_for
from autotune_nb.reports.configuration_page import TABLE_MIME, plain_table_html, table_message
from autotune_nb.reports.html_page import to_html
from autotune_nb.results.configurations import configuration_table
from tests.benchmarks.figure import Figure
from tests.benchmarks.samples import Samples, sample_task
from tests.browser.lab import launch_chromium

_ROWS, _GOAL_MS = 5000, 150.0
#: Each is done three times; until the page has drawn it.
_MEASURE = """() => {
    const view = document.querySelector('.at-live')._table;
    const took = act => {
        const times = [0, 1, 2].map(() => {
            const began = performance.now();
            act();
            view.body.getBoundingClientRect();
            return performance.now() - began;
        });
        return times.sort((a, b) => a - b)[1];
    };
    const head = key => view.head.querySelector(`[data-key="${key}"]`);
    const filter = text => { view.search.value = text; view.search.dispatchEvent(new Event('input')); };
    return {
        sort: Math.max(took(() => head('output_tokens_per_s').click()), took(() => head('state').click())),
        filter: took(() => filter('block_size = 32 and complete and max_num_seqs > 500')),
        shown: view.status.textContent,
    };
}"""


def table() -> list[Figure]:
    """Return the milliseconds of sorting and of filtering; none without Chromium."""
    from playwright.sync_api import sync_playwright

    task = sample_task(_ROWS)
    samples = Samples(task)
    trials = []
    for number in range(_ROWS):
        begun = samples.begun(number)
        trials.append(samples.ended(begun, samples.measurements(dict(begun.params))))
    rows = configuration_table(trials, task.goal, engine=engine_for(task))
    shown = {"text/html": plain_table_html(rows), TABLE_MIME: table_message(rows)}
    cell = new_code_cell(outputs=[new_output("display_data", shown)])
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name, sync_playwright() as playwright:
        nbformat.write(new_notebook(cells=[cell]), Path(name, "table.ipynb"))
        file = to_html(Path(name, "table.ipynb"))
        size = file.stat().st_size
        with launch_chromium(playwright) as browser:
            opened = browser.new_page()
            opened.goto(file.as_uri())
            opened.wait_for_selector(".at-live .at-table-scroll")
            found = opened.evaluate(_MEASURE)
    note = f"{_ROWS} rows in Chromium; the filter leaves {found['shown']}; the page has {size / 1e6:.1f} MB"
    return [
        Figure("table_sorted", found["sort"], _GOAL_MS, f"the slower of a number and a text; {note}", "ms"),
        Figure("table_filtered", found["filter"], _GOAL_MS, note, "ms"),
    ]
