"""The task: defaults, short forms, what its parts mean together."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb.errors import TaskError
from autotune_nb.measurement import Level
from autotune_nb.parameters import Choice, Int
from autotune_nb.score import Limit
from autotune_nb.task import Task

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


@pytest.mark.parametrize("kind", ["llama_cpp", "llama.cpp", "llama-cpp", "LLAMA_CPP"])
def test_an_engines_name_may_be_written_in_its_usual_ways(make_task: MakeTask, kind: str) -> None:
    assert make_task(engine=kind).engine.kind == "llama_cpp"


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("TPE", "tpe"), ("TPESampler", "tpe"), ("bayesian", "tpe"), ("grid_search", "grid"), ("NSGAIISampler", "nsgaii")],
)
def test_a_sampler_may_be_named_as_optuna_or_the_prototype_does(make_task: MakeTask, name: str, sampler: str) -> None:
    assert make_task(strategy=name).strategy.sampler == sampler


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


def test_limits_are_read_with_their_figures_full_names(make_task: MakeTask) -> None:
    assert make_task(limits=["ttft_p99 < 0.5", "requests_per_s >= 2"]).goal.limits == (
        Limit("ttft_p99_s", "<=", 0.5),
        Limit("requests_per_s", ">=", 2.0),
    )


def _workload(**changes: Any) -> dict[str, Any]:
    return {"scenarios": ["D(16,8)", "D(32,8)"], "concurrency": [1, 4], **changes}


def test_levels_are_scenarios_times_loads_in_the_order_they_run(make_task: MakeTask) -> None:
    assert make_task(workload=_workload()).workload.levels == (
        Level("D(16,8)", 1),
        Level("D(16,8)", 4),
        Level("D(32,8)", 1),
        Level("D(32,8)", 4),
    )
    embeddings = make_task(
        workload={"task": "text-to-embeddings", "scenarios": ["E(64)"], "batch_sizes": [1, 8]},
        objective="minimize_latency",
    )
    assert embeddings.workload.levels == (Level("E(64)", 1, 1), Level("E(64)", 1, 8))
    assert not embeddings.workload.generates_text


def test_an_objective_may_be_read_at_a_named_level(make_task: MakeTask) -> None:
    def goal(at: Any) -> Level | None:
        return make_task(
            workload=_workload(), objective={"direction": "minimize", "figure": "ttft", "at": at}
        ).goal.level

    assert goal({"concurrency": 4, "scenario": "D(32,8)"}) == Level("D(32,8)", 4)
    with pytest.raises(TaskError, match=r"^objective\.at: names several levels, add the scenario .*D\(16,8\)"):
        goal(4)
    with pytest.raises(TaskError, match=r"^objective\.at: names no level"):
        goal({"concurrency": 3, "scenario": "D(16,8)"})


def test_num_trials_is_the_budget_or_the_grid_with_the_baseline_or_twenty(make_task: MakeTask) -> None:
    grid = {"parameters": {"threads": [1, 2], "parallel": [1, 2, 4]}, "rules": ["threads <= parallel"]}
    assert make_task(**grid, strategy="grid").num_trials == 6
    assert make_task(**grid, strategy="grid", budget={"baseline": False}).num_trials == 5
    assert make_task(**grid, strategy="grid", budget={"trials": 3}).num_trials == 3
    assert make_task(parameters={"x": {"low": 0, "high": 10**9}}).num_trials == 20
    assert make_task(parameters={"x": {"low": 0, "high": 10**9}}, strategy="grid").num_trials is None


@pytest.mark.parametrize(
    ("written", "own"),
    [
        ("D( 16, 8 )", "D(16,8)"),
        ("D(016,8)", "D(16,8)"),
        ("N(480,240)/(300,0)", "N(480,240)/(300,0)"),
        ("U(0,100)/(0,20)", "U(1,100)/(1,20)"),
        ("U(10,100)/(5,20)", "U(10,100)/(5,20)"),
        ("U(100,20)", "U(100,20)"),
        ("I(512,512,1)", "I(512,512)"),
        ("I(512,512,2)", "I(512,512,2)"),
        ("E(64)", "E(64)"),
        ("R(64,8)", "R(64,8)"),
        ("A(20)", "A(20)"),
        ("dataset", "dataset"),
    ],
)
def test_a_scenario_is_kept_in_genai_benchs_own_words(make_task: MakeTask, written: str, own: str) -> None:
    assert make_task(workload=_workload(scenarios=[written])).workload.scenarios == [own]


@pytest.mark.skipif(importlib.util.find_spec("genai_bench") is None, reason="needs genai-bench")
def test_genai_bench_writes_every_scenario_as_the_task_keeps_it() -> None:
    kept = ["D(16,8)", "N(480,240)/(300,0)", "U(1,100)/(1,20)", "U(100,20)", "E(64)", "R(64,8)", "I(512,512)", "A(20)"]
    # In a process of its own: importing genai_bench patches gevent into the whole process.
    code = (
        "import json, sys\nfrom genai_bench.scenarios.base import Scenario\n"
        "import genai_bench.scenarios.text, genai_bench.scenarios.multimodal\n"
        "print(json.dumps([Scenario.from_string(s).to_string() for s in json.loads(sys.argv[1])]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, json.dumps(kept)], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(told.stdout.splitlines()[-1]) == kept


@pytest.mark.parametrize(
    "text", ["D(5)", "D(1,2,3)", "D(1;2)", "X(1,2)", "D(1,2)/(3,4)", "D(-1,2)", "D(\u0661,2)", "", "Dataset"]
)
def test_a_scenario_genai_bench_would_refuse_is_refused(make_task: MakeTask, text: str) -> None:
    with pytest.raises(TaskError, match=r"^workload\.scenarios: .* is no traffic scenario"):
        make_task(workload=_workload(scenarios=[text]))


def test_random_weights_need_heads_that_divide(make_task: MakeTask) -> None:
    weights = {"random_weights": {"hidden_size": 256, "kv_heads": 2}}
    assert make_task(model=weights).model.random_weights.kv_heads == 2  # type: ignore[union-attr]
    with pytest.raises(TaskError, match=r"^model\.random_weights: 4 attention heads .* no multiple of kv_heads 3"):
        make_task(model={"random_weights": {"hidden_size": 256, "kv_heads": 3}})


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


def test_a_task_kind_that_genai_bench_does_not_have_is_refused(task_data: dict[str, Any]) -> None:
    task_data["workload"]["task"] = "text-to-txt"
    with pytest.raises(
        TaskError, match=r"workload\.task: unknown task kind 'text-to-txt'; did you mean 'text-to-text'"
    ):
        Task.parse(task_data)


def test_a_placeholder_nobody_fills_is_refused(task_data: dict[str, Any]) -> None:
    task_data["engine"] = {"kind": "command", "command": "server --port {port} --host {hosst}"}
    with pytest.raises(TaskError, match=r"engine: command has \{hosst\}"):
        Task.parse(task_data)
    task_data["engine"] = {"kind": "command", "command": ["server", "{port}", '{"json": 1}']}
    Task.parse(task_data)


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
