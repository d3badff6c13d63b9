"""Whether a task has the dataset that its scenarios or its kind of requests need."""

from __future__ import annotations

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task


def require_dataset(task: Task) -> None:
    """Raise TaskError if requests would come from a dataset and the task has none; a replay sends no requests.

    Not a check of the task alone: recorded levels have the scenario ``dataset`` too.
    """
    workload = task.workload
    if workload.dataset.path is not None or task.deploy.kind == "replay":
        return
    if any("dataset" in scenario for scenario in workload.scenarios):
        raise TaskError(
            "the scenario dataset sends the rows of a dataset, and the task has none; give workload.dataset, such as "
            "{path: prompts.csv, column: prompt}, or a scenario such as D(512,128)",
            field="workload.scenarios",
        )
    if workload.task.startswith("image"):
        raise TaskError(
            f"{workload.task} sends the images of a dataset, and the task has none; give its folder or a hub's name, "
            "such as {path: org/images, image_column: image, column: question}",
            field="workload.dataset",
        )
