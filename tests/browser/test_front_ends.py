"""The form and the monitor in Notebook 7 and Voila, and the view without widgets in JupyterLab."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from autotune_nb.resources import shared_folder
from tests.stubs import World

from .lab import PATIENCE_S, Notebook, until
from .test_monitor import measured, start, text_of

# tests/widgets holds what is recognized and sent; each of these takes a server of its own.
pytestmark = [pytest.mark.browser, pytest.mark.slow]


def gated(world: World, gate: Path) -> Path:
    """Write a task whose first trial waits after its first level until the file exists."""
    wait = f'{world.first_level}; until [ -e "{gate}" ]; do sleep 0.05; done'
    return world.task(trials=2, before=wait).save(gate.with_suffix(".yaml"))


@pytest.mark.parametrize("notebook", ["notebook7"], indirect=True)
def test_the_monitor_is_live_in_notebook_7(world: World, notebook: Notebook, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    notebook.open([start(gated(world, gate), world.folder)])
    notebook.run(0)
    notebook.until(lambda: measured(notebook) == 1, "the first level", timeout_s=90)
    gate.touch()
    notebook.until(lambda: "finished" in text_of(notebook, "progress"), "the end of the run", timeout_s=90)
    assert measured(notebook) == 4
    assert notebook.errors == []


def test_the_view_without_widgets_is_replaced_in_its_output_while_a_run_goes_on(
    world: World, notebook: Notebook, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    named = "import os\nos.environ['AUTOTUNE_NB_FRONT_END'] = 'html'\n"
    notebook.open([named + start(gated(world, gate), world.folder), "1 + 1"])
    notebook.run(0)
    notebook.until(lambda: "benchmarking level 2 of 2" in notebook.text(0), "the second level", timeout_s=90)
    # The output belongs to its cell, also while and after other cells are executed.
    notebook.run(1)
    gate.touch()
    notebook.until(lambda: "finished" in saved_text(notebook), "the results in the outputs", timeout_s=90)
    assert notebook.text(1) == "2"
    assert len(notebook.outputs(0)) == 1
    assert notebook.output(0).locator("img").count() == 1
    assert notebook.page.locator(".at-monitor").count() == 0
    assert notebook.errors == []


def saved_text(notebook: Notebook) -> str:
    return str(notebook.outputs(0)[0]["data"]["text/plain"])


@pytest.fixture
def app(world: World, tmp_path: Path) -> Iterator[str]:
    """The address, with its token, at which voila serves the explore notebook as `make app` does."""
    pytest.importorskip("voila", reason="voila is not installed (extra: app)")
    folder, log = tmp_path / "notebooks", tmp_path / "voila.log"
    folder.mkdir()
    source = nbformat.read(shared_folder("notebooks") / "02_explore.ipynb", as_version=4)
    parameters = next(cell for cell in source.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = f"task = {str(gated(world, tmp_path / 'gate'))!r}"
    nbformat.write(source, folder / "02_explore.ipynb")
    (folder / "voila.json").write_text((shared_folder("notebooks") / "voila.json").read_text())
    argv = [sys.executable, "-m", "voila", "02_explore.ipynb", "--no-browser", "--Voila.ip=127.0.0.1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "JUPYTER"))}
    with log.open("wb") as out:
        server = subprocess.Popen(argv, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield until(lambda: address_in(server, log), "voila's address")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(PATIENCE_S)


def address_in(server: subprocess.Popen[bytes], log: Path) -> str | None:
    assert server.poll() is None, log.read_text()
    printed = re.search(r"running at:\s+(http://127\S+\?token=\w+)", log.read_text())
    return printed and printed[1]


def test_the_app_asks_for_its_token_and_shows_the_form_and_its_run_without_code(
    world: World, context: Any, app: str, tmp_path: Path
) -> None:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(app.partition("?")[0])
    page.get_by_text("Password or token").first.wait_for()
    assert page.locator(".at-form").count() == 0
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{app.partition('?')[0]}api/kernels/00000000-0000-0000-0000-000000000000")

    page.goto(app)
    page.locator(".at-form").wait_for()
    assert not re.search(r"import autotune_nb|TaskForm\(|await run", page.content())
    page.locator(".at-form-study input").fill(str(world.folder))
    page.locator("button.at-form-start:enabled").click()
    running = page.locator(".at-monitor .at-monitor-running").first
    running.get_by_text("benchmarking level 2 of 2").first.wait_for()
    (tmp_path / "gate").touch()
    page.locator(".at-monitor .at-monitor-progress").get_by_text("finished").first.wait_for()
    page.close()
