"""Stopping one trial while the run continues, and the notice of what is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.trial.trial import Trial, TrialState

_STOPPED = "stopped alone"


def trial_task_name(number: int) -> str:
    """Return the name of the task that executes a trial."""
    return f"trial-{number}"


def stop_one(tasks: Iterable[asyncio.Task[None]], number: int) -> None:
    """Cancel the task of a trial, if it is among these."""
    for task in tasks:
        if task.get_name() == trial_task_name(number):
            task.set_name(_STOPPED)
            task.cancel()


def failed_if_alone(trial: Trial) -> Trial:
    """Return a trial whose task, the current one, was stopped alone as failed: a stopped one would be started again."""
    task = asyncio.current_task()
    if trial.state is not TrialState.STOPPED or task is None or task.get_name() != _STOPPED:
        return trial
    phase = list(trial.seconds)[-1] if trial.seconds else "deploy"
    return trial.with_(state=TrialState.FAILED, failure=Failure(FailureKind.INTERRUPTED, phase, "it was stopped"))


def taking_down_text(numbers: Sequence[int]) -> str:
    """Return that the engines of these trials, at least one, are taken down."""
    if len(numbers) == 1:
        return f"taking down the engine and the benchmark of trial {numbers[0]}"
    return f"taking down the engines and benchmarks of trials {', '.join(map(str, numbers))}"
