"""The space that a new task opens with, on machines with and without GPUs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb.engines.first_space import first_range, first_space
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


@pytest.mark.parametrize("engine", ["llama_cpp", "vllm", "sglang"])
@pytest.mark.parametrize(("cores", "gpus"), [(2, 0), (8, 4)])
def test_the_first_values_of_any_flag_are_few_and_accepted(engine: str, cores: int, gpus: int) -> None:
    known = engine_named(engine)
    for flag in known.flags:
        found = first_range(known, flag, cores=cores, gpus=gpus)
        if found is None:
            continue
        known.check(flag.name, found, field=flag.name)
        grid = found.grid()
        assert grid is not None and 1 <= len(grid) <= max(6, len(flag.values)), flag.name


def test_the_first_values_of_a_flag_fit_the_machine() -> None:
    def values(engine: str, flag: str, *, cores: int = 2, gpus: int = 0) -> list[Any]:
        known = engine_named(engine)
        named = known.flag_named(flag)
        assert named is not None
        found = first_range(known, named, cores=cores, gpus=gpus)
        return [] if found is None else list(found.grid() or ())

    assert values("llama_cpp", "threads_batch") == [1, 2]
    assert values("llama_cpp", "threads_http", cores=6) == [1, 2, 4, 6]
    assert values("llama_cpp", "n_gpu_layers") == [0]
    assert values("llama_cpp", "n_gpu_layers", gpus=1) == [0, 32, 64, 96, 128]
    assert values("vllm", "pipeline_parallel_size") == [1]
    assert values("vllm", "tensor_parallel_size", gpus=4) == [1, 2, 4]
    assert values("vllm", "gpu_memory_utilization", gpus=1) == [0.85, 0.9, 0.95]
