"""Several objectives in a task."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.task.file import load_task, parse_task, problems, task_data
from autotune_nb.task.python_code import task_code
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.score import Objective

RATE, TIME = "maximize output_tokens_per_s", "minimize ttft_p99_s"


def data(**changes: Any) -> dict[str, Any]:
    return {
        "name": "two",
        "model": "m",
        "engine": "vllm",
        "parameters": {"max_num_seqs": [8, 16]},
        "workload": {"scenarios": ["D(16,8)"], "concurrency": [1, 4]},
        "objectives": [RATE, TIME],
        **changes,
    }


def test_several_objectives_are_read_at_the_level_of_the_first(tmp_path: Any) -> None:
    first = {"direction": "maximize", "figure": "output_tokens_per_s", "at": 4}
    task = parse_task(data(objectives=[first, "minimize_ttft"], limits=["tpot <= 1"]))
    level = Level("D(16,8)", 4)
    assert task.goal.every[1:] == (Objective("ttft_mean_s", "minimize", level),)
    assert task.goal.figures == ("output_tokens_per_s", "ttft_mean_s")
    assert task.goal.level == level
    assert len(task.goal.limits) == 1
    # Written and read in every form it stays the same.
    assert "objective" not in task_data(task)
    assert parse_task(task_data(task)) == task
    assert Task.model_validate(task.model_dump(mode="json")) == task
    assert load_task(task.save(tmp_path / "task.yaml")) == task
    exec(task_code(task), found := {})
    assert found["task"] == task


def test_one_in_the_list_is_the_objective() -> None:
    goal = parse_task(data(objectives=[TIME])).goal
    assert (goal.figure, goal.others) == ("ttft_p99_s", ())


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"objectives": ["maximize speed", TIME]}, "objectives[0].figure", "speed"),
        ({"objectives": [RATE, "minimise ttft"]}, "objectives[1]", "did you mean"),
        ({"objectives": [RATE, "minimize output_tokens_per_s"]}, "objectives[1]", "given twice"),
        ({"objectives": [RATE, {"direction": "minimize", "figure": "ttft_p99_s", "at": 4}]}, "objectives[1].at", "one"),
        ({"objective": TIME}, "objective", "give one of the two"),
        ({"objectives": []}, "objective", "required"),
        ({"strategy": "cmaes"}, "strategy.sampler", "one objective"),
        ({"budget": {"patience": "auto"}}, "budget.patience", "one objective"),
        ({"confirm": True}, "confirm", "the task has several"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_field_named(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(TaskError, match=words) as refused:
        parse_task(data(**changes))
    assert refused.value.field == field


def test_every_error_in_objectives_is_reported_once_and_where_it_is_written() -> None:
    found = problems(data(objectives=["maximize speed", RATE, RATE]))
    assert [error.field for error in found] == ["objectives[0].figure"]
    assert [error.field for error in problems(data(objectives=[TIME, RATE, RATE]))] == ["objectives[2]"]


def test_the_schema_requires_one_objective_or_several() -> None:
    schema = Task.model_json_schema()
    assert "objective" not in schema["required"]
    assert schema["anyOf"] == [{"required": ["objective"]}, {"required": ["objectives"]}]
