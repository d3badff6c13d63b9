"""What a form starts from: an earlier study, around its best configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task
from autotune_nb.widgets._draft import initial_data, start_note
from tests.stubs import open_study
from tests.study.test_study import asked, completed


@pytest.fixture
def task(make_task: Callable[..., Task]) -> Task:
    threads: dict[str, Any] = {"type": "int", "low": 1, "high": 33}
    return make_task(parameters={"threads": threads, "flash_attn": ["on", "off"]}, budget={"baseline": False})


def test_a_form_searches_around_the_best_of_a_study(task: Task, tmp_path: Path) -> None:
    study = open_study(task, tmp_path / "study")
    point = asked(study)
    study.tell(completed(point, 10.0))
    study.close()
    data = initial_data(tmp_path / "study")
    low, high = (data["parameters"]["threads"][end] for end in ("low", "high"))
    best = point.params["threads"]
    assert (low, high) == (max(1, best - 4), min(33, best + 4))
    assert data["parameters"]["flash_attn"]["values"] == ["on", "off"]
    assert data["name"] == f"{task.name}-around-best"
    assert Task.parse(data).workload == task.workload
    assert start_note(tmp_path / "study", data) == f"started around the best of {tmp_path / 'study'}"


def test_a_study_without_a_best_gives_its_task(task: Task, tmp_path: Path) -> None:
    open_study(task, tmp_path / "study").close()
    data = initial_data(str(tmp_path / "study"))
    assert Task.parse(data) == task
    assert start_note(tmp_path / "study", data).startswith("opened ")


def test_a_folder_that_holds_no_study_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot be read"):
        initial_data(tmp_path)
