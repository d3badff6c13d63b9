"""A study whose configurations the strategy ``auto`` proposes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.errors import Failure, FailureKind, TaskError
from autotune_nb.runner.proposals import Proposals, default_point
from autotune_nb.study import Study
from autotune_nb.task.space import point_key
from autotune_nb.trial.score import Score
from autotune_nb.trial.trial import Trial, TrialState
from tests.stubs import open_study

SPACE: dict[str, Any] = {
    "engine": {"kind": "command", "command": "server {port}"},
    "model": "m",
    "parameters": {"a": [1, 2, 4, 8, 16], "b": [1, 2, 4, 8], "c": ["x", "y"]},
    "rules": ["a <= b * 4"],
    "limits": ["ttft_p99_s <= 0.5"],
    "strategy": "auto",
}


def ended(trial: Trial) -> Trial:
    """The end of a trial, which depends on its parameters only."""
    a, b = int(trial.params.get("a", 1)), int(trial.params.get("b", 1))  # type: ignore[arg-type]
    seconds = {"deploy": 60.0, "benchmark": 10.0 * b}
    if a == 16 and b > 2:
        failure = Failure(FailureKind.OUT_OF_MEMORY, "deploy", "CUDA out of memory")
        return trial.with_(state=TrialState.FAILED, failure=failure, seconds=seconds)
    score = Score({"output_tokens_per_s": 10.0 * a + b}, {"ttft_p99_s <= 0.5": 0.05 * a - 0.5})
    return trial.with_(state=TrialState.COMPLETE, score=score, seconds=seconds)


def work(study: Study, count: int) -> list[str]:
    found = []
    for _ in range(count):
        trial = study.ask()
        assert trial is not None
        found.append(point_key(study.tell(ended(trial)).params))
    return found


def test_a_resumed_study_goes_on_as_an_uninterrupted_one(make_task: Any, tmp_path: Path) -> None:
    task = make_task(**SPACE)
    whole = work(open_study(task, tmp_path / "whole"), 14)
    parts = [key for part in (1, 5, 6, 2) for key in work(open_study(task, tmp_path / "parts"), part)]
    assert parts == whole
    assert len(set(whole)) == 14


def test_the_reason_of_each_choice_is_kept(make_task: Any, tmp_path: Path) -> None:
    task = make_task(**SPACE)
    work(open_study(task, tmp_path), 9)
    trials = open_study(task, tmp_path).trials
    assert trials[0].baseline
    assert trials[0].reason == ""
    assert trials[1].reason.startswith("the start")
    assert "predicted" in trials[8].reason
    assert trials[8].to_dict()["reason"] == trials[8].reason


def test_running_trials_are_not_proposed_and_a_stopped_one_may_be(make_task: Any, tmp_path: Path) -> None:
    task = make_task(**{**SPACE, "parameters": {"a": [1, 2]}, "rules": [], "budget": {"baseline": False}})
    study = open_study(task, tmp_path)
    first, second = study.ask(), study.ask()
    assert first is not None and second is not None
    assert first.params != second.params
    assert study.ask() is None
    study.tell(first.with_(state=TrialState.STOPPED))
    third = study.ask()
    assert third is not None
    assert third.params == first.params


def test_options_of_other_samplers_are_refused(make_task: Any, tmp_path: Path) -> None:
    task = make_task(**{**SPACE, "strategy": {"sampler": "auto", "options": {"multivariate": True}}})
    with pytest.raises(TaskError, match="auto has no options; multivariate given"):
        open_study(task, tmp_path)
    # A grid needs none.
    assert Proposals.of(make_task(**{**SPACE, "strategy": "grid"}), engine_for(task)) is None


def test_the_default_of_an_engine_as_a_point(make_task: Any) -> None:
    def point(**parameters: list[Any]) -> Any:
        task = make_task(engine={"kind": "sglang"}, model="m", parameters=parameters)
        engine = engine_for(task)
        return default_point(space_for(task, engine), engine)

    # Where the flag may be left out, that is the default.
    found = point(chunked_prefill_size=[None, 2048], schedule_policy=["lpm", "fcfs"])
    assert found == {"chunked_prefill_size": None, "schedule_policy": "fcfs"}
    assert point(schedule_policy=["lpm", "random"]) is None


def test_the_strategy_learns_which_parameters_decide_what_is_compiled(make_task: Any) -> None:
    parameters = {"tp": [1, 2], "max_num_seqs": [16, 32], "compilation_config.mode": [0, 3]}
    task = make_task(engine={"kind": "vllm"}, model="m", parameters=parameters, strategy="auto")
    engine = engine_for(task)
    proposals = Proposals(task, engine)
    proposals.next(space_for(task, engine), [], 1)
    assert proposals._problem.compile_parameters == ("tp", "compilation_config.mode")


def test_the_memory_of_the_recorded_gpus_tells_what_cannot_start(make_task: Any, tmp_path: Path) -> None:
    config = {"num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", 130 << 30)
    task = make_task(
        engine={"kind": "vllm"},
        model=str(tmp_path),
        parameters={"tensor_parallel_size": [1, 2, 4, 8], "max_num_seqs": [16, 32, 64]},
        deploy={"gpus": 8},
        rules=[],
        limits=[],
    )
    engine = engine_for(task)
    space = space_for(task, engine)

    def tried(gpus: list[str]) -> set[Any]:
        baseline = Trial(0, {}, TrialState.FAILED, baseline=True, fingerprint={"gpus": gpus})
        found = Proposals(task, engine).next(space, [baseline], 6)
        return {proposal.params["tensor_parallel_size"] for proposal in found}

    assert tried([]) == {1, 2, 4, 8}
    assert tried(["NVIDIA A100-SXM4-40GB, 40960 MiB, 570.86"] * 8) == {4, 8}
