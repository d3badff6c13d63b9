"""The GPUs of the workers of a shared study on one host."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from autotune_nb.errors import SetupError
from autotune_nb.runner import worker_gpus
from autotune_nb.runner.gpus import Gpu
from autotune_nb.runner.worker_gpus import free_gpus, with_own_gpus

GPUS = [Gpu(str(number), f"GPU-{number}") for number in range(4)]


@pytest.fixture(autouse=True)
def _four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(chosen: Collection[str] | None = None) -> list[Gpu]:
        return [gpu for gpu in GPUS if chosen is None or gpu.number in chosen or gpu.id in chosen]

    monkeypatch.setattr(worker_gpus, "gpus", found)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_each_worker_takes_gpus_that_no_other_one_uses(make_task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(deploy={"gpus": 2})
    first = free_gpus(task, frozenset())
    second = free_gpus(task, frozenset(first))
    assert (first, second) == (("GPU-0", "GPU-1"), ("GPU-2", "GPU-3"))
    assert with_own_gpus(task, second).deploy.gpus == ["GPU-2", "GPU-3"]
    with pytest.raises(SetupError, match="use GPU 0, 1, 2, 3: 2 needed, 0 free"):
        free_gpus(task, frozenset({*first, *second}))
    # By its number, as the variable has it.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert with_own_gpus(task, free_gpus(task, frozenset())).deploy.gpus == ["2", "3"]


def test_a_worker_without_a_choice_takes_the_gpus_that_are_free(
    make_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, everything = make_task(), tuple(gpu.id for gpu in GPUS)
    assert free_gpus(task, frozenset()) == everything
    assert with_own_gpus(task, everything) == task
    own = free_gpus(task, frozenset({"GPU-0", "GPU-1"}))
    assert own == ("GPU-2", "GPU-3")
    # Its engines see no others, and GPUs remain without a bound for each trial.
    limited = with_own_gpus(task, own)
    assert (limited.engine.env, limited.deploy.gpus) == ({"CUDA_VISIBLE_DEVICES": "GPU-2,GPU-3"}, None)
    with pytest.raises(SetupError, match=r"use GPU 0, 1, 2, 3: none is free; start each worker with .* --gpus 0"):
        free_gpus(task, frozenset(everything))
    # What a user has chosen is used as a whole, or not at all.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(SetupError, match="use GPU 1: give this worker those that are free, --gpus 0,2,3"):
        free_gpus(task, frozenset({"GPU-1"}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert with_own_gpus(task, free_gpus(task, frozenset({"GPU-1"}))) == task


def test_gpus_that_the_task_lists_are_those_of_one_worker(make_task: Any) -> None:
    task = make_task(deploy={"gpus": [2, 3]})
    assert free_gpus(task, frozenset({"GPU-1"})) == ("GPU-2", "GPU-3")
    with pytest.raises(SetupError, match="use GPU 3: the task lists the GPUs of every worker"):
        free_gpus(task, frozenset({"GPU-3"}))


def test_containers_without_gpus_take_none(make_task: Any) -> None:
    image = {"kind": "container", "image": "engine:1"}
    assert free_gpus(make_task(deploy=image), frozenset({"GPU-0"})) == ()
    with pytest.raises(SetupError, match="use GPU 0: give this worker those that are free, --gpus 1,2,3"):
        free_gpus(make_task(deploy={**image, "run_args": ["--gpus", "all"]}), frozenset({"GPU-0"}))
