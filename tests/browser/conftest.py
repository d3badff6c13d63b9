"""One JupyterLab server and one browser for all tests of this folder, and a notebook and a page for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from . import lab as lab_module
from .lab import Lab, Notebook

# Package scope, not session scope: while Playwright is open, its event loop runs in this thread, and asyncio.run fails
# in all other tests.


@pytest.fixture(scope="package")
def context() -> Iterator[Any]:
    """A context of Chromium, driven by Playwright; its cache saves each test from loading JupyterLab."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: test)")
    if lab_module.find_chromium() is None:
        pytest.skip("no chromium on the PATH (Debian: apt-get install chromium; .ci/run does it)")
    with sync_api.sync_playwright() as playwright, lab_module.launch_chromium(playwright) as browser:
        yield browser.new_context()


@pytest.fixture(scope="package")
def lab(context: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab server with a kernel for each version of ipykernel."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed (extra: lab)")
    if missing := lab_module.missing_kernels():
        pytest.skip(f"no ipykernel {' and '.join(missing)} beside this Python's (make test installs them)")
    with closing(Lab(tmp_path_factory.mktemp("lab"))) as started:
        yield started


@pytest.fixture(scope="package")
def notebook7(context: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server of Notebook 7."""
    pytest.importorskip("notebook", reason="notebook is not installed (extra: front-ends)")
    with closing(Lab(tmp_path_factory.mktemp("notebook7"), "notebook")) as started:
        yield started


@pytest.fixture
def notebook(request: pytest.FixtureRequest, context: Any) -> Iterator[Notebook]:
    """A notebook to open, in JupyterLab or (`in_both_front_ends`) in Notebook 7; its page and kernel are closed after
    the test, and the settings are reset."""
    server: Lab = request.getfixturevalue(getattr(request, "param", "lab"))
    opened = Notebook(server, context)
    try:
        yield opened
    finally:
        opened.close()
        server.reset_settings()


@pytest.fixture
def real_task(real_task: Callable[..., Path]) -> Callable[..., Path]:
    """The real task with more configurations and trials."""
    usual: dict[str, Any] = {
        "name": "browser",
        "parameters": {"threads_http": [1, 2], "parallel": [1, 2, 4], "batch_size": [64, 128, 256, 512]},
        "strategy": {"sampler": "random"},
        "budget": {"trials": 20},
    }
    return lambda **changes: real_task(**{**usual, **changes})
