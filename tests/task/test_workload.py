"""The workload: scenarios in genai-bench's spelling, and the order of levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from autotune_nb.errors import TaskError
from autotune_nb.task.scenario import RequestSize, canonical_scenario
from autotune_nb.task.task import Task
from autotune_nb.task.workload import Workload
from autotune_nb.trial.measurement import Level

MakeTask = Callable[..., Task]


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
        ("prefix( 0256 ) + D(064, 32)", "prefix(256)+D(64,32)"),
        ("mix(D(8,8), 3 * N(480,240)/(300,150),1.05*dataset)", "mix(1*D(8,8),3*N(480,240)/(300,150),1.05*dataset)"),
        ({"prefix": 256, "scenario": "D(64,32)"}, "prefix(256)+D(64,32)"),
        (
            {"mix": [{"scenario": "D(8,8)", "weight": 3}, "D(9,9)", {"scenario": {"prefix": 4, "scenario": "D(1,1)"}}]},
            "mix(3*D(8,8),1*D(9,9),1*prefix(4)+D(1,1))",
        ),
    ],
)
def test_a_scenario_is_kept_in_genai_benchs_own_words(make_task: MakeTask, written: Any, own: str) -> None:
    assert make_task(workload=_workload(scenarios=[written])).workload.scenarios == [own]


@pytest.mark.parametrize(
    "text", ["D(5)", "D(1,2,3)", "D(1;2)", "X(1,2)", "D(1,2)/(3,4)", "D(-1,2)", "D(\u0661,2)", "", "Dataset"]
)
def test_a_scenario_genai_bench_would_refuse_is_refused(make_task: MakeTask, text: str) -> None:
    with pytest.raises(TaskError, match=r"^workload\.scenarios: .* is not a traffic scenario"):
        make_task(workload=_workload(scenarios=[text]))


@pytest.mark.parametrize(
    ("scenario", "problem"),
    [
        ("mix(D(1,1))", "a mix has two or more different scenarios"),
        ("mix(D(1,1),2*D(1,1))", "a mix has two or more different scenarios"),
        ("mix(0*D(1,1),D(1,2))", "has weight 0 in a mix"),
        ("mix(-1*D(1,1),D(1,2))", "is not a traffic scenario"),
        ("mix(mix(D(1,1),D(2,2)),D(3,3))", "is a mix within a mix"),
        ("mix(D(1,1),D(2,2)", "is not a traffic scenario"),
        (f"mix({','.join(f'D({i},8)' for i in range(1, 40))})", "characters; at most 180 fit into a file's name"),
        ("mix(D(0,1),D(1,2))", "asks for nothing"),
        ({"mix": []}, "a scenario is a text such as"),
        ({"mix": [{"weight": 3}]}, "each part of a mix is"),
        ({"prefixes": 3}, "a scenario is a text such as"),
        ("prefix(0)+D(1,1)", "has 0 tokens"),
        ("prefix(8)+dataset", "a prefix is for D, N and U"),
        ("prefix(8)", "is not a traffic scenario"),
        ("prefix(8)+D(8,0)", "asks for nothing"),
    ],
)
def test_a_mix_or_a_prefix_that_cannot_be_sent_is_refused(make_task: MakeTask, scenario: Any, problem: str) -> None:
    with pytest.raises(TaskError, match=problem):
        make_task(workload=_workload(scenarios=[scenario]))


def test_a_prefix_or_a_mix_is_only_for_text(make_task: MakeTask) -> None:
    with pytest.raises(TaskError, match="is for text-to-text, and the task is text-to-embeddings"):
        make_task(workload={"task": "text-to-embeddings", "scenarios": ["prefix(8)+D(8,8)"]})


def test_a_task_kind_that_genai_bench_does_not_have_is_refused(task_data: dict[str, Any]) -> None:
    task_data["workload"]["task"] = "text-to-txt"
    with pytest.raises(
        TaskError, match=r"workload\.task: unknown task kind 'text-to-txt'; did you mean 'text-to-text'"
    ):
        Task.parse(task_data)


@pytest.mark.parametrize(
    ("scenario", "problem"),
    [
        ("D(0,0)", "the scenario D(0,0) asks for nothing: each of its numbers must be 1 or more"),
        ("D(0,8)", "asks for nothing"),
        ("D(16,0)", "asks for nothing"),
        ("E(0)", "asks for nothing"),
        ("R(8,0)", "asks for nothing"),
        ("N(0,1)/(8,1)", "asks for nothing"),
        ("U(10,5)/(8,9)", "has a minimum above its maximum"),
        ("D(100000000,8)", "has a number above 10,000,000"),
    ],
)
def test_a_scenario_whose_requests_cannot_be_sent_is_refused(scenario: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Workload(scenarios=[scenario])
    assert problem in str(caught.value)


@pytest.mark.parametrize("scenario", ["D(16,1)", "N(8,0)/(8,0)", "U(0,8)/(0,8)", "U(8,8)", "dataset"])
def test_a_scenario_at_the_limits_is_accepted(scenario: str) -> None:
    Workload(scenarios=[scenario])


def test_a_load_that_no_machine_sends_is_refused() -> None:
    for loads in ({"concurrency": [10**9]}, {"batch_sizes": [10**9]}):
        with pytest.raises(ValidationError, match="less than or equal to 100000"):
            Workload(scenarios=["D(8,8)"], **loads)


@pytest.mark.parametrize(
    ("scenario", "size"),
    [
        ("D(100,64)", RequestSize(100, 64)),
        ("N(480,240)/(300,150)", RequestSize(480, 300, 150)),
        ("U(50,100)/(8,20)", RequestSize(75, 14, 12 / math.sqrt(12))),
        ("U(99,19)", RequestSize(50, 10, 18 / math.sqrt(12))),
        ("prefix(256)+N(480,240)/(300,150)", RequestSize(736, 300, 150)),
        ("mix(3*D(100,40),1*D(200,80))", RequestSize(125, 50, math.sqrt(300))),
        ("mix(1*D(100,40),1*N(300,10)/(40,30))", RequestSize(200, 40, math.sqrt(450))),
        ("mix(1*D(100,40),1*dataset)", None),
        ("dataset", None),
        ("I(512,512)", None),
    ],
)
def test_the_tokens_that_a_scenario_requests(scenario: str, size: RequestSize | None) -> None:
    assert Workload(scenarios=[scenario]).request_size(canonical_scenario(scenario)) == size


def test_the_tokens_of_the_request_params_replace_those_of_the_scenario() -> None:
    workload = Workload(scenarios=["N(480,240)/(300,150)"], request_params={"max_tokens": 16})
    assert workload.request_size(workload.scenarios[0]) == RequestSize(480, 16)


def test_no_output_tokens_are_requested_of_an_embedding_model() -> None:
    assert Workload(task="text-to-embeddings", scenarios=["E(64)"]).request_size("E(64)") is None


@pytest.mark.parametrize("given", [{"ttft_s": 0.5, "tpot_s": 0.05}, "ttft:500 tpot:50", "ttft:500, tpot:50"])
def test_the_bounds_of_the_goodput_are_also_read_as_for_vllm(given: Any) -> None:
    assert Workload(scenarios=["D(1,1)"], goodput=given).goodput == {"ttft_s": 0.5, "tpot_s": 0.05}


@pytest.mark.parametrize("given", ["ttft 500", "itl:50", {"ttft_s": 0}, {"ttft_s": -1.0}])
def test_other_bounds_of_the_goodput_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        Workload(scenarios=["D(1,1)"], goodput=given)


def test_an_objective_on_goodput_needs_its_bounds(make_task: Any) -> None:
    with pytest.raises(TaskError, match=r"^objective: goodput_requests_per_s needs bounds of a request, such as workl"):
        make_task(objective="maximize goodput_requests_per_s")
    with pytest.raises(TaskError, match=r"^limits\[0\]: goodput_share needs bounds"):
        make_task(limits=["goodput_share >= 0.9"])
    with pytest.raises(TaskError, match=r"^workload.goodput: unknown time of a request 'ttft'; did you mean 'ttft_s'"):
        make_task(workload={"scenarios": ["D(1,1)"], "goodput": {"ttft": 1}})
