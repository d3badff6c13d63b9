"""The answers of trials are compared with those of the engine's default, and a configuration that differs loses."""

from __future__ import annotations

import json
from typing import Any

from autotune_nb.results.table import trials_frame
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import TrialState
from tests.runs import Watched, ran
from tests.stubs import World, open_study


def quantized(world: World, *behaviours: str, **changes: Any) -> Task:
    """Return a task that measures the default and both types of the cache; with q4_0 the engine answers wrongly."""
    changes.setdefault("budget", {"baseline": True})
    return world.task(
        *(behaviours or ("answers",)),
        trials=3,
        parameters={"cache_type_k": ["f16", "q4_0"]},
        rules=[],
        strategy="grid",
        quality={"prompts": ["a", "b"], **changes.pop("quality", {})},
        **changes,
    )


def by_value(runner: Watched) -> dict[Any, Any]:
    return {trial.params.get("cache_type_k"): trial for trial in runner.trials}


def test_a_configuration_that_answers_otherwise_breaks_a_limit_in_every_table(world: World) -> None:
    runner = ran(world, quantized(world))
    found = by_value(runner)
    assert found[None].feasible
    assert found["f16"].feasible
    assert found["f16"].answers == ""
    broken = found["q4_0"]
    assert broken.state is TrialState.COMPLETE
    assert not broken.feasible
    assert broken.answers.startswith("answers differ from the default's: 0% of tokens agree, at least 50% expected")
    assert runner.study.best is not None
    assert runner.study.best.number != broken.number
    frame = trials_frame(runner.trials, runner.study.task.goal)
    assert frame["quality_agreement"].tolist() == [1.0, 1.0, 0.0]
    assert frame["quality_agreement >= 0.5"].tolist() == [-0.5, -0.5, 0.5]
    assert frame["notes"].dropna().to_dict() == {broken.number: broken.answers}
    # As stored, and in results.json.
    assert open_study(runner.study.task, world.folder).trials == runner.trials
    assert world.results()["trials"][broken.number]["answers"] == broken.answers
    answers = json.loads((world.folder / "artifacts" / f"trial-000{broken.number}" / "answers.json").read_text())
    assert [one["prompt"] for one in answers] == ["a", "b"]


def test_a_resumed_study_compares_with_the_same_answers(world: World) -> None:
    task = quantized(world, budget={"baseline": True, "trials": 1})
    ran(world, task)
    kept = world.folder / "default-answers.json"
    other = json.loads(kept.read_text().replace("right", "other"))
    kept.write_text(json.dumps(other))
    runner = ran(world, Task.parse({**task.model_dump(), "budget": {"baseline": True, "trials": 3}}))
    assert [trial.answers.startswith("answers differ") for trial in runner.trials] == [False, True, True]


def test_what_is_not_compared_is_said_once(world: World) -> None:
    runner = ran(world, quantized(world, budget={"baseline": False}))
    assert all(trial.feasible for trial in runner.trials)
    reason = "answers not compared: the engine's default is not measured (budget.baseline is false)"
    assert {trial.answers for trial in runner.trials} == {reason}
    assert [text for text in runner.notices if "answers" in text] == [f"trial 0: {reason}"]


def test_a_default_that_failed_leaves_nothing_to_compare_with(world: World) -> None:
    runner = ran(world, quantized(world, "default-fails", "answers"))
    default, *others = runner.trials
    assert default.state is TrialState.FAILED
    assert {trial.answers for trial in others} == {
        "answers not compared: the trial of the engine's default gave no answers"
    }
    assert all(trial.feasible for trial in others)


def test_the_rounds_of_a_confirmation_ask_for_no_answers(world: World) -> None:
    task = quantized(world, budget={"baseline": True}, confirm={"rounds": 2, "budget": 5})
    runner = ran(world, task)
    asked = {
        trial.number: bool(list(world.folder.rglob(f"trial-{trial.number:04d}/answers.json")))
        for trial in runner.trials
    }
    assert asked == {trial.number: not trial.in_round for trial in runner.trials}
    assert any(trial.in_round for trial in runner.trials)
    # What broke the limit is no finalist.
    assert not [trial for trial in runner.trials if trial.in_round and trial.params.get("cache_type_k") == "q4_0"]
