"""Batches: a grid of tasks becomes studies, side by side, of which one that fails does not stop the others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from click.testing import CliRunner

import autotune_nb as at
from autotune_nb.batches import running
from autotune_nb.batches.grid import Cell, Grid, read_grid
from autotune_nb.batches.running import run_grid
from autotune_nb.cli.main import cli
from autotune_nb.errors import TaskError, UnknownNameError
from tests.runner.test_replay import replay_task, write_table


def write_batch(folder: Path, axes: Any, **changes: Any) -> Path:
    base = replay_task(write_table(folder), budget={"trials": 2}, strategy={"sampler": "random", "seed": 0})
    file = folder / "nightly.yaml"
    file.write_text(
        yaml.safe_dump({"base": base, "axes": axes, "folder": str(folder / "runs"), **changes}, sort_keys=False)
    )
    return file


AXES = {"model": ["acme/a", "acme/b"], "load": {"light": {"workload": {"concurrency": [4]}}, "both": {}}}


def test_a_grid_is_every_combination_of_its_axes_merged_into_the_base(tmp_path: Path) -> None:
    grid = read_grid(write_batch(tmp_path, AXES))
    assert [cell.name for cell in grid.cells] == ["a_light", "a_both", "b_light", "b_both"]
    assert [cell.labels for cell in grid.cells][1] == {"model": "acme/a", "load": "both"}
    tasks = [cell.task for cell in grid.cells]
    assert [task.model.id_or_path for task in tasks if task] == ["acme/a", "acme/a", "acme/b", "acme/b"]
    assert [len(task.workload.levels) for task in tasks if task] == [1, 2, 1, 2]
    assert {task.workload.scenarios[0] for task in tasks if task} == {"dataset"}
    assert grid.cells[2].study == tmp_path / "runs" / "b_light"


@pytest.mark.parametrize(
    ("axes", "changes", "message"),
    [
        ({}, {}, "at least one axis"),
        ({"model": []}, {}, "a list of values"),
        ({"load": ["heavy"]}, {}, "is no field of a task"),
        ({"model": [{"id_or_path": "x"}]}, {}, "name these values"),
        (AXES, {"parallel": 0}, "studies at a time, not 0"),
        (AXES, {"base": 3}, "expected a task file"),
    ],
)
def test_an_invalid_file_is_refused_with_the_field(
    tmp_path: Path, axes: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        read_grid(write_batch(tmp_path, axes, **changes))


def test_a_misspelled_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="axis"):
        read_grid(write_batch(tmp_path, AXES, axis={}))


class Executor:
    """Runs the studies in this process, and counts how many run at the same time."""

    def __init__(self, *, failing: str = "") -> None:
        self.failing = failing
        self.ran: list[str] = []
        self.now = self.most = 0

    async def __call__(
        self, cell: Cell, notebook: Path, environment: Mapping[str, str], report: Callable[[str], None]
    ) -> tuple[int, str]:
        self.ran.append(cell.name)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if cell.name == self.failing:
                return 1, "the engine does not start"
            task = cell.task
            assert task is not None
            # In another thread, since runs share the event loop of batches.
            await asyncio.to_thread(lambda: at.tune(task, study=cell.study).wait(60))
            return 0, ""
        finally:
            self.now -= 1


def test_one_that_fails_does_not_stop_the_others_and_finished_ones_are_skipped(tmp_path: Path) -> None:
    file, lines, executor = write_batch(tmp_path, AXES), list[str](), Executor(failing="a_both")
    found = run_grid(read_grid(file), report=lines.append, execute=executor)
    assert [one.state for one in found.results] == ["finished", "failed", "finished", "finished"]
    assert not found.ok
    assert executor.most == 1
    assert "[a_both] failed: the engine does not start" in lines
    assert found.frame.loc["a_both", "error"] == "the engine does not start"
    assert found.frame.loc["b_light", "model"] == "acme/b"
    assert found.frame["best"].notna().sum() == 3
    page = (tmp_path / "runs" / "summary.html").read_text()
    assert "a_light" in page
    assert "threads=" in page
    assert ">None<" not in page
    assert (tmp_path / "runs" / "summary.csv").read_text().startswith("study,model,load,state")
    again = Executor()
    second = run_grid(read_grid(file), report=lines.append, execute=again)
    assert again.ran == ["a_both"]
    assert [one.state for one in second.results] == ["skipped", "finished", "skipped", "skipped"]
    assert second.ok
    # A part of a section by its full name.
    more = write_batch(tmp_path, {**AXES, "budget.trials": [3]})
    assert all(cell.task and cell.task.budget.trials == 3 for cell in read_grid(more).cells)


def test_an_invalid_task_is_a_failed_study_and_the_command_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Executor()
    monkeypatch.setattr(running, "_papermill", executor)
    file = write_batch(tmp_path, {"objective": ["maximize output_tokens_per_s", "maximize nonsense"]})
    done = CliRunner().invoke(cli, ["batch", str(file), "--json"])
    assert done.exit_code == 1, done.output
    rows = json.loads(done.stdout)
    assert [row["state"] for row in rows] == ["finished", "failed"]
    assert "nonsense" in rows[1]["error"]
    assert len(executor.ran) == 1
    missing = tmp_path / "nowhere.yaml"
    done = CliRunner().invoke(cli, ["batch", str(missing)])
    assert (done.exit_code, done.stderr) == (
        2,
        f"error: the batch file '{missing}' cannot be read: No such file or directory\n",
    )


def test_studies_run_side_by_side_on_gpus_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3,5")
    task = at.Task.parse(
        {**replay_task(write_table(tmp_path)), "deploy": {"gpus": 1}, "name": "x"},
    )

    together, held = asyncio.Barrier(3), list[str]()

    async def wait_for_the_others(
        _cell: Cell, _notebook: Path, environment: Mapping[str, str], _report: Callable[[str], None]
    ) -> tuple[int, str]:
        held.append(environment["CUDA_VISIBLE_DEVICES"])
        await together.wait()
        return 0, ""

    cells = tuple(Cell(str(n), {}, tmp_path / str(n), task) for n in range(3))
    assert run_grid(Grid(tmp_path, cells), report=lambda _line: None, execute=wait_for_the_others).ok
    assert sorted(held) == ["0", "3", "5"]


def test_an_interrupt_waits_until_the_studies_that_run_have_stopped(tmp_path: Path) -> None:
    # A shell lets its background jobs ignore it.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    task, began, stopped = at.Task.parse(replay_task(write_table(tmp_path))), list[str](), list[str]()

    async def interrupted(
        cell: Cell, _notebook: Path, _environment: Mapping[str, str], _report: Callable[[str], None]
    ) -> tuple[int, str]:
        began.append(cell.name)
        try:
            if len(began) == 1:
                os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            # As long as its engine takes to stop.
            await asyncio.sleep(0.05)
            stopped.append(cell.name)
        return 0, ""

    cells = tuple(Cell(name, {}, tmp_path / name, task) for name in "ab")
    try:
        with pytest.raises(KeyboardInterrupt):
            run_grid(Grid(tmp_path, cells), report=lambda _line: None, execute=interrupted)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert began
    assert sorted(stopped) == sorted(began)


@pytest.mark.slow
@pytest.mark.e2e
def test_real_engines_are_tuned_by_executed_notebooks(tmp_path: Path) -> None:
    file = tmp_path / "batch.yaml"
    small = {"random_weights": {"layers": 2, "hidden_size": 64, "feed_forward_size": 64}}
    budget = {"budget": {"trials": 2}, "confirm": False, "strategy": "random", "limits": []}
    load = {"workload": {"concurrency": [1], "seconds_per_level": 2, "requests_per_level": 5}}
    file.write_text(
        yaml.safe_dump(
            {
                "base": "quickstart",
                "axes": {"model": {"a": small, "b": {**small, "served_name": "b"}}, "load": {"x": {**budget, **load}}},
            }
        )
    )
    done = CliRunner().invoke(cli, ["batch", str(file), "--folder", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    notebook: Any = nbformat.read(tmp_path / "runs" / "x_a" / "notebook.ipynb", as_version=4)
    assert "complete" in str(notebook.cells)
