"""Chooses a run's next trial: of the search as long as its budget lasts, then of the confirmation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune_nb import events
from autotune_nb.runner.budget import BudgetCheck, num_searched
from autotune_nb.runner.cost_budget import is_cost_spent
from autotune_nb.runner.remeasuring import default_is_due
from autotune_nb.runner.study_calls import StudyCalls
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    from autotune_nb.study import Study


class NextTrial:
    """Asks the study for the next trial.

    ``elapsed_s`` returns the seconds that count against the budget, ``news`` whether an edit is about to be applied.
    """

    def __init__(
        self,
        study: Study,
        calls: StudyCalls,
        budget: BudgetCheck,
        *,
        elapsed_s: Callable[[], float],
        news: Callable[[], bool],
        publish: Callable[[events.Event], None],
    ) -> None:
        self._study, self._calls, self._budget = study, calls, budget
        self._elapsed_s, self._news, self._publish = elapsed_s, news, publish

    async def exists(self) -> bool:
        """Return whether a further trial is possible."""
        if not self._budget.spent(elapsed_s=self._elapsed_s()) and not await self._calls(lambda: self._study.exhausted):
            return True
        return not self._out_of_budget and await self._calls(lambda: self._study.next_confirmation) is not None

    async def ask(self) -> Trial | None:
        """Return the next trial, stored as running; None if none is next, or not before another one has ended."""
        searching = num_searched(t for t in self._study.trials if t.state is TrialState.RUNNING)
        predict = functools.partial(self._budget.predict, running=searching, elapsed_s=self._elapsed_s())
        if (promise := await self._calls(predict)) is not None:
            self._publish(events.Predicted(promise))
        trial = await self._of_search(searching)
        if trial is not None:
            return trial
        if searching or self._out_of_budget:
            return None
        trial = await self._calls.until_unlocked(self._study.ask_confirmation, "the next trial waits")
        if trial is not None and trial.confirmation == (1, 0):
            reason = self._budget.end_reason(self._elapsed_s())
            self._publish(events.Notice(f"the search has ended, {reason}: its best are started again to confirm them"))
        return trial

    async def _of_search(self, running: int) -> Trial | None:
        trial, wait = None, "the next trial waits"
        due = functools.partial(default_is_due, self._study, running=running, elapsed_s=self._elapsed_s())
        if not self._budget.spent(running=running, elapsed_s=self._elapsed_s()):
            trial = await self._calls.until_unlocked(self._study.ask_default if due() else self._study.ask, wait)
        is_end = not (trial or running or self._news())
        if is_end and not self._budget.fails_repeatedly and due(at_end=True):
            trial = await self._calls.until_unlocked(self._study.ask_default, wait)
        return trial

    @property
    def _out_of_budget(self) -> bool:
        minutes = self._study.steering.budget.minutes
        return (minutes is not None and self._elapsed_s() >= minutes * 60) or is_cost_spent(self._study)
