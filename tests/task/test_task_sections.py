"""The sections of a task: short forms, spellings of names, and invalid values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.task.task import Task

MakeTask = Callable[..., Task]


@pytest.mark.parametrize("kind", ["llama_cpp", "llama.cpp", "llama-cpp", "LLAMA_CPP"])
def test_an_engines_name_may_be_written_in_its_usual_ways(make_task: MakeTask, kind: str) -> None:
    assert make_task(engine=kind).engine.kind == "llama_cpp"


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("TPE", "tpe"), ("TPESampler", "tpe"), ("bayesian", "tpe"), ("grid_search", "grid"), ("NSGAIISampler", "nsgaii")],
)
def test_a_sampler_may_be_named_as_optuna_or_the_prototype_does(make_task: MakeTask, name: str, sampler: str) -> None:
    assert make_task(strategy=name).strategy.sampler == sampler


def test_random_weights_need_heads_that_divide(make_task: MakeTask) -> None:
    weights = {"random_weights": {"hidden_size": 256, "kv_heads": 2}}
    assert make_task(model=weights).model.random_weights.kv_heads == 2  # type: ignore[union-attr]
    with pytest.raises(TaskError, match=r"^model\.random_weights: kv_heads 3 does not divide the 4 attention heads"):
        make_task(model={"random_weights": {"hidden_size": 256, "kv_heads": 3}})


def test_a_placeholder_nobody_fills_is_refused(task_data: dict[str, Any]) -> None:
    task_data["engine"] = {"kind": "command", "command": "server --port {port} --host {hosst}"}
    with pytest.raises(TaskError, match=r"engine: command has \{hosst\}"):
        Task.parse(task_data)
    task_data["engine"] = {"kind": "command", "command": ["server", "{port}", '{"json": 1}']}
    Task.parse(task_data)
