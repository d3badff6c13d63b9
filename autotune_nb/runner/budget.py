"""The end of a run: which part of the budget is spent, and trials that keep failing for the same reason."""

from __future__ import annotations

import contextlib
import itertools
import re
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.runner.cost_budget import spent_cost
from autotune_nb.trial.configuration import best_trial, pareto_front
from autotune_nb.trial.formatting import duration_text
from autotune_nb.trial.trial import Trial

if TYPE_CHECKING:
    from autotune_nb.runner.proposals import Proposals
    from autotune_nb.search import Promise
    from autotune_nb.study import Study

#: The default of ``budget.max_failures``, which applies until a trial with parameters has completed.
DEFAULT_MAX_FAILURES = 5
#: With ``patience: auto``, the gain, as a share of the best value, for which a trial that takes as long as all trials
#: before it is still worth its time.
_WORTH = 0.2
#: And after how many trials without a better one: the models may be wrong, and a new best shows that they were.
_SETTLED = 10
#: How many of the last trials predict the duration of the next one.
_LAST = 10
#: The variable parts of a failure's message: numbers, ids and addresses.
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8,}|\d+(\.\d+)*")


class BudgetCheck:
    """Decides before each trial of a run whether another one starts."""

    def __init__(self, study: Study, proposals: Proposals | None) -> None:
        self._study, self._proposals = study, proposals
        self._previously_ended = num_searched(study.ended)
        self._promise: Promise | None = None

    @property
    def notes(self) -> Sequence[str]:
        """What to report before the first trial."""
        return self._proposals.notes if self._proposals is not None else ()

    def predict(self, *, running: int, elapsed_s: float) -> Promise | None:
        """Return what another trial may bring as of now; ``spent`` uses it from now on.

        None if that is unknown, or if the budget is spent whatever it is: fitting the models takes long.
        """
        study, before = self._study, self._previously_ended
        if self._proposals is None or _certainly_spent(study, before, running, elapsed_s) is not None:
            return None
        self._promise = self._proposals.promise(study.space, study.trials)
        return self._promise

    def spent(self, *, running: int = 0, elapsed_s: float) -> str | None:
        """Return in words why no further trial starts; None if the budget allows another one."""
        return spent_budget(
            self._study,
            previously_ended=self._previously_ended,
            running=running,
            elapsed_s=elapsed_s,
            promise=self._promise,
        )

    @property
    def fails_repeatedly(self) -> bool:
        """Whether the run ends because its trials keep failing in the same way."""
        ended, allowed = _of_search(self._study.ended), self._study.steering.budget.max_failures
        return _repeated_failure(ended[self._previously_ended :], allowed) is not None

    def end(self, elapsed_s: float) -> str:
        """Return in words why the run ends and what a warm start has saved, and store it in the study."""
        reason = self.end_reason(elapsed_s)
        if self._proposals is not None and (saved := self._proposals.saved(self._study.space, self._study.trials)):
            reason = f"{reason}; {saved}"
        # What is missing is a line of the report.
        with contextlib.suppress(StudyError):
            self._study.save_end_reason(reason)
        return reason

    def end_reason(self, elapsed_s: float) -> str:
        """Return in words why the search has ended."""
        spent, study = self.spent(elapsed_s=elapsed_s), self._study
        waiting = len(study.steering.pending(study.trial_numbers_by_edit))
        if spent is None or not waiting:
            return spent or "every configuration was tried"
        untried = "configurations were" if waiting > 1 else "configuration was"
        return f"{spent}; {waiting} enqueued {untried} not tried: raise the budget, with set_budget or --trials"


