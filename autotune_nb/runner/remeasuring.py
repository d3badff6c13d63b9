"""When the engine's default is measured again: at the end and hourly, so that drift of the machine shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotune_nb.runner.cost_budget import spent_cost
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    from autotune_nb.study import Study

_HOUR_S = 3600.0
#: Unless the task asks for it, a study that is shorter than this, or has fewer trials, is not made longer or narrower.
_MIN_S, _MIN_TRIALS = 300.0, 10


def default_is_due(study: Study, *, running: int, elapsed_s: float, at_end: bool = False) -> bool:
    """Return whether the next trial should be the engine's default again.

    It counts as a trial of the budget: it is the last one, and one each hour. ``at_end`` is True if no other trial
    follows, though the budget of trials may not be spent.
    """
    task, budget = study.task, study.steering.budget
    wanted, allowed = budget.remeasure_default, study.steering.max_trials
    # A confirmation starts the default in each of its rounds.
    if wanted is False or task.deploy.kind == "replay" or (wanted is None and task.confirmation is not None):
        return False
    defaults = [t for t in study.trials if t.baseline and t.state is not TrialState.STOPPED]
    if not any(t.state is TrialState.COMPLETE for t in defaults) or not all(t.state.finished for t in defaults):
        return False
    since = [t for t in study.ended if t.number > defaults[-1].number]
    since_s = _seconds(since) / task.deploy.parallel / max(1, len(study.workers or ()))
    # Without another score there is nothing to compare.
    if not any(t.state.scored for t in since) or (wanted is None and since_s < _MIN_S):
        return False
    left = None if allowed is None else allowed - study.num_finished - running
    left_s = None if budget.minutes is None else budget.minutes * 60 - elapsed_s
    needed_s = _seconds([t for t in defaults if t.state is TrialState.COMPLETE][-1:])
    if spent_cost(study, running=running) is not None:
        return False
    if (left is not None and left < 1) or (left_s is not None and left_s < needed_s):
        return False
    if at_end:
        return True
    if since_s >= _HOUR_S and (left is None or left > 1):
        return True
    # A grid and enqueued configurations are complete only with their last one.
    if wanted is None and (task.strategy.sampler == "grid" or study.steering.pending(study.trial_numbers_by_edit)):
        return False
    if left_s is not None and left_s < 2 * needed_s:
        return True
    return left == 1 and (wanted is True or (allowed or 0) >= _MIN_TRIALS)


def _seconds(trials: Sequence[Trial]) -> float:
    return sum(trial.work_s for trial in trials)
