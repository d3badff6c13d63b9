"""The part of a budget in GPU-hours and in US dollars: whether another trial would exceed it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from autotune_nb.errors import SetupError
from autotune_nb.runner.trial_figures import gpus_held
from autotune_nb.trial.cost import cost_of, usd_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from autotune_nb.study import Study
    from autotune_nb.task.task import Task

#: How many of the last trials predict the cost of the next one.
_LAST = 10


def require_spendable(task: Task, fingerprint: Mapping[str, Any]) -> None:
    """Raise SetupError for a bound on GPU-hours or dollars that trials without GPUs never reach."""
    budget = task.budget
    if (budget.gpu_hours is None and budget.usd is None) or gpus_held(task, {}, fingerprint) != 0:
        return
    never = "so that it would never end the study"
    if budget.gpu_hours is not None:
        raise SetupError(f"trials hold no GPU here, {never}; use budget.minutes", field="budget.gpu_hours")
    if not task.price.per_hour(0):
        raise SetupError(
            f"trials hold no GPU here, and price.usd_per_hour is not set, {never}; set it, or use budget.minutes",
            field="budget.usd",
        )


def spent_cost(study: Study, *, running: int = 0) -> str | None:
    """Return in words why no further trial of the search starts; None if GPU-hours and dollars suffice for another.

    A trial is expected to cost as much as the last ones, and so is each of the ``running``. What the confirmation will
    probably cost is kept for it, but at most half of the budget.
    """
    found = (_Bound.of(study, name) for name in ("gpu_hours", "usd"))
    return next((reason for one in found if one is not None and (reason := one.reason(study, running))), None)


def is_cost_spent(study: Study) -> bool:
    """Return whether the GPU-hours or the dollars are spent, also those that were kept for the confirmation."""
    found = (_Bound.of(study, name) for name in ("gpu_hours", "usd"))
    return any(one.used >= one.allowed for one in found if one is not None)


class _Bound:
    """A bound of the budget, what all trials used of it, and what each of the ended ones did."""

    def __init__(self, name: str, allowed: float, used: float, each: list[float]) -> None:
        self.name, self.allowed, self.used, self.each = name, allowed, used, each

    @classmethod
    def of(cls, study: Study, name: str) -> _Bound | None:
        allowed, price = getattr(study.steering.budget, name), study.task.price
        if allowed is None:
            return None

        def amount(*trials: object) -> float:
            return getattr(cost_of(trials, price), name) or 0.0  # type: ignore[arg-type]

        return cls(name, allowed, amount(*study.trials), [amount(trial) for trial in study.ended])

    def text(self, amount: float) -> str:
        return usd_text(amount) if self.name == "usd" else f"{amount:.3g} GPU-hours"

    def reason(self, study: Study, running: int) -> str | None:
        budget = f"the budget of {self.text(self.allowed)}"
        if self.used >= self.allowed:
            return f"{budget} is spent"
        if not self.each:
            return None
        each, rules = statistics.fmean(self.each[-_LAST:]), study.task.confirmation
        confirmed = sum(1 for trial in study.ended if trial.confirmation is not None)
        starts = 0 if rules is None else max(0, rules.budget - confirmed)
        kept = min(starts * each, self.allowed / 2)
        left = self.allowed - self.used - running * each
        if each <= left - kept:
            return None
        if kept and each <= left:
            return f"the rest of {budget} is for the confirmation"
        return f"{self.text(max(left, 0.0))} of {budget} are left, and another trial takes about {self.text(each)}"
