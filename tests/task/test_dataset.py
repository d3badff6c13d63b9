"""The dataset of a workload: fields that do not fit together, and scenarios that need one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotune_nb as at
from autotune_nb.errors import TaskError
from autotune_nb.task.own_prompts import require_dataset

MakeTask = Callable[..., at.Task]
IMAGES = "image-text-to-text"


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        ({"dataset": {"column": "prompt"}}, "column is given without path"),
        ({"dataset": {"path": "a.csv", "column": "q", "prompt": "Say {q}"}}, "give column or prompt"),
        ({"dataset": {"path": "a.csv", "config": {"split": "test"}}}, "path is a file: omit config"),
        ({"dataset": "org/prompts"}, "org/prompts is a folder or a hub's name and needs column"),
        ({"dataset": {"path": "org/prompts", "prompt": "Say {q}"}}, "give column"),
        ({"dataset": {"path": "a.csv", "image_column": "i"}, "task": IMAGES}, "images are read from a folder"),
        ({"dataset": {"path": "org/a", "column": "q"}, "task": IMAGES}, "needs dataset.image_column"),
        ({"dataset": {"path": "org/a", "image_column": "i"}}, "image_column is for image-text-to-text"),
    ],
)
def test_fields_of_a_dataset_that_do_not_fit_together(
    make_task: MakeTask, workload: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message) as wrong:
        make_task(workload={"scenarios": ["dataset"], **workload})
    assert wrong.value.field.startswith("workload")


def test_a_dataset_may_be_written_as_its_path(make_task: MakeTask) -> None:
    task = make_task(workload={"scenarios": ["dataset"], "dataset": "prompts.txt"})
    assert task.workload.dataset.path == "prompts.txt"
    require_dataset(task)


def test_a_scenario_without_its_dataset_is_refused_where_requests_would_be_sent(
    make_task: MakeTask, tmp_path: Path
) -> None:
    task = make_task(workload={"scenarios": ["D(8,8)", "dataset"]})
    with pytest.raises(TaskError, match="the task has none; give workload") as wrong:
        at.tune(task, study=tmp_path / "s")
    assert wrong.value.field == "workload.scenarios"
    (answer,) = at.check(task).answers
    assert (answer.ok, answer.text) == (False, str(wrong.value))
    # Recorded levels have this scenario too.
    require_dataset(make_task(workload={"scenarios": ["dataset"]}, deploy={"kind": "replay", "table": "t.csv"}))


def test_images_come_from_a_dataset(make_task: MakeTask) -> None:
    task = make_task(workload={"scenarios": ["I(64,64)"], "task": IMAGES}, objective="maximize requests_per_s")
    with pytest.raises(TaskError, match="sends the images of a dataset, and the task has none"):
        require_dataset(task)


def test_aiperf_sends_no_dataset(make_task: MakeTask) -> None:
    workload = {"scenarios": ["D(8,8)"], "rate": [1], "dataset": "prompts.txt"}
    with pytest.raises(TaskError, match="aiperf sends generated prompts here"):
        make_task(workload=workload, benchmark={"kind": "aiperf"})
