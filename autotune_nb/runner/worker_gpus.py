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
    if wanted is None and task.deploy.kind == "container" and not task.deploy.passes_gpus:
        return ()
    own = visible if wanted is None else gpus([str(one) for one in wanted])
    taken = [gpu for gpu in own if gpu.id in used]
    if taken and _may_take_others(task):
        own, taken = [gpu for gpu in own if gpu.id not in used], taken if len(taken) == len(own) else []
    if taken:
        raise _taken(taken, _instead(task, used))
    return tuple(gpu.id for gpu in own)


def _may_take_others(task: Task) -> bool:
    """Return whether nobody has chosen the GPUs, and engines can be limited to others."""
    chosen = VARIABLE in os.environ or VARIABLE in task.engine.env
    return task.deploy.kind == "local" and task.deploy.gpus is None and not chosen


def _instead(task: Task, used: frozenset[str]) -> str:
    """Return what to change so that a worker has GPUs of its own."""
    if task.deploy.gpus is not None or VARIABLE in task.engine.env:
        return "the task lists the GPUs of every worker; in a new study, give their number with deploy.gpus instead"
    if free := ",".join(gpu.number for gpu in gpus() if gpu.id not in used):
        return f"give this worker those that are free, --gpus {free}"
    return "none is free; start each worker with some of them, such as --gpus 0, or set deploy.gpus to their number"


def with_own_gpus(task: Task, own: tuple[str, ...]) -> Task:
    """Return the task for the deployer of a worker with these GPUs, instead of a number of them or of all."""
    deploy, visible = task.deploy, visible_gpus(os.environ)
    words = [_word(gpu, visible) for gpu in gpus(list(own))] if own else []
    if own and isinstance(deploy.gpus, int):
        return task.model_copy(update={"deploy": deploy.model_copy(update={"gpus": words})})
    if own and _may_take_others(task) and {gpu.id for gpu in gpus()} - set(own):
        env = {**task.engine.env, VARIABLE: ",".join(words)}
        return task.model_copy(update={"engine": task.engine.model_copy(update={"env": env})})
    return task


def _word(gpu: Gpu, visible: list[str] | None) -> str:
    """Return a GPU as ``CUDA_VISIBLE_DEVICES`` has it; its id if the variable is not set."""
    return next((one for one in visible or () if one == gpu.number or gpu.id.startswith(one)), gpu.id)


def _taken(taken: list[Gpu], text: str) -> SetupError:
    numbers = ", ".join(gpu.number for gpu in taken)
    return SetupError(
        f"other workers of the study on this host use GPU {numbers}: {text} ({VARIABLE} limits them, too)",
        field="deploy.gpus",
    )
