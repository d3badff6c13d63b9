"""Runs the studies of a batch, each by papermill in a process of its own, side by side on the GPUs there are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from autotune_nb.batches.grid import Cell, Grid, read_grid
from autotune_nb.batches.summary import BatchResult, CellResult
from autotune_nb.deploy.gpu_budget import GpuBudget
from autotune_nb.deploy.visible_gpus import VARIABLE, visible_gpus
from autotune_nb.errors import AutotuneError
from autotune_nb.opened import OpenedStudy
from autotune_nb.resources import shared_folder
from autotune_nb.runner.gpus import gpus
from autotune_nb.runner.loop_thread import LoopThread
from autotune_nb.runner.runner import RunState
from autotune_nb.study import StudyFolder
from autotune_nb.task.task import Task

#: How long a study may take to stop before it is killed.
_STOP_S = 120.0
#: Executes a cell's notebook with these environment variables; returns its exit code and the last line it printed.
Execute = Callable[[Cell, Path, Mapping[str, str], Callable[[str], None]], Awaitable[tuple[int, str]]]


def batch(
    file: str | Path,
    *,
    folder: str | Path | None = None,
    parallel: int | None = None,
    report: Callable[[str], None] = print,
) -> BatchResult:
    """Run the studies of a batch file and return their results; blocks until all have ended.

    Each is run by papermill, and its executed notebook is in its folder. Studies that have finished are skipped,
    interrupted ones are continued, and one that fails does not stop the others. They run side by side as far as this
    machine's GPUs suffice (``deploy.gpus`` says how many a study uses), without GPUs ``parallel`` at a time, by
    default one. ``folder`` replaces the folder of the studies. ``report`` is called with lines of progress.

    Raises TaskError for an invalid batch file.
    """
    return run_grid(read_grid(file, folder), parallel=parallel, report=report)


def run_grid(
    grid: Grid,
    *,
    parallel: int | None = None,
    report: Callable[[str], None] = print,
    execute: Execute | None = None,
) -> BatchResult:
    """Run the studies of a grid; ``execute`` replaces papermill."""
    ended, interrupted = threading.Event(), threading.Event()
    working: list[asyncio.Task[Any] | None] = []

    async def work() -> tuple[CellResult, ...]:
        working.append(asyncio.current_task())
        try:
            if interrupted.is_set():
                return ()
            return await _run(grid, parallel or grid.parallel, report, execute or _papermill)
        finally:
            ended.set()

    thread = LoopThread.get()
    try:
        results = thread.submit(work()).result()
    except BaseException:
        # An interrupt ends the studies that run; they take their engines down before this process ends.
        interrupted.set()
        for task in working:
            if task is not None and not ended.is_set():
                thread.loop.call_soon_threadsafe(task.cancel)
        # It may arrive before anything has begun.
        if working:
            ended.wait(_STOP_S)
        raise
    found = BatchResult(grid.folder, results)
    found.write()
    return found


async def _run(
    grid: Grid, parallel: int | None, report: Callable[[str], None], execute: Execute
) -> tuple[CellResult, ...]:
    slots = _Slots(_gpus(), parallel)
    notebook = grid.notebook or shared_folder("notebooks") / "01_quickstart.ipynb"
    tasks = [asyncio.ensure_future(_cell(cell, notebook, slots, report, execute)) for cell in grid.cells]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            # A second cancellation would interrupt what takes an engine down.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _cell(
    cell: Cell, notebook: Path, slots: _Slots, report: Callable[[str], None], execute: Execute
) -> CellResult:
    executed = cell.study / "notebook.ipynb"
    if cell.task is None:
        report(f"[{cell.name}] failed: {cell.error}")
        return CellResult(cell, "failed", cell.error)
    if await asyncio.to_thread(_has_finished, cell):
        report(f"[{cell.name}] has finished before")
        return CellResult(cell, "skipped", notebook=executed if executed.exists() else None)
    try:
        async with slots.hold(_num_gpus(cell.task)) as environment:
            report(f"[{cell.name}] starts")
            code, last = await execute(cell, notebook, environment, lambda line: report(f"[{cell.name}] {line}"))
    except (AutotuneError, OSError) as error:
        code, last = 1, str(error)
    state = "finished" if code == 0 else "failed"
    report(f"[{cell.name}] {state}{f': {last}' if code else ''}")
    return CellResult(cell, state, last if code else "", executed if executed.exists() else None)


def _has_finished(cell: Cell) -> bool:
    """Return whether the study of a cell has finished with the same task."""
    if not StudyFolder(cell.study).exists:
        return False
    with contextlib.suppress(AutotuneError):
        opened = OpenedStudy(cell.study)
        return opened.state == RunState.FINISHED and opened.task == cell.task
    return False


async def _papermill(
    cell: Cell, notebook: Path, environment: Mapping[str, str], report: Callable[[str], None]
) -> tuple[int, str]:
    assert cell.task is not None
    cell.study.mkdir(parents=True, exist_ok=True)
    task = cell.task.save(cell.study / "batch.yaml")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autotune_nb.cli", "notebook", str(notebook)),
        *("-o", str(cell.study / "notebook.ipynb"), "-r", "task", str(task), "-r", "study", str(cell.study), "--html"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
        # Ctrl-C reaches it once, from here.
        start_new_session=True,
    )
    assert process.stdout is not None
    last = ""
    try:
        async for line in process.stdout:
            if text := line.decode(errors="replace").rstrip():
                last = text
                report(text)
        return await process.wait(), last
    finally:
        if process.returncode is None:
            await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Interrupt a notebook, so that its run takes its engines down; kill it if it does not end."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        if process.returncode is None:
            process.kill()


def _gpus() -> list[str]:
    """Return the GPUs that studies may use: the visible ones, otherwise all of this machine."""
    visible = visible_gpus(os.environ)
    return [gpu.number for gpu in gpus()] if visible is None else visible


def _num_gpus(task: Task) -> int:
    """Return how many of this machine's GPUs a study uses."""
    deploy = task.deploy
    # One that lists its GPUs runs alone, on these.
    if not deploy.on_this_machine or isinstance(deploy.gpus, list):
        return 0
    if deploy.gpus is not None:
        return deploy.gpus
    return deploy.parallel * (1 if deploy.gpus_per_trial is None else deploy.gpus_per_trial)


class _Slots:
    """The GPUs and the number of studies at a time."""

    def __init__(self, gpus: list[str], parallel: int | None) -> None:
        self._all, self._free = list(gpus), list(gpus)
        self._budget = GpuBudget(len(gpus) if gpus else None)
        # Studies without GPUs of their own, and all of a machine without GPUs, run one after the other.
        self._others = asyncio.Semaphore(parallel or 1)
        self._most = None if parallel is None else asyncio.Semaphore(parallel)

    @contextlib.asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[Mapping[str, str]]:
        """Wait for so many GPUs and hold them; yields the environment variables of the study."""
        if not self._all or not count:
            async with self._others:
                yield {}
            return
        async with self._most or contextlib.nullcontext():
            await self._budget.take(count)
            held, self._free = self._free[:count], self._free[count:]
            try:
                yield {VARIABLE: ",".join(held)}
            finally:
                self._free = sorted([*self._free, *held], key=self._all.index)
                self._budget.give(count)