def spent_budget(
    study: Study,
    *,
    previously_ended: int,
    running: int = 0,
    elapsed_s: float = 0.0,
    promise: Promise | None = None,
) -> str | None:
    """Return in words why no further trial starts; None if the budget allows another one.

    It is that of the search: the confirmation has a budget of its own, and the minutes it needs are kept for it.
    ``previously_ended`` is the number of trials that previous runs ended. Their failures do not count, so that a study
    can be resumed once their cause is removed. ``promise`` is what the strategy expects of another trial.
    """
    budget, ended = study.steering.budget, _of_search(study.ended)
    certain = _certainly_spent(study, previously_ended, running, elapsed_s)
    if certain is not None:
        return certain
    if budget.minutes is not None and (needed_s := predicted_seconds(ended, promise)) is not None:
        left_s = budget.minutes * 60 - elapsed_s
        if needed_s > left_s:
            left, needed = duration_text(left_s), duration_text(needed_s)
            return (
                f"{left} of the budget of {budget.minutes:g} minutes are left, and another trial takes about {needed}"
            )
    if budget.patience == "auto" and promise is not None:
        return _not_worth_it(study, promise)
    return None


def _certainly_spent(study: Study, previously_ended: int, running: int, elapsed_s: float) -> str | None:
    """Return in words why no further trial starts, whatever it may bring; None if that decides."""
    budget, allowed, ended = study.steering.budget, study.steering.max_trials, _of_search(study.ended)
    failing = _repeated_failure(ended[previously_ended:], budget.max_failures)
    if failing is not None:
        return failing
    if allowed is not None and len(ended) + running >= allowed:
        return f"the budget of {allowed} trial{'s' * (allowed != 1)} is spent"
    if budget.minutes is not None and elapsed_s >= budget.minutes * 60:
        return f"the budget of {budget.minutes:g} minutes is spent"
    if budget.minutes is not None and elapsed_s >= budget.minutes * 60 - _confirmation_s(study, budget.minutes * 60):
        return f"the rest of the budget of {budget.minutes:g} minutes is for the confirmation"
    if (cost := spent_cost(study, running=running)) is not None:
        return cost
    if isinstance(budget.patience, int):
        return _impatience(study, previously_ended, budget.patience)
    return None


def predicted_seconds(ended: Sequence[Trial], promise: Promise | None) -> float | None:
    """Return how long another trial will probably take: as the strategy predicts, or as the last ones did."""
    if promise is not None:
        return promise.seconds
    # The budget leaves the waits out, too.
    last = [trial.work_s for trial in ended[-_LAST:]]
    return sum(last) / len(last) if last else None


def _not_worth_it(study: Study, promise: Promise) -> str | None:
    """Return in words that another trial gains too little for its share of the study's time; None if it does not."""
    ended, since = _of_search(study.ended), _num_since_better(study)
    if since is None or since < _SETTLED:
        return None
    spent_s = sum(trial.work_s for trial in ended)
    if promise.gain * spent_s >= _WORTH * promise.seconds:
        return None
    return (
        f"another trial of about {duration_text(promise.seconds)} is expected to gain {promise.gain:.2%}, which is not "
        f"worth its time after {duration_text(spent_s)} of trials (budget.patience: auto)"
    )


def num_searched(trials: Iterable[Trial]) -> int:
    """Return the number of trials that count against the budget: all but those of the confirmation."""
    return len(_of_search(trials))


def _of_search(trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.confirmation is None]


def _confirmation_s(study: Study, budget_s: float) -> float:
    """Return how long the confirmation will probably take at most; at most half of the budget."""
    complete = [t.work_s for t in study.ended if t.state.scored]
    if study.task.confirmation is None or not complete:
        return 0.0
    return min(study.task.confirmation.budget * statistics.fmean(complete), budget_s / 2)


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


def _num_since_better(study: Study) -> int | None:
    """Return how many trials ended after the best one, of several objectives after the last one on the Pareto front.

    None if no trial keeps every limit. Several at a time do not end in the order of their numbers.
    """
    goal, ended = study.task.goal, _of_search(study.ended)
    best = best_trial(ended, goal)
    found = [one.trial for one in pareto_front(ended, goal)] if goal.others else [best] if best else []
    numbers = {trial.number for trial in found}
    return next((since for since, trial in enumerate(reversed(ended)) if trial.number in numbers), None)


def _impatience(study: Study, previously_ended: int, patience: int) -> str | None:
    ended, since = _of_search(study.ended), _num_since_better(study)
    if since is not None:
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
