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
from autotune_nb.secrets.scrubbing import scrub
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
        trial, events_ = await self._calls.until_unlocked(self._choose, "the next trial waits")
        for event in events_:
            self._publish(event)
        return trial

    def _choose(self) -> tuple[Trial | None, list[events.Event]]:
        """Choose a trial while no other worker of a shared study does, and return what to publish."""
        with self._study.turn() as lines:
            published: list[events.Event] = [events.Notice(scrub(line)) for line in lines]
            elapsed_s, running = self._elapsed_s(), (t for t in self._study.trials if t.state is TrialState.RUNNING)
            searching = num_searched(running)
            if (promise := self._budget.predict(running=searching, elapsed_s=elapsed_s)) is not None:
                published.append(events.Predicted(promise))
            trial = self._of_search(searching, elapsed_s)
            if trial is None and not searching and not self._out_of_budget:
                trial = self._study.ask_confirmation()
                if trial is not None and trial.confirmation == (1, 0):
                    reason = self._budget.end_reason(elapsed_s)
                    text = f"the search has ended, {reason}: its best are started again to confirm them"
                    published.append(events.Notice(text))
            return trial, published

    def _of_search(self, running: int, elapsed_s: float) -> Trial | None:
        trial, study = None, self._study
        due = functools.partial(default_is_due, study, running=running, elapsed_s=elapsed_s)
        if not self._budget.spent(running=running, elapsed_s=elapsed_s):
            trial = study.ask_default() if due() else study.ask()
        is_end = not (trial or running or self._news())
        if is_end and not self._budget.fails_repeatedly and due(at_end=True):
            trial = study.ask_default()
        return trial

    @property
    def _out_of_budget(self) -> bool:
        minutes = self._study.steering.budget.minutes
        return (minutes is not None and self._elapsed_s() >= minutes * 60) or is_cost_spent(self._study)
