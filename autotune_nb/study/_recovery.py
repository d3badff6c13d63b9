"""Trials that a process left unfinished when it ended: they are completed, given up or resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from optuna.trial import TrialState as OptunaState

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.study._stored_trial import RECORD
from autotune_nb.study._trial_json import record_fields
from autotune_nb.study._trial_store import TrialStore
from autotune_nb.trial.trial import Trial, TrialState

#: A configuration is not retried after this many processes ended while it was running.
MAX_ATTEMPTS = 3


def unstored(number: int) -> str:
    """Return the name of the file that keeps a trial which could not be stored."""
    return f"unstored-trial-{number:04d}.json"


def recover(
    store: TrialStore,
    trials: MutableMapping[int, Trial],
    *,
    kept: Callable[[int], Mapping[str, Any] | None],
    may_resume: Callable[[Trial], bool],
    started: Callable[[Trial], Trial],
    tell: Callable[[Trial], Trial],
) -> list[str]:
    """Complete or resume the unfinished trials that no process works on, and return a line for each.

    ``kept`` returns the record of a trial that could not be stored; ``started`` and ``tell`` are the study's.
    """
    lines = []
    for frozen in store.unfinished():
        if frozen.state is OptunaState.WAITING:
            started(store.start_waiting())
            continue
        trial = trials[frozen.number]
        if trial.state is TrialState.RUNNING:
            # Of a worker that is alive.
            continue
        if (record := kept(trial.number)) is not None:
            tell(trial.with_(**record_fields(record, store.fingerprints)))
            lines.append(f"trial {trial.number} had ended and is stored")
        elif RECORD in frozen.user_attrs:
            store.finish(trial)
            lines.append(f"trial {trial.number} had ended and is stored")
        elif not trial.baseline and not store.has_parameters(frozen):
            store.fail(trial)
            failure = Failure(FailureKind.INTERRUPTED, "ask", "the process ended before it set parameters")
            trials[trial.number] = trial.with_(state=TrialState.STOPPED, failure=failure)
        elif trial.attempts >= MAX_ATTEMPTS:
            message = f"the process ended {trial.attempts} times while this configuration was tried"
            failure = Failure(FailureKind.INTERRUPTED, "benchmark", message)
            tell(trial.with_(state=TrialState.FAILED, failure=failure))
            lines.append(f"trial {trial.number} is not retried: {message}")
        elif may_resume(trial):
            lines.append(f"trial {trial.number} was interrupted and is retried")
        else:
            lines.append(f"trial {trial.number} was interrupted and waits: an edit excludes it")
    return lines
