"""What each rule leaves out, before anything is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotune_nb.engines.registry import engine_for, space_for
from autotune_nb.runner.exclusions import excluded_values, exclusions
from autotune_nb.task.task import Task


def found(make_task: Callable[..., Task], **sections: Any) -> tuple[list[str], dict[str, list[str]]]:
    task = make_task(**sections)
    every = exclusions(space_for(task, engine_for(task)))
    return [str(one) for one in every], excluded_values(every)


def test_combinations_and_values_that_are_never_tried_are_named_with_their_rule(make_task: Callable[..., Task]) -> None:
    lines, values = found(
        make_task,
        parameters={"batch_size": [256, 512], "ubatch_size": [128, 512, 1024], "threads": {"low": 1, "high": 4}},
        rules=["threads <= 2"],
    )
    assert lines == [
        "the task's rule 'threads <= 2' excludes 2 of 4 values of threads",
        "the engine's rule 'ubatch_size <= batch_size' excludes 3 of 6 combinations of batch_size and ubatch_size",
    ]
    assert values == {
        "threads": ["never tried: 3, 4 (the task's rule 'threads <= 2')"],
        "ubatch_size": ["never tried: 1024 (the engine's rule 'ubatch_size <= batch_size')"],
    }


def test_a_rule_that_excludes_nothing_or_has_too_many_combinations_is_left_out(make_task: Callable[..., Task]) -> None:
    large = {"type": "int", "low": 1, "high": 10_000}
    parameters = {
        "threads": [1, 2],
        "batch_size": large,
        "ubatch_size": large,
        "share": {"type": "float", "low": 0, "high": 1, "flag": "--share"},
    }
    assert found(make_task, parameters=parameters, rules=["threads < 3", "share < 0.5"]) == ([], {})
