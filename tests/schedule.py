"""Which test worker runs what, and in which order: what takes long begins first, and one worker has the browser."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from typing import Any

import filelock
import pytest

#: Tests that one worker runs, since they share a browser, or what the first of them has parsed, measured or run.
_TOGETHER = (
    "tests/browser/",
    "tests/test_layers.py",
    "tests/bench/test_known_engine.py",
    "tests/results/test_exporting.py",
    "tests/cli/test_report_command.py",
)


def _place(item: pytest.Item) -> int:
    """Browser, then the real engine, then the cluster, which is up by then, then the many that take no time."""
    if item.get_closest_marker("browser"):
        return 0
    cluster = "cluster" in getattr(item, "fixturenames", ())
    if item.get_closest_marker("e2e"):
        return 2 if cluster else 1
    return 3 if cluster else 4


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]
    items.sort(key=_place)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """One worker collects first, and the others then find all modules compiled, which is most of a first collection."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    cache = getattr(session.config, "cache", None)
    if run is None or cache is None:
        return (yield)
    done = cache.mkdir("collected") / "run"
    with filelock.FileLock(done.with_suffix(".lock")):
        if not done.exists() or done.read_text() != run:
            result = yield
            done.write_text(run)
            return result
    return (yield)


def pytest_collection_finish() -> None:
    """Modules and tests live until the end: the garbage collector is not to visit them again and again."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that belong together are one unit of work; any other is its own.

    --dist loadgroup would say so by a mark, but pytest-xdist 3.8 no longer hears it under pytest 9: it ran a JupyterLab
    and a Chromium in two workers at once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return next((together for together in _TOGETHER if nodeid.startswith(together)), nodeid)

    return Scheduling(config, log)
