"""The monitor: one view a study, lasting outputs where nobody looks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotune_nb import session
from autotune_nb.errors import StudyNotFoundError
from autotune_nb.session import tune
from autotune_nb.task.task import Task
from autotune_nb.widgets import _front_end as _live
from autotune_nb.widgets._chart import LiveChart
from autotune_nb.widgets.monitor import Monitor
from tests.stubs import World
from tests.widgets.stub_handle import LIMIT, StubHandle, complete

WAIT_S = 60.0


@pytest.fixture
def told(make_task: Callable[..., Task], tmp_path: Path) -> StubHandle:
    return StubHandle(make_task(limits=[LIMIT]), tmp_path / "told", history=(complete(1, 50.0),), state="finished")


def test_monitors_of_one_study_share_their_widgets(told: StubHandle, make_task: Callable[..., Task]) -> None:
    one, two = Monitor(told, live=True), Monitor(told, live=True)
    assert one.box is two.box
    assert one.handle is told
    elsewhere = Monitor(StubHandle(make_task(), told.path.parent / "else"), live=True)
    assert elsewhere.box is not one.box
    # Shown again, it gets the charts.
    one._repr_mimebundle_()
    assert LiveChart.get().owner is one._view
    assert "Monitor of" in repr(one)


def test_live_it_is_a_widget_and_else_it_lasts(told: StubHandle) -> None:
    live = Monitor(told, live=True)._repr_mimebundle_()
    assert set(live) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    lasting = Monitor(told, live=False)._repr_mimebundle_()
    assert set(lasting) == {"text/plain", "text/html"}
    assert "<script" not in lasting["text/html"]
    # Without a trial there is nothing to report.
    told.history = ()
    assert set(Monitor(told, live=False)._repr_mimebundle_()) == {"text/plain"}


def test_a_folder_is_opened(world: World) -> None:
    with pytest.raises(StudyNotFoundError):
        Monitor(world.folder)
    tune(world.task(trials=1), study=world.folder).wait(WAIT_S)
    assert Monitor(world.folder, live=False).handle.path == world.folder


def test_the_run_that_works_is_shown_whichever_handle_is_displayed(world: World) -> None:
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
    # What is read of the folder knows all of it, an ended run only its own part.
    assert Monitor(opened, live=True)._view.handle is opened
    assert Monitor(old, live=True)._view.handle is opened


class _Parent:
    environment: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, _pid: int) -> None:
        pass

    def environ(self) -> dict[str, str]:
        return self.environment


@pytest.mark.parametrize(
    ("own", "parents", "looked_at"),
    [
        ({}, {}, False),
        ({"JPY_SESSION_NAME": "a.ipynb"}, {}, True),
        # Papermill or nbconvert, called from a cell.
        ({"JPY_SESSION_NAME": "a.ipynb"}, {"JPY_SESSION_NAME": "a.ipynb"}, False),
        ({"VSCODE_PID": "1"}, {"VSCODE_PID": "1"}, True),
        ({"JPY_SESSION_NAME": ""}, {}, False),
    ],
)
def test_a_kernel_that_a_notebook_started_is_looked_at_by_nobody(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, str], parents: dict[str, str], looked_at: bool
) -> None:
    class Shell:
        kernel = None

    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_Parent, "environment", parents)
    monkeypatch.setattr(psutil, "Process", _Parent)
    monkeypatch.setattr(_live, "get_ipython", Shell)
    assert _live.front_end() is looked_at
    monkeypatch.setattr(_live, "get_ipython", lambda: None)
    assert not _live.front_end()


def test_a_parent_that_may_not_be_looked_at_is_a_front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_pid: int) -> Any:
        raise psutil.AccessDenied(os.getppid())

    monkeypatch.setattr(psutil, "Process", denied)
    assert not _live._inherited()
