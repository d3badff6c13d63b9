"""The monitor: one view per study, and its output in a notebook that is executed headless."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from autotune_nb import session
from autotune_nb.errors import StudyNotFoundError
from autotune_nb.session import tune
from autotune_nb.task.task import Task
from autotune_nb.widgets import _front_end
from autotune_nb.widgets.monitor import Monitor
from tests.stubs import World
from tests.widgets.stub_handle import LIMIT, StubHandle, complete

WAIT_S = 60.0


@pytest.fixture
def stub(make_task: Callable[..., Task], tmp_path: Path) -> StubHandle:
    return StubHandle(make_task(limits=[LIMIT]), tmp_path / "stub", history=(complete(1, 50.0),), state="finished")


def test_monitors_of_one_study_share_their_widgets(stub: StubHandle, make_task: Callable[..., Task]) -> None:
    one, two = Monitor(stub, live=True), Monitor(stub, live=True)
    assert one.box is two.box
    assert one.handle is stub
    elsewhere = Monitor(StubHandle(make_task(), stub.path.parent / "else"), live=True)
    assert elsewhere.box is not one.box
    assert "Monitor of" in repr(one)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a cell displays: its outputs' data, each update instead of the output that it replaces."""
    shown: dict[str, dict[str, Any]] = {}

    class Publisher(DisplayPublisher):
        def publish(self, data: dict[str, Any], *_args: Any, transient: Any = None, **options: Any) -> None:
            key = (transient or {}).get("display_id") or str(len(shown))
            assert (key in shown) is bool(options.get("update"))
            shown[key] = data
            displayed[:] = shown.values()

    displayed: list[dict[str, Any]] = []
    shell = InteractiveShell()
    shell.display_pub = Publisher()
    monkeypatch.setattr(InteractiveShell, "initialized", classmethod(lambda _cls: True))
    monkeypatch.setattr(InteractiveShell, "instance", classmethod(lambda _cls: shell))
    return displayed


def test_it_is_a_widget_in_a_live_notebook_and_text_and_html_in_a_headless_one(
    stub: StubHandle, outputs: list[dict[str, Any]]
) -> None:
    Monitor(stub, live=False)._ipython_display_()
    (lasting,) = outputs
    assert set(lasting) == {"text/plain", "text/html"}
    assert "<script" not in lasting["text/html"]
    # Without a trial there is nothing to report.
    stub.history = ()
    Monitor(stub, live=False)._ipython_display_()
    assert set(outputs[1]) == {"text/plain"}


def test_the_table_in_a_saved_notebook_is_the_last_one(stub: StubHandle, outputs: list[dict[str, Any]]) -> None:
    stub.state = "running"
    monitor = Monitor(stub, live=True)
    monitor._ipython_display_()
    widget, table = outputs
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert "running (1 complete)" in table["text/html"] and "<script" not in table["text/html"]
    assert "at.open(" in table["text/html"]
    view = monitor._view
    # A table per redraw would grow the notebook's file and its traffic.
    stub.history = (complete(1, 50.0), complete(2, 60.0))
    view.saved.update(stub, resting=False)
    assert outputs[1] is table
    view.saved.update(stub, resting=True)
    assert "running (2 complete)" in outputs[1]["text/html"]
    # The live monitor's stylesheet hides it.
    name = re.search(r'class="(at-saved-\w+)"', outputs[1]["text/html"])
    assert name and f".{name[1]}" in view.box.children[0].value


def test_a_folder_is_opened(world: World) -> None:
    with pytest.raises(StudyNotFoundError):
        Monitor(world.folder)
    tune(world.task(trials=1), study=world.folder).wait(WAIT_S)
    assert Monitor(world.folder, live=False).handle.path == world.folder


def test_the_active_run_is_shown_for_any_handle_of_its_study(world: World) -> None:
    old = tune(world.task(trials=1), study=world.folder)
    old.wait(WAIT_S)
    opened = session.open(world.folder)
    run = tune(world.task(trials=5, before="sleep 600"), study=world.folder)
    shown = Monitor(run, live=True)
    assert shown._view.handle is run
    for late in (old, opened):
        again = Monitor(late, live=True)
        assert again.box is shown.box
        assert shown.handle is run
    run.stop(now=True, wait_s=WAIT_S)
    # A handle of the folder has all trials, an ended run only its own.
    assert Monitor(opened, live=True)._view.handle is opened
    assert Monitor(old, live=True)._view.handle is opened


class _Parent:
    environment: dict[str, str] = {}  # noqa: RUF012
    command: list[str] = ["/usr/share/code/code"]  # noqa: RUF012

    def __init__(self, _pid: int) -> None:
        pass

    def environ(self) -> dict[str, str]:
        return self.environment

    def exe(self) -> str:
        return self.command[0]

    def cmdline(self) -> list[str]:
        return self.command


@pytest.mark.parametrize(
    ("own", "parents", "live"),
    [
        ({}, {}, False),
        ({"JPY_SESSION_NAME": "a.ipynb"}, {}, True),
        # Papermill or nbconvert, called from a cell.
        ({"JPY_SESSION_NAME": "a.ipynb"}, {"JPY_SESSION_NAME": "a.ipynb"}, False),
        ({"VSCODE_PID": "1"}, {"VSCODE_PID": "1"}, True),
        ({"JPY_SESSION_NAME": ""}, {}, False),
        ({"SERVER_SOFTWARE": "voila/0.5.11"}, {}, True),
        ({"SERVER_SOFTWARE": "voila/0.5.11"}, {"SERVER_SOFTWARE": "voila/0.5.11"}, False),
        ({"SERVER_SOFTWARE": "gunicorn/23"}, {}, False),
    ],
)
def test_a_kernel_that_a_notebook_started_is_not_live(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, str], parents: dict[str, str], live: bool
) -> None:
    class Shell:
        kernel = None

    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD", "SERVER_SOFTWARE", _front_end.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_Parent, "environment", parents)
    monkeypatch.setattr(psutil, "Process", _Parent)
    monkeypatch.setattr(_front_end, "get_ipython", Shell)
    assert _front_end.has_front_end() is live
    monkeypatch.setattr(_front_end, "get_ipython", lambda: None)
    assert not _front_end.has_front_end()


@pytest.mark.parametrize(
    ("command", "live"),
    [
        (["/usr/share/code/code", "--type=utility"], True),
        (["/home/me/.vscode-server/bin/1/node", "extensionHost"], True),
        (["/usr/bin/python3", "-m", "vscode_datascience_helpers.kernel_interrupt_daemon"], True),
        (["/home/me/.venv/bin/python3.12", "/home/me/.venv/bin/papermill", "a.ipynb", "b.ipynb"], False),
        (["/home/me/.venv/bin/python", "/home/me/.venv/bin/autotune-nb", "notebook"], False),
    ],
)
def test_a_notebook_executed_in_a_terminal_of_vs_code_is_not_live(
    monkeypatch: pytest.MonkeyPatch, command: list[str], live: bool
) -> None:
    class Shell:
        kernel = None

    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setenv("VSCODE_PID", "1")
    monkeypatch.setattr(_Parent, "command", command)
    monkeypatch.setattr(psutil, "Process", _Parent)
    monkeypatch.setattr(_front_end, "get_ipython", Shell)
    assert _front_end.has_front_end() is live


def test_a_parent_that_cannot_be_inspected_is_a_front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_pid: int) -> Any:
        raise psutil.AccessDenied(os.getppid())

    monkeypatch.setattr(psutil, "Process", denied)
    assert not _front_end._inherited("JPY_SESSION_NAME")
    assert not _front_end._started_by_python()
