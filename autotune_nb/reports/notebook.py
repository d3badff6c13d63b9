"""Executes notebooks headless with papermill, reports the progress of their runs, and converts them to HTML."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autotune_nb.errors import RunError, SetupError, cannot_write
from autotune_nb.reports._notebook_file import notebook_bytes
from autotune_nb.reports._notebook_input import (
    ParametersCell,
    check_parameter_name,
    language_of,
    read_notebook_to_execute,
)
from autotune_nb.reports.html_page import to_html
from autotune_nb.runner.progress import LEDGER_VARIABLE, Ledger

_POLL_S = 0.3


def execute(
    notebook: Path,
    output: Path,
    *,
    parameters: Mapping[str, Any],
    report: Callable[[str], None],
    texts: Mapping[str, str] | None = None,
    html: bool = False,
    show_code: bool = True,
    save_each_cell: bool = True,
) -> list[Path]:
    """Execute a notebook with papermill and write it to ``output``, with ``html`` also as an HTML page beside it.

    ``texts`` are further parameters as they were written on a command line: text where the notebook's parameter is
    text, else JSON. ``report`` is called with every line of progress; ``show_code`` applies to the HTML page.
    Without ``save_each_cell`` the notebook is saved when its last cell has ended. Returns the written files.
    Raises RunError if a cell or a run fails, or if a run was not awaited; the executed notebook is written anyway.
    """
    import nbformat
    import papermill
    from papermill.exceptions import PapermillException

    from autotune_nb.reports._kernel_client import NotebookKernelManager

    for name in (*parameters, *(texts or {})):
        check_parameter_name(name)
    source = read_notebook_to_execute(notebook)
    if output.suffix.lower() in (".html", ".htm"):
        raise SetupError(f"the output must be a notebook, not {output}; name it .ipynb, and use --html for a page")
    _check_language(source, notebook, report)
    cell = ParametersCell.of(source)
    values = {**parameters, **{name: cell.value(name, text) for name, text in (texts or {}).items()}}
    for note in filter(None, map(cell.note, values)):
        report(f"note: {notebook} {note}")
    _prepare(output)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="autotune_nb-") as work:
        ledger = Ledger(Path(work) / "ledger.jsonl")
        normalized = Path(work) / notebook.name
        nbformat.write(source, normalized)
        if not save_each_cell:
            # Until then the file is the notebook without outputs: not an older one, should the kernel be killed.
            nbformat.write(source, output)
        problem = None
        with _environment(LEDGER_VARIABLE, str(ledger.path)), _following(ledger, report):
            try:
                papermill.execute_notebook(
                    _escaped(normalized),
                    _escaped(output),
                    parameters=values,
                    progress_bar=False,
                    request_save_on_cell_execute=save_each_cell,
                    kernel_name=_kernel(),
                    kernel_manager_class=NotebookKernelManager,
                    language="python",
                    # Suppresses ipykernel's warning about encryption, irrelevant for a local kernel.
                    extra_arguments=["--IPKernelApp.log_level=40"],
                    cwd=str(Path.cwd()),
                )
            except PapermillException as error:
                problem = _cell_error(error)
            except RuntimeError as error:
                problem = f"the notebook's kernel ended: {error}"
        entries, _ = ledger.read()
    written = [output]
    if output.is_file():
        _finish(output, notebook)
    if html and output.is_file():
        written.append(to_html(output, show_code=show_code))
    problem = problem or _run_problem(entries)
    if problem:
        raise RunError(f"{problem} (the executed notebook is {output})")
    return written


def _check_language(source: Any, notebook: Path, report: Callable[[str], None]) -> None:
    language = language_of(source)
    kernel = source.metadata.get("kernelspec", {}).get("name")
    if language is None:
        report(f"note: {notebook} names no language; Python is assumed")
    elif not language.startswith(("python", "ipython")):
        raise SetupError(f"{str(notebook)!r} is a notebook in {language}; only Python notebooks can be executed")
    elif kernel not in (None, "", "python3", "python", "autotune_nb"):
        report(f"note: {notebook} was written for the kernel {kernel!r}; it runs on this Python, {sys.executable}")


def _escaped(path: Path) -> str:
    """Return a path for papermill, which formats it with the parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _finish(output: Path, notebook: Path) -> None:
    """Replace widgets with what they show, since their state would add hundreds of kilobytes."""
    import nbformat

    nb = nbformat.read(output, as_version=4)
    widgets = nb.metadata.pop("widgets", None)
    state = (widgets or {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [shown for one in cell.outputs for shown in (one, *_captured(one, state))]
    nb.metadata.setdefault("papermill", {}).update(input_path=str(notebook), output_path=str(output))
    output.write_bytes(notebook_bytes(nb))


def _captured(output: Any, state: Mapping[str, Any]) -> list[Any]:
    """Return the outputs in the ``Output`` widgets of a displayed widget."""
    view = output.get("data", {}).get("application/vnd.jupyter.widget-view+json", {})
    found: list[Any] = []
    seen: set[str] = set()
    waiting = [str(view.get("model_id", ""))]
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in state:
            continue
        seen.add(name)
        model = state[name].get("state", {})
        found += model.get("outputs", []) if state[name].get("model_name") == "OutputModel" else []
        # Depth first, as they are displayed.
        waiting[:0] = [str(one).removeprefix("IPY_MODEL_") for one in model.get("children") or []]
    return found


def _prepare(output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise cannot_write(output, error) from None


def _kernel() -> str:
    """Return the name of a kernel that runs this Python interpreter; installs one if ``python3`` is another one."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
        if spec.argv and Path(spec.argv[0]).name.startswith("python") and not Path(spec.argv[0]).is_absolute():
            return "python3"
        if spec.argv and Path(spec.argv[0]).resolve() == Path(sys.executable).resolve():
            return "python3"
    except NoSuchKernel:
        pass
    from ipykernel.kernelspec import install

    install(user=True, kernel_name="autotune_nb", display_name="autotune_nb")
    return "autotune_nb"


def _cell_error(error: Exception) -> str:
    name, value = getattr(error, "ename", None), getattr(error, "evalue", None)
    count = getattr(error, "exec_count", None)
    return f"cell {count} failed: {name}: {value}" if name else str(error).strip().splitlines()[-1]


def _run_problem(entries: list[dict[str, Any]]) -> str | None:
    """Return what went wrong in the runs of a notebook without failed cells, or None."""
    runs: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if "run" in entry:
            runs.setdefault(entry["run"], {})[entry["event"]] = entry
    for events in runs.values():
        study = next(iter(events.values()))["study"]
        ended = events.get("ended")
        if "awaited" not in events:
            return f"the run in {study} was not awaited: end its cell with 'await run'"
        if ended is not None and ended["state"] == "failed":
            return f"the run in {study} failed: {ended['error']}"
        if ended is not None and not ended["completed"]:
            return f"no trial of the run in {study} completed"
    return None


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _following(ledger: Ledger, report: Callable[[str], None]) -> Iterator[None]:
    """Report the lines that the notebook's runs append to the ledger, while papermill blocks this thread."""
    over = threading.Event()

    def follow() -> None:
        offset = 0
        while True:
            last = over.wait(_POLL_S)
            entries, offset = ledger.read(offset)
            for entry in entries:
                if "line" in entry:
                    report(entry["line"])
            if last:
                return

    thread = threading.Thread(target=follow, name="autotune_nb-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
