"""The dataset of a benchmark that runs in a pod, which has only what is mounted there."""

from __future__ import annotations

from pathlib import PurePosixPath

from autotune_nb.errors import SetupError
from autotune_nb.task.task import Task

_PATH = "workload.dataset.path"
_DIRECT = "set benchmark.executor to direct, which reads it on this machine"


def mounted_dataset_arguments(task: Task) -> list[str]:
    """Return genai-bench's arguments for the dataset of a task in a pod.

    Raises SetupError if the pod would not have it, or genai-bench by itself cannot read it.
    """
    dataset = task.workload.dataset
    if dataset.path is None:
        return []
    path = PurePosixPath(dataset.path)
    mounts = [str(one.get("mountPath") or "") for one in task.benchmark.pod.get("volumeMounts") or ()]
    if dataset.is_file and not any(mount and path.is_relative_to(mount) for mount in mounts):
        raise SetupError(
            f"the benchmark's pod does not have {dataset.path}; mount a volume that has it, by volumes and "
            f"volumeMounts in benchmark.pod, and give its path below the mountPath; or {_DIRECT}",
            field=_PATH,
        )
    if not _is_plain(task):
        raise SetupError(
            f"in a pod, genai-bench reads a text file, a JSON list of texts, or a CSV file with its column, not "
            f"{dataset.path} as it is given; {_DIRECT}",
            field=_PATH,
        )
    column = ["--dataset-prompt-column", dataset.column] if dataset.column is not None else []
    images = ["--dataset-image-column", dataset.image_column] if dataset.image_column is not None else []
    return ["--dataset-path", dataset.path, *column, *images]


def _is_plain(task: Task) -> bool:
    """Whether genai-bench's own options for a dataset are enough."""
    dataset = task.workload.dataset
    if dataset.prompt is not None or dataset.config:
        return False
    if not dataset.is_file:
        # It reads the rows of a hub's dataset for images only, and a folder of the pod not at all.
        return dataset.image_column is not None and not str(dataset.path).startswith((".", "/", "~"))
    suffix = PurePosixPath(str(dataset.path)).suffix.lower()
    return suffix != ".jsonl" and (suffix == ".csv") == (dataset.column is not None)
