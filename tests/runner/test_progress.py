"""Events formatted as lines of text."""

from __future__ import annotations

from typing import Any

from autotune_nb import events
from autotune_nb.runner.progress import ProgressLines
from autotune_nb.study.steering import budget_edit
from autotune_nb.trial.trial import Trial


def test_an_edit_is_told_and_counts_in_the_lines_after_it(make_task: Any) -> None:
    task = make_task()
    said: list[str] = []
    lines = ProgressLines(task.goal, 10, said.append)
    lines(events.TrialStarted(Trial(0, {"threads": 1, "batch_size": 32})))
    lines(events.Steered(budget_edit(task, trials=12), 12))
    lines(events.TrialStarted(Trial(1, {"threads": 2, "batch_size": 32})))
    lines(events.Steered(budget_edit(task, trials=None), None))
    lines(events.TrialStarted(Trial(2, {"threads": 2, "batch_size": 64})))
    assert [line.split("] ", 1)[1] for line in said] == [
        "trial 0 (1 of 10): threads=1 batch_size=32",
        "steered: budget: trials 12",
        "trial 1 (2 of 12): threads=2 batch_size=32",
        "steered: budget: trials no limit",
        "trial 2 (3): threads=2 batch_size=64",
    ]
