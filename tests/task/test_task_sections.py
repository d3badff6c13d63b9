"""The sections of a task: short forms, spellings of names, and invalid values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.task.sections import EngineSpec
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


@pytest.mark.parametrize(
    ("given", "raw_args"),
    [
        ({"raw_args": ["--ctx-size 2048"]}, ["--ctx-size", "2048"]),
        ({"raw_args": ["--ctx-size 2048 --mlock", "-v"]}, ["--ctx-size", "2048", "--mlock", "-v"]),
        ({"raw_args": ["--prompt=two words", "two words", "--prompt", "- a list"]}, None),
        ({"raw_args": ['--config {"a": "x y"}']}, ["--config", '{"a": "x y"}']),
        ({"raw_args": "--ctx-size 2048 --name 'two words'"}, ["--ctx-size", "2048", "--name", "two words"]),
        ({"raw_args": ["--ctx-size", 2048]}, ["--ctx-size", "2048"]),
        ({"args": ["--config", '{"a":{"b":4.0}}', "--x", "1"]}, ["--config", '{"a":{"b":4.0}}', "--x", "1"]),
        ({"args": "--config '{\"a\": 4}' \\\n  --x 1"}, ["--config", '{"a": 4}', "--x", "1"]),
        ({"args": ["--x 1"], "raw_args": ["--y"]}, ["--x", "1", "--y"]),
    ],
)
def test_arguments_may_be_written_as_a_command_line(given: dict[str, Any], raw_args: list[str] | None) -> None:
    engine = EngineSpec.model_validate({"kind": "vllm", **given})
    assert (engine.args, engine.raw_args) == ({}, given["raw_args"] if raw_args is None else raw_args)


@pytest.mark.parametrize("given", [{"raw_args": "--x 'open"}, {"args": ["--x 'open"]}])
def test_a_command_line_with_an_open_quote_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be split into words: No closing quotation"):
        EngineSpec.model_validate({"kind": "vllm", **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"args": ["--x 1", 5, None]}, r"engine\.args\[2\]: null is no word of a command line.*or args as a mapping"),
        ({"raw_args": ["--x", {"a": 1}]}, r'engine\.raw_args\[1\]: \{"a": 1\} is no word'),
        ({"raw_args": [True]}, r"engine\.raw_args\[0\]: true is no word"),
    ],
)
def test_a_word_of_a_command_line_that_is_no_text_is_named(
    task_data: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    task_data["engine"] = {"kind": "vllm", **given}
    with pytest.raises(TaskError, match=message):
        Task.parse(task_data)
