"""JupyterLab in Chromium: a server, and notebooks that a test drives like a user.

A test reads what the browser shows (`text`, `output`, `plot_points`) and values in the kernel (`value`).
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import nbformat
import psutil
import pytest
import zmq
from jupyter_client.session import Session

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Playwright

#: Versions of ipykernel; the last is installed in this Python's environment, the others in folders beside it.
VERSIONS = ("6.31", "7.3", "7.4")
KERNELS = tuple(f"python-{version}" for version in VERSIONS)
#: Long, since other tests may run on the same cores.
PATIENCE_S = 60.0
#: An environment variable of the server, which all its child processes inherit.
LABEL = "AUTOTUNE_NB_TEST_LAB"
#: SwiftShader draws WebGL where there is no GPU; a container's /dev/shm is too small for Chromium.
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
#: Runs a test in JupyterLab, and in Notebook 7 if slow tests run.
in_both_front_ends = pytest.mark.parametrize(
    "notebook", ("lab", pytest.param("notebook7", marks=pytest.mark.slow)), indirect=True
)
#: While it loads, Notebook 7 requests the settings of parts of JupyterLab that it does not have.
LOADING_NOTEBOOK_7 = ("/lab/api/settings/", "reading 'schema'")
SETTINGS = {
    # All cells are in the page, also those that are scrolled out of view.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # Tests save explicitly.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def kernel_folder(version: str) -> Path | None:
    """Return the folder of this version of ipykernel; None for the environment's own."""
    return None if version == VERSIONS[-1] else Path(sys.prefix) / "kernels" / version


def missing_kernels() -> list[str]:
    folders = {version: kernel_folder(version) for version in VERSIONS}
    return [version for version, folder in folders.items() if folder is not None and not folder.is_dir()]


def _pause() -> None:
    time.sleep(0.05)


