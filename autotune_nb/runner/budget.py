"""The end of a run: which part of the budget is spent, and trials that keep failing for the same reason."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    from autotune_nb.study import Study

#: The default of ``budget.max_failures``, which applies until a trial with parameters has completed.
DEFAULT_MAX_FAILURES = 5
#: The variable parts of a failure's message: numbers, ids and addresses.
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8,}|\d+(\.\d+)*")


def spent_budget(study: Study, *, previously_ended: int, running: int = 0, elapsed_s: float = 0.0) -> str | None:
    """Return in words why no further trial starts; None if the budget allows another one.

    ``previously_ended`` is the number of trials that previous runs ended. Their failures do not count, so that a study
    can be resumed once their cause is removed.
    """
    budget, allowed = study.steering.budget, study.steering.max_trials
    ended = study.ended
    failing = _repeated_failure(ended[previously_ended:], budget.max_failures)
    if failing is not None:
        return failing
    if allowed is not None and len(ended) + running >= allowed:
        return f"the budget of {allowed} trial{'s' * (allowed != 1)} is spent"
    if budget.minutes is not None and elapsed_s >= budget.minutes * 60:
        return f"the budget of {budget.minutes:g} minutes is spent"
    if budget.patience is not None:
        return _impatience(study, previously_ended, budget.patience)
    return None


def _repeated_failure(ended: Sequence[Trial], max_failures: int | None) -> str | None:
    """Return a message if the last trials failed in the same way, as many as are allowed."""
    if max_failures is None:
        if any(trial.state.scored and not trial.baseline for trial in ended):
            return None
        max_failures = DEFAULT_MAX_FAILURES
    same = _same_failures(ended)
    if len(same) < max_failures:
        return None
    return f"{_failed_alike(same)}; remove the cause and run it again, or raise budget.max_failures"


def _impatience(study: Study, previously_ended: int, patience: int) -> str | None:
    best, ended = study.best, study.ended
    if best is not None:
        # By the order in which trials ended: several at a time do not end in the order of their numbers.
        since = len(ended) - 1 - [trial.number for trial in ended].index(best.number)
        plural = "s" * (patience != 1)
        return f"{patience} trial{plural} brought no improvement" if since >= patience else None
    in_vain = [t for place, t in enumerate(ended) if place >= previously_ended or t.state.scored]
    if len(in_vain) < patience:
        return None
    same = _same_failures(in_vain)
    if len(same) >= patience:
        return _failed_alike(same)
    infeasible = [trial.score for trial in in_vain if trial.score is not None]
    limits = sorted({name for score in infeasible for name, violation in score.limits.items() if violation > 0})
    if not infeasible:
        return f"none of {len(in_vain)} trials completed; the last one: {in_vain[-1].failure}"
    failed = len(in_vain) - len(infeasible)
    others = f", {failed} of them failed" if failed else ""
    return f"none of {len(in_vain)} trials kept every limit{others}; broken: {', '.join(limits)}"


def _same_failures(ended: Sequence[Trial]) -> list[Trial]:
    """Return the last trials that failed in the same way, oldest first."""
    if not ended or ended[-1].failure is None:
        return []
    way = _way(ended[-1].failure)
    same = itertools.takewhile(lambda t: t.failure is not None and _way(t.failure) == way, reversed(ended))
    return list(same)[::-1]


def _way(failure: Failure) -> tuple[str, str, str]:
    # A load that the engine or the machine does not sustain fails one level or the other, in different words.
    message = "" if failure.kind is FailureKind.MEASUREMENT else _VARIABLE.sub("#", failure.message)
    return failure.kind, failure.phase, message


def _failed_alike(same: Sequence[Trial]) -> str:
    failure = same[-1].failure
    assert failure is not None
    log = f" | {failure.log_lines[0]}" if failure.log_lines else ""
    if len(same) == 1:
        return f"trial {same[0].number} failed: {failure}{log}"
    return f"{len(same)} trials in a row failed in the same way: {failure}{log}"
