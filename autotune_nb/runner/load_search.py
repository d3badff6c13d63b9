"""The search for the highest load of one trial, as its task wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import best_configuration
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    from autotune_nb.search.load_search import LoadBisection


def bisection(task: Task, trials: Sequence[Trial]) -> LoadBisection | None:
    """Return the search of a task's next trial; None if its loads are given.

    It begins at half of the best load so far, so that most trials take two levels less. A replay has only the loads
    of its table: it doubles the load and repeats none.
    """
    wanted = task.workload.load_search
    if wanted.high is None:
        return None
    # The models of search need numpy, which takes long to import.
    from autotune_nb.search.load_search import LoadBisection

    best = best_configuration(trials, task.goal)
    return LoadBisection(
        wanted.low,
        wanted.high,
        wanted.step,
        task.goal.limits,
        wanted.most_runs,
        start=wanted.low if best is None else round(best.value / 2),
        recorded=wanted.ladder if task.deploy.kind == "replay" else (),
    )
