"""The space that a new task opens with, on machines with and without GPUs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from autotune_nb.engines.first_space import first_space
from autotune_nb.engines.installed import with_schema
from autotune_nb.engines.registry import engine_for, engine_named, space_for
from autotune_nb.task.task import Task
from tests.engines.recorded_flags import VERSIONS, recorded


@pytest.mark.parametrize("engine", ["vllm", "sglang", "llama_cpp"])
@pytest.mark.parametrize(("cores", "gpus"), [(1, 0), (2, 0), (6, 1), (96, 8), (192, 6)])
def test_it_is_small_and_every_value_is_one_of_the_engines(
    make_task: Callable[..., Task], engine: str, cores: int, gpus: int
) -> None:
    space = first_space(engine, cores=cores, gpus=gpus)
    task = make_task(engine=engine, parameters={name: one.values for name, one in space.items()})
    points = math.prod(len(one.values) for one in space.values())
    assert 48 <= points <= 3000
    assert 0 < len(list(space_for(task, engine_for(task)).grid())) <= points
    catalog = engine_named(engine)
    for name, parameter in space.items():
        catalog.check(name, parameter, field=name)
        if engine in VERSIONS:
            with_schema(catalog, recorded(engine, VERSIONS[engine][-1])).check(name, parameter, field=name)


def test_sizes_fit_the_machine() -> None:
    assert first_space("llama_cpp", cores=6, gpus=0)["threads"].values == [1, 2, 4, 6]
    assert first_space("llama_cpp", cores=1, gpus=0)["threads"].values == [1]
    assert "tensor_parallel_size" not in first_space("vllm", cores=8, gpus=1)
    assert "gpu_memory_utilization" not in first_space("vllm", cores=8, gpus=0)
    # Never 3, 5, 6 or 7: they divide few models' heads.
    assert first_space("vllm", cores=8, gpus=6)["tensor_parallel_size"].values == [1, 2, 4]
    assert first_space("sglang", cores=8, gpus=8)["tp_size"].values == [1, 2, 4, 8]
    assert first_space("command", cores=8, gpus=8) == {}
