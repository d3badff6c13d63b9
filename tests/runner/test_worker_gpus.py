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


def test_a_worker_that_would_use_all_gpus_is_refused_beside_another(make_task: Any) -> None:
    assert free_gpus(make_task(), frozenset()) == tuple(gpu.id for gpu in GPUS)
    with pytest.raises(SetupError, match=r"other workers of the study on this host use GPU 1: give .* with --gpus"):
        free_gpus(make_task(), frozenset({"GPU-1"}))
    assert free_gpus(make_task(deploy={"gpus": [2, 3]}), frozenset({"GPU-1"})) == ("GPU-2", "GPU-3")
