"""The GPUs of a worker of a shared study: those of this host that no other worker uses."""

from __future__ import annotations

import os

from autotune_nb.deploy.visible_gpus import VARIABLE, visible_gpus
from autotune_nb.errors import SetupError
from autotune_nb.runner.gpus import Gpu, gpus
from autotune_nb.task.task import Task


def free_gpus(task: Task, used: frozenset[str]) -> tuple[str, ...]:
    """Return the ids of the GPUs for a new worker on this host; ``used`` are those of the other workers.

    Raises SetupError if too few are free.
    """
    if task.deploy.kind not in ("local", "container"):
        return ()
    visible, wanted = gpus(visible_gpus(os.environ)), task.deploy.gpus
    if isinstance(wanted, int):
        free = [gpu for gpu in visible if gpu.id not in used]
        if visible and len(free) < wanted:
            raise _taken([gpu for gpu in visible if gpu.id in used], f"{wanted} needed, {len(free)} free")
        return tuple(gpu.id for gpu in free[:wanted])
    own = visible if wanted is None else gpus([str(one) for one in wanted])
    if taken := [gpu for gpu in own if gpu.id in used]:
        raise _taken(taken, "give this worker others, with --gpus")
    return tuple(gpu.id for gpu in own)


def with_own_gpus(task: Task, own: tuple[str, ...]) -> Task:
    """Return the task for the deployer of a worker with these GPUs: instead of a number of GPUs, the GPUs."""
    if not own or not isinstance(task.deploy.gpus, int):
        return task
    visible = visible_gpus(os.environ)
    found = [_word(gpu, visible) for gpu in gpus(list(own))]
    return task.model_copy(update={"deploy": task.deploy.model_copy(update={"gpus": found})})


def _word(gpu: Gpu, visible: list[str] | None) -> str:
    """Return a GPU as ``CUDA_VISIBLE_DEVICES`` has it; its id if the variable is not set."""
    return next((one for one in visible or () if one == gpu.number or gpu.id.startswith(one)), gpu.id)


def _taken(taken: list[Gpu], text: str) -> SetupError:
    numbers = ", ".join(gpu.number for gpu in taken)
    return SetupError(
        f"other workers of the study on this host use GPU {numbers}: {text} ({VARIABLE} limits them, too)",
        field="deploy.gpus",
    )
