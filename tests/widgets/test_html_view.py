"""The view without widgets: where it takes over, and what it sends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import psutil
import pytest
from IPython.display import DisplayHandle

import autotune_nb as at
from autotune_nb.errors import SetupError
from autotune_nb.runner.runner import RunState
from autotune_nb.widgets import _front_end, _html_view, _progress
from autotune_nb.widgets._front_end import FrontEnd, front_end
from autotune_nb.widgets._html_view import HtmlView, is_working
from autotune_nb.widgets.display import NotebookDisplay
from tests.stubs import World, until

from .stub_handle import StubHandle

HOSTED: dict[str, str] = {
    "COLAB_RELEASE_TAG": "release-colab",
    "DATABRICKS_RUNTIME_VERSION": "15.4",
    "KAGGLE_KERNEL_RUN_TYPE": "Interactive",
    "SAGEMAKER_APP_TYPE": "KernelGateway",
}


class _Parent:
    command: tuple[str, ...] = ("/usr/bin/python3", "/usr/local/bin/jupyter-kernelgateway")
    environment: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, _pid: int) -> None: ...

    def cmdline(self) -> list[str]:
        return list(self.command)

    def environ(self) -> dict[str, str]:
        return self.environment


@pytest.fixture(autouse=True)
def in_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        kernel = None

    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD", "SERVER_SOFTWARE", _front_end.VARIABLE, *HOSTED):
        monkeypatch.delenv(name, raising=False)
    # Of this module alone: a run reads processes too.
    monkeypatch.setattr(_front_end, "psutil", SimpleNamespace(Process=_Parent, Error=psutil.Error))
    monkeypatch.setattr(_front_end, "get_ipython", Shell)


@pytest.mark.parametrize("name", HOSTED)
def test_a_hosted_notebook_has_html(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, HOSTED[name])
    assert front_end() is FrontEnd.HTML
    # JupyterLab in SageMaker starts its kernels itself.
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    assert front_end() is FrontEnd.WIDGETS


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (("/usr/bin/python3", "/usr/local/bin/papermill", "a.ipynb", "b.ipynb"), {}),
        (("/usr/bin/python3", "/usr/local/bin/jupyter-nbconvert", "--execute"), {}),
        ((), {"AUTOTUNE_NB_LEDGER": "/tmp/ledger"}),
        ((), {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}),
    ],
)
def test_a_hosted_notebook_that_is_executed_headless_has_no_live_view(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], env: dict[str, str]
) -> None:
    monkeypatch.setattr(_Parent, "command", command)
    for name, value in {"COLAB_RELEASE_TAG": "x", **env}.items():
        monkeypatch.setenv(name, value)
    assert front_end() is FrontEnd.NONE


def test_the_front_end_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    for name in ("html", "none", "widgets"):
        monkeypatch.setenv("AUTOTUNE_NB_FRONT_END", name)
        assert front_end() == name
    monkeypatch.setenv("AUTOTUNE_NB_FRONT_END", "colab")
    with pytest.raises(SetupError, match="AUTOTUNE_NB_FRONT_END is 'colab'; expected one of widgets, html, none"):
        front_end()


class Study(StubHandle):
    @property
    def ended(self) -> bool:
        return bool(self.state.ended)

    def lasting_bundle(self) -> dict[str, Any]:
        return {"text/plain": str(self.state), "text/html": "the results"}


class _Output(DisplayHandle):
    """Records what is sent, in place of a front end."""

    def __init__(self, *_: Any) -> None:
        self.shown: list[dict[str, Any]] = []

    def display(self, obj: Any, **_: Any) -> None:
        self.shown.append(obj)

    def update(self, obj: Any, **_: Any) -> None:
        self.shown.append(obj)


def test_a_run_is_shown_live_and_ends_with_what_a_headless_notebook_saves(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_html_view, "EVERY_S", 0.05)
    monkeypatch.setattr(_html_view, "DisplayHandle", _Output)
    monkeypatch.setenv("AUTOTUNE_NB_FRONT_END", "html")
    gate = tmp_path / "gate"
    task = world.task(trials=2, before=f'{world.first_level}; until [ -e "{gate}" ]; do sleep 0.02; done')
    outputs: list[_Output] = []
    original = HtmlView.__init__

    def recording(self: HtmlView, study: Any) -> None:
        original(self, study)
        outputs.append(self._handle)  # type: ignore[arg-type]

    monkeypatch.setattr(HtmlView, "__init__", recording)
    run = at.tune(task, study=world.folder)
    at.Monitor(run)._ipython_display_()
    (output,) = outputs
    until(lambda: "benchmarking level 2 of 2" in output.shown[-1]["text/html"])
    assert is_working(run)
    gate.touch()
    assert run.wait(60).state == "finished"
    until(lambda: "finished" in output.shown[-1]["text/plain"])
    assert output.shown[-1] == run.lasting_bundle()
    assert all(before != after for before, after in zip(output.shown, output.shown[1:], strict=False))
    assert "<script" not in str(output.shown)


def test_the_view_is_up_to_date_once_its_run_was_awaited(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_html_view, "DisplayHandle", _Output)
    monkeypatch.setattr(_progress, "DisplayHandle", _Output)
    # As if the thread still slept when the kernel ends.
    monkeypatch.setattr(HtmlView, "_follow", lambda _: None)
    study = Study(world.task(), tmp_path)
    view = HtmlView(study)
    view.display()
    study.state = RunState.FINISHED
    asyncio.run(NotebookDisplay().follow(study))
    assert view._handle.shown[1:] == [study.lasting_bundle()]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_notebook_that_nbclient_executes_has_the_view_at_its_end(world: World, tmp_path: Path) -> None:
    source = f"""import os
os.environ["AUTOTUNE_NB_FRONT_END"] = "html"
import autotune_nb as at
run = at.tune({str(world.task(trials=1).save(tmp_path / "task.yaml"))!r}, study={str(world.folder)!r})
at.Monitor(run)"""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [nbformat.v4.new_code_cell(text) for text in (source, "await run;")]
    file, out = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), file)
    # In a process of its own, since nbclient leaves event loops open.
    execute = [sys.executable, "-c", "from nbclient.cli import main; main()"]
    argv = [*execute, str(file), "--output", str(out.with_suffix(""))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (view,) = nbformat.read(out, as_version=4).cells[0].outputs
    assert "finished" in view.data["text/plain"]
    assert "data:image/svg+xml" in view.data["text/html"]
