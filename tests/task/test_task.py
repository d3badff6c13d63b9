"""The task: defaults, short forms, and checks between its sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.task.parameters import Choice, Int
from autotune_nb.task.task import Task
from autotune_nb.trial.measurement import Level
from autotune_nb.trial.score import Limit

MakeTask = Callable[..., Task]


def test_short_forms_stand_for_the_long_ones(make_task: MakeTask) -> None:
    short = make_task(strategy="random", deploy="local")
    long = make_task(
        model={"id_or_path": "model.gguf"},
        engine={"kind": "llama_cpp"},
        parameters={
            "threads": {"type": "choice", "values": [1, 2]},
            "batch_size": {"type": "int", "low": 32, "high": 512, "log": True},
        },
        objective={"direction": "maximize", "figure": "output_tokens_per_s", "at": "best"},
        strategy={"sampler": "random"},
        deploy={"kind": "local"},
    )
    assert short == long


@pytest.mark.parametrize(
    ("name", "key"), [("--max-num-seqs", "max_num_seqs"), ("max-num-seqs", "max_num_seqs"), ("-ub", "ub")]
)
def test_a_flags_spelling_names_the_parameter(make_task: MakeTask, name: str, key: str) -> None:
    task = make_task(engine="vllm", parameters={name: [1, 2]}, rules=[f"{key} < 9"])
    assert task.parameters == {key: Choice(values=[1, 2])}


def test_two_spellings_of_one_parameter_are_refused(make_task: MakeTask) -> None:
    with pytest.raises(TaskError, match=r"^parameters: '--ubatch-size' and 'ubatch_size' are the same parameter"):
        make_task(parameters={"--ubatch-size": [1], "ubatch_size": [2]})


def test_fixed_flags_are_normalised_and_not_searched_as_well(make_task: MakeTask) -> None:
    task = make_task(engine={"kind": "llama_cpp", "args": {"--ctx-size": 2048}})
    assert task.engine.args == {"ctx_size": 2048}
    with pytest.raises(TaskError, match=r"^engine\.args\.threads: .* searched in parameters"):
        make_task(engine={"kind": "llama_cpp", "args": {"--threads": 1}})


@pytest.mark.parametrize(
    ("name", "direction", "figure"),
    [
        ("minimize_latency", "minimize", "e2e_latency_mean_s"),
        ("maximize_throughput", "maximize", "output_tokens_per_s"),
        ("minimize_ttft", "minimize", "ttft_mean_s"),
        ("minimize_tpot", "minimize", "tpot_mean_s"),
        ("minimize ttft_p99", "minimize", "ttft_p99_s"),
        ("maximize requests_per_s", "maximize", "requests_per_s"),
    ],
)
def test_an_objective_is_a_direction_and_a_figure(make_task: MakeTask, name: str, direction: str, figure: str) -> None:
    goal = make_task(objective=name).goal
    assert (goal.direction, goal.figure, goal.level) == (direction, figure, None)


def test_a_limit_of_a_scenario_names_one_whose_levels_are_read(make_task: MakeTask) -> None:
    workload = {"scenarios": ["D(16,8)", "mix(1*D(1,1),2*D(2,2))"], "concurrency": [1, 2]}
    limits = ["ttft <= 0.5 of D( 016,8)", "tpot_p99 <= 0.1 of mix(D(1,1),2*D(2,2))", "ttft <= 2"]
    task = make_task(workload=workload, limits=limits)
    assert [limit.scenario for limit in task.goal.limits] == [*workload["scenarios"], ""]
    for text, message in (
        (
            "ttft <= 1 of D(1,1)",
            r"^limits\[0\]: no level has the scenario D\(1,1\); those of the workload are D\(16,8\);",
        ),
        ("ttft <= 1 of chat", r"^limits\[0\]: 'chat' is not a traffic scenario"),
    ):
        with pytest.raises(TaskError, match=message):
            make_task(workload=workload, limits=[text])
    objective = {
        "direction": "maximize",
        "figure": "output_tokens_per_s",
        "at": {"concurrency": 1, "scenario": "D(16,8)"},
    }
    with pytest.raises(TaskError, match=r"^limits\[1\]: .* objective.at reads D\(16,8\) at concurrency 1 only"):
        make_task(workload=workload, limits=limits, objective=objective)


def test_limits_are_read_with_their_figures_full_names(make_task: MakeTask) -> None:
    assert make_task(limits=["ttft_p99 < 0.5", "requests_per_s >= 2"]).goal.limits == (
        Limit("ttft_p99_s", "<=", 0.5),
        Limit("requests_per_s", ">=", 2.0),
    )


def _workload(**changes: Any) -> dict[str, Any]:
    return {"scenarios": ["D(16,8)", "D(32,8)"], "concurrency": [1, 4], **changes}


def test_an_objective_may_be_read_at_a_named_level(make_task: MakeTask) -> None:
    def goal(at: Any) -> Level | None:
        return make_task(
            workload=_workload(), objective={"direction": "minimize", "figure": "ttft", "at": at}
        ).goal.level

    assert goal({"concurrency": 4, "scenario": "D(32,8)"}) == Level("D(32,8)", 4)
    with pytest.raises(TaskError, match=r"^objective\.at: matches several levels, add the scenario; .*D\(16,8\)"):
        goal(4)
    with pytest.raises(TaskError, match=r"^objective\.at: does not match any level"):
        goal({"concurrency": 3, "scenario": "D(16,8)"})


def test_num_trials_is_the_budget_or_the_grid_with_the_baseline_or_twenty(make_task: MakeTask) -> None:
    grid = {"parameters": {"threads": [1, 2], "parallel": [1, 2, 4]}, "rules": ["threads <= parallel"]}
    assert make_task(**grid, strategy="grid").num_trials == 6
    assert make_task(**grid, strategy="grid", budget={"baseline": False}).num_trials == 5
    assert make_task(**grid, strategy="grid", budget={"trials": 3}).num_trials == 3
    assert make_task(parameters={"x": {"low": 0, "high": 10**9}}).num_trials == 20
    assert make_task(parameters={"x": {"low": 0, "high": 10**9}}, strategy="grid").num_trials is None


def test_a_task_cannot_be_changed_in_place(make_task: MakeTask) -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_task().name = "other"
    with pytest.raises(ValueError, match="frozen"):
        Int(low=1, high=2).low = 0  # type: ignore[misc]


def test_the_json_schema_knows_every_section_and_forbids_others() -> None:
    schema = Task.model_json_schema()
    assert set(schema["properties"]) == set(Task.model_fields)
    assert schema["additionalProperties"] is False
    assert all(part.get("additionalProperties") is False for part in schema["$defs"].values())


@pytest.mark.parametrize(
    ("sampler", "trials", "baseline", "expected"),
    [
        ("grid", None, True, 5),
        ("grid", 3, True, 3),
        ("grid", 99, False, 4),
        ("tpe", 99, True, 5),
        ("tpe", None, False, 4),
    ],
)
def test_no_more_trials_are_announced_than_the_space_has(
    task_data: dict[str, Any], sampler: str, trials: int | None, baseline: bool, expected: int
) -> None:
    task_data["parameters"] = {"threads": [1, 2], "parallel": [1, 2]}
    task_data |= {"strategy": sampler, "budget": {"trials": trials, "baseline": baseline}}
    assert Task.parse(task_data).num_trials == expected
