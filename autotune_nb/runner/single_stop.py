"""Stopping one trial while the run continues, and the notice of what is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from autotune_nb.errors import Failure, FailureKind, TaskError
from autotune_nb.trial.trial import Trial, TrialState

_STOPPED = "stopped alone"


def trial_task_name(number: int) -> str:
    """Return the name of the task that executes a trial."""
    return f"trial-{number}"


def require_running(trials: Iterable[Trial], number: int) -> None:
    """Raise TaskError if a trial is not running."""
    running = [trial.number for trial in trials if trial.state is TrialState.RUNNING]
    if number not in running:
        known = f"running: {', '.join(map(str, running))}" if running else "no trial is running"
        raise TaskError(f"trial {number!r} is not running; {known}", field="trial")


def stop_one(tasks: Iterable[asyncio.Task[None]], number: int) -> bool:
    """Cancel the task of a trial, and return whether it is among these."""
    own = [task for task in tasks if task.get_name() == trial_task_name(number)]
    for task in own:
        task.set_name(_STOPPED)
        task.cancel()
    return bool(own)


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