def until(
    condition: Callable[[], Any], what: str, *, timeout_s: float = PATIENCE_S, pause: Callable[[], None] = _pause
) -> Any:
    """Return the condition's first true value; fail with `what` on timeout."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        pause()
    return answer


def launch_chromium(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGS)


class Lab:
    """A JupyterLab server with a home folder of its own and its notebooks in `root`; or a server of Notebook 7."""

    def __init__(self, folder: Path, program: Literal["jupyterlab", "notebook"] = "jupyterlab") -> None:
        self.program = program
        self.root = folder / "notebooks"
        self.settings = folder / "settings"
        self.runtime = folder / "runtime"
        self._log = folder / "server.log"
        self._label = uuid.uuid4().hex
        home, config, data = folder / "home", folder / "config", folder / "data"
        for made in (self.root, self.settings, self.runtime, home, config / "labconfig"):
            made.mkdir(parents=True)
        (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
        for version in VERSIONS:
            _write_kernelspec(data / "kernels" / f"python-{version}", version)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "JUPYTER", "XDG_", "JPY_"))
        }
        environment |= {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_DATA_DIR": str(data),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTERLAB_SETTINGS_DIR": str(self.settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "HF_HUB_OFFLINE": "1",
            LABEL: self._label,
        }
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": str(_free_port()),
            "ServerApp.root_dir": str(self.root),
            "ServerApp.disable_check_xsrf": "True",
            "IdentityProvider.token": "",
            # The page then has window.jupyterapp.
            "LabApp.expose_app_in_browser": "True",
            "JupyterNotebookApp.expose_app_in_browser": "True",
            # No requests to the internet.
            "LabApp.extension_manager": "readonly",
            "LabApp.news_url": "None",
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }
        argv = [sys.executable, "-m", program, "--no-browser", "--allow-root"]
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [*argv, *(f"--{name}={value}" for name, value in options.items())],
                env=environment,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.url = until(self._listening_at, "JupyterLab's server").rstrip("/")
        except BaseException:
            self.close()
            raise

    def _listening_at(self) -> str | None:
        """Return the server's URL once it responds; its port may differ from the requested one."""
        assert self._server.poll() is None, self._log.read_text()
        for file in self.runtime.glob("jpserver-*.json"):
            try:
                url: str = json.loads(file.read_text())["url"]
                with urllib.request.urlopen(url + "api/status", timeout=5):
                    return url
            except (OSError, ValueError):
                pass  # The file is half written, or the server does not listen yet.
        return None

    def request(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Call the server's REST API: `request("api/sessions")`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            content = reply.read()
        return json.loads(content) if content else None

    def reset_settings(self) -> None:
        """Reset settings that a test changed, such as the theme."""
        shutil.rmtree(self.settings)
        self.settings.mkdir()

    def processes(self) -> list[psutil.Process]:
        """Return the server and its descendants, such as kernels, including detached ones."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(LABEL) == self._label and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                pass
        return found

    def close(self) -> None:
        """Stop the server with its kernels, and kill processes that are left."""
        self._server.terminate()
        try:
            self._server.wait(15)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait(15)
        while left := self.processes():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=5)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _write_kernelspec(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    path = kernel_folder(version)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"Python (ipykernel {version})",
        "language": "python",
        "env": {} if path is None else {"PYTHONPATH": str(path)},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))


# JavaScript for JupyterLab's page; `panel` is the open notebook.
_PANEL = "const app = window.jupyterapp; const panel = app?.shell.currentWidget;"
_READY = f"""() => {{ {_PANEL}
    return !!panel?.sessionContext?.isReady && panel.context.isReady
        && panel.sessionContext.session?.kernel?.connectionStatus === 'connected'
        && panel.content.widgets.length > 0;
}}"""
_IDLE = f"() => {{ {_PANEL} return panel?.sessionContext?.session?.kernel?.status === 'idle'; }}"
_COLLAPSE = "() => { const shell = window.jupyterapp.shell; shell.collapseLeft(); shell.collapseRight(); }"
_RUN = f"""index => {{ {_PANEL}
    panel.content.activeCellIndex = index;
    const run = {{done: false, error: null}};
    (window.testRuns ??= {{}})[index] = run;
    app.commands.execute('notebook:run-cell').catch(e => run.error = `${{e}}`).then(() => run.done = true);
}}"""
_ADD = f"""async source => {{ {_PANEL}
    panel.content.activeCellIndex = panel.content.widgets.length - 1;
    await app.commands.execute('notebook:insert-cell-below');
    panel.content.activeCell.model.sharedModel.setSource(source);
    return panel.content.activeCellIndex;
}}"""
_RESTART = """() => {
    window.testRestarted = false;
    window.jupyterapp.commands.execute('notebook:restart-kernel').then(() => { window.testRestarted = true; });
}"""
_OUTPUTS = f"index => {{ {_PANEL} return panel.content.widgets[index].model.toJSON().outputs ?? []; }}"
_POINTS = """node => {
    const plain = v => v === undefined || v === null ? null
        : ArrayBuffer.isView(v) || Array.isArray(v) ? Array.from(v, plain)
        : typeof v === 'number' && !Number.isFinite(v) ? null : v;
    // _fullData is what Plotly drew last, its arrays decoded; data is what it was given.
    const traces = node._fullData ?? [];
    return traces.map(t => ({name: t.name, type: t.type, visible: t.visible, x: plain(t.x), y: plain(t.y)}));
}"""


class Notebook:
    """A notebook in a page of its own; cells are numbered from 0."""

    def __init__(self, lab: Lab, context: BrowserContext) -> None:
        self.lab = lab
        self.path = lab.root / f"{uuid.uuid4().hex[:8]}.ipynb"
        #: Errors of all loads of the page: those in the console and uncaught exceptions.
        self.errors: list[str] = []
        self._context = context
        self._page: Page | None = None

    @property
    def page(self) -> Page:
        """Playwright's page, for what has no method here."""
        assert self._page is not None, "the page is closed"
        return self._page

    # -- opening and closing

    def open(self, cells: list[str] | Path, kernel: str = KERNELS[-1], *, width: int = 900, height: int = 900) -> None:
        """Open a notebook with these code cells, or a copy of a notebook file, without running it."""
        if isinstance(cells, Path):
            notebook = nbformat.read(cells, as_version=4)
        else:
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        nbformat.write(notebook, self.path)
        self._width, self._height = width, height
        self.reopen()

    def reopen(self) -> None:
        """Open the notebook in a new page, after close_page."""
        assert self._page is None, "the page is open"
        page = self._page = self._context.new_page()
        page.set_viewport_size({"width": self._width, "height": self._height})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._add_error(f"{error.name}: {error.message}\n{error.stack}"))
        # In JupyterLab a separate workspace, so that the layout of another test's page is not restored.
        place = f"lab/workspaces/{self.path.stem}/tree/{self.path.name}?reset"
        page.goto(f"{self.lab.url}/{f'notebooks/{self.path.name}' if self.lab.program == 'notebook' else place}")
        self.wait_ready()

    def close_page(self) -> None:
        """Close the tab; the kernel continues. Unsaved outputs are lost."""
        self.page.close()
        self._page = None

    def reload(self, shown: Callable[[], Any], what: str, *, save: bool = True) -> None:
        """Reload the page until `shown` returns true.

        JupyterLab requests the states of all widgets at once and gives up after 4 s; on a busy machine Plotly's 5 MB
        take longer, and nothing is shown. A user would reload the page once more, and so does this, at most twice.
        """
        if save:
            self.save()
        for left in (2, 1, 0):
            self.page.reload()
            self.wait_ready()
            try:
                self.until(shown, what, timeout_s=PATIENCE_S / 2)
                return
            except AssertionError:
                if not left:
                    raise
                self.errors[:] = [error for error in self.errors if "widget model not found" not in error]

    def close(self) -> None:
        """Close the page and shut the kernel down."""
        if self._page is not None:
            self.close_page()
        for session in self._sessions():
            self.lab.request(f"api/sessions/{session['id']}", "DELETE")

    def wait_ready(self) -> None:
        """Wait until a page that was loaded shows the notebook with its kernel."""
        self.page.wait_for_function(_READY)
        self.page.evaluate(_COLLAPSE)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._add_error(f"{message.text} ({message.location.get('url')})")

    def _add_error(self, text: str) -> None:
        if self.lab.program != "notebook" or not any(known in text for known in LOADING_NOTEBOOK_7):
            self.errors.append(text)

    # -- cells

    def run(self, index: int, *, wait: bool = True, check: bool = True, timeout_s: float = PATIENCE_S) -> None:
        """Run a cell; with `check`, an exception in it fails the test."""
        self.page.evaluate(_RUN, index)
        if wait:
            self.wait(index, check=check, timeout_s=timeout_s)

    def wait(self, index: int, *, check: bool = True, timeout_s: float = PATIENCE_S) -> None:
        """Wait for a cell that was run since the page was loaded."""
        self.page.wait_for_function("index => window.testRuns?.[index]?.done", arg=index, timeout=timeout_s * 1000)
        error = self.page.evaluate("index => window.testRuns[index].error", index)
        assert error is None, error
        failed = [o for o in self.outputs(index) if o["output_type"] == "error"]
        assert not (check and failed), "\n".join(failed[0]["traceback"])

    def add_and_run(self, source: str, *, wait: bool = True, check: bool = True, timeout_s: float = PATIENCE_S) -> int:
        """Add a cell at the end, run it and return its index."""
        index: int = self.page.evaluate(_ADD, source)
        self.run(index, wait=wait, check=check, timeout_s=timeout_s)
        return index

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return a cell's output area, to find widgets in it: `output(0).get_by_role("button", name="Start")`."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def text(self, index: int) -> str:
        """Return the text of a cell's outputs in the page."""
        return "\n".join(self.cell(index).locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """Return a cell's outputs as they would be saved."""
        found: list[dict[str, Any]] = self.page.evaluate(_OUTPUTS, index)
        return found

    def wait_idle(self, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the page shows the kernel as idle."""
        self.page.wait_for_function(_IDLE, timeout=timeout_s * 1000)

    def until(self, condition: Callable[[], Any], what: str, *, timeout_s: float = PATIENCE_S) -> Any:
        """Return the condition's first true value; fail with `what` and the page's errors on timeout."""

        def pause() -> None:
            if self._page is None:
                _pause()
            else:
                # Lets Playwright process the page's events. Each condition takes CPU from what it waits for.
                self._page.wait_for_timeout(150)

        try:
            return until(condition, what, timeout_s=timeout_s, pause=pause)
        except AssertionError as error:
            error.add_note("\n".join(["The page's errors:", *self.errors]))
            raise

    def press(self, css: str) -> None:
        """Press Enter on a button once it is enabled: on a disabled one the key is lost without an error."""
        button = self.page.locator(css)
        self.until(button.is_enabled, f"{css} enabled")
        button.press("Enter")

    # -- the kernel

    def execute(self, source: str, value: str = "None", *, timeout_s: float = PATIENCE_S) -> Any:
        """Run source in the kernel without the page, then return the value of an expression, encoded as JSON.

        A busy kernel runs it later. Afterwards, outputs of background threads no longer belong to a cell of the page,
        since the kernel assigns them to the latest request.
        """
        with self._shell_channel() as (session, channel):
            content = {
                "code": source,
                "silent": True,
                "store_history": False,
                "allow_stdin": False,
                "stop_on_error": False,
                "user_expressions": {"value": f"__import__('json').dumps({value})"},
            }
            sent = session.send(channel, "execute_request", content)
            deadline = time.monotonic() + timeout_s
            while True:
                left = deadline - time.monotonic()
                assert left > 0 and channel.poll(left * 1000), f"the kernel gave no answer within {timeout_s:g} s"
                _, reply = session.recv(channel)
                if reply["parent_header"].get("msg_id") == sent["header"]["msg_id"]:
                    break
        content = reply["content"]
        assert content["status"] == "ok", "\n".join(content.get("traceback") or [str(content)])
        answer = content["user_expressions"]["value"]
        assert answer["status"] == "ok", "\n".join(answer.get("traceback") or [str(answer)])
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def value(self, expression: str, *, timeout_s: float = PATIENCE_S) -> Any:
        """Return the value of an expression in the kernel, encoded as JSON: `value("list(figure.data[0].x)")`."""
        return self.execute("", expression, timeout_s=timeout_s)

    def _sessions(self) -> list[dict[str, Any]]:
        sessions: list[dict[str, Any]] = self.lab.request("api/sessions")
        return [session for session in sessions if session["path"] == self.path.name]

    @contextmanager
    def _shell_channel(self) -> Iterator[tuple[Session, zmq.Socket[bytes]]]:
        """Connect to the kernel with a plain socket, since jupyter_client's clients leave event loops open."""
        kernel = self._sessions()[0]["kernel"]["id"]
        connection = json.loads((self.lab.runtime / f"kernel-{kernel}.json").read_text())
        session = Session(key=connection["key"].encode(), signature_scheme=connection["signature_scheme"])
        with zmq.Context() as context, context.socket(zmq.DEALER) as channel:
            channel.linger = 0
            channel.connect(f"{connection['transport']}://{connection['ip']}:{connection['shell_port']}")
            yield session, channel

    def kernel_process(self) -> psutil.Process:
        """Return the kernel's process."""
        kernel = self._sessions()[0]["kernel"]["id"]
        (found,) = [p for p in self.lab.processes() if any(kernel in part for part in p.cmdline())]
        return found

    def restart_kernel(self) -> None:
        """Restart the kernel with the menu's command and confirm the dialog."""
        self.page.evaluate(_RESTART)
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.wait_for_function("() => window.testRestarted")
        self.page.wait_for_function(_READY)
        self.wait_idle()

    def interrupt_kernel(self) -> None:
        """Interrupt the kernel with the menu's command; it has no effect before the cell has started."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")

    # -- the page

    def save(self) -> Path:
        """Save the notebook and return its file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return self.path

    def theme(self, name: str) -> None:
        """Set the theme to "JupyterLab Dark", "JupyterLab Light" or another installed theme."""
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        # A splash hides the page while the theme loads.
        self.page.wait_for_function("() => !document.querySelector('#jupyterlab-splash')")

    def screenshot(self, path: Path, index: int | None = None) -> Path:
        """Save a screenshot of the page or of one cell."""
        (self.page if index is None else self.cell(index)).screenshot(path=path)
        return path


def plot_points(page: Page, css: str = ".js-plotly-plot", nth: int = 0) -> list[dict[str, Any]]:
    """Return the traces of a Plotly chart in the page: name, type, visible, x and y, with None for missing numbers."""
    points: list[dict[str, Any]] = page.locator(css).nth(nth).evaluate(_POINTS)
    return points
