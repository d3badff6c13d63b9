"""What the strategy ``auto`` would try next in a study, and what it skips; nothing is run or stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autotune_nb.engines.base import Engine
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.runner.proposals import Proposals
from autotune_nb.search import PreviousStudy, Proposal
from autotune_nb.search.auto import START
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial

#: The most configurations to suggest at once: the models are fitted anew for each.
MAX_SUGGESTIONS = 100


class SuggestionWarning(UserWarning):
    """What is worth knowing of suggestions, such as that too few trials have finished to predict anything."""


@dataclass(frozen=True)
class Suggestions:
    """The next configurations, the first one first, and notes on them, each one sentence."""

    proposals: tuple[Proposal, ...]
    notes: tuple[str, ...] = ()


class Suggester:
    """Suggests the next configurations of a study. Its methods may be called from any thread."""

    def __init__(self, task: Task, engine: Engine, previous: Sequence[PreviousStudy] = ()) -> None:
        self._task = task
        self._proposals = Proposals(task, engine, strategy="auto", previous=previous)
        self._lock = threading.Lock()

    def suggest(self, space: SearchSpace, trials: Sequence[Trial], queue: Sequence[Point], n: int) -> Suggestions:
        """Return up to ``n`` configurations that are neither tried nor in the queue.

        Raises TaskError for an invalid number, StudyError if the study's results were imported without a task.
        """
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_SUGGESTIONS:
            raise TaskError(f"expected a number of configurations from 1 to {MAX_SUGGESTIONS}, not {n!r}", field="n")
        if is_imported(self._task) and self._task.deploy.kind != "replay":
            raise StudyError(
                "these results were imported without a task, so it is unknown which configurations are allowed; import "
                "them with --task, the task that produced them"
            )
        with self._lock:
            proposals = tuple(self._proposals.next(space, trials, n, queue))
        return Suggestions(proposals, tuple(self._notes(proposals, trials, n)))

    def skipped(self, space: SearchSpace, trials: Sequence[Trial]) -> list[str]:
        """Return in words which untried configurations are skipped, since they resemble trials that failed."""
        if is_imported(self._task) and self._task.deploy.kind != "replay":
            return []
        with self._lock:
            return self._proposals.skipped(space, trials)

    def _notes(self, proposals: Sequence[Proposal], trials: Sequence[Trial], n: int) -> Iterator[str]:
        if len(proposals) < n:
            left = f"only {len(proposals)} of the allowed configurations are" if proposals else "none is"
            yield f"every other allowed configuration was tried or is enqueued: {left} left to suggest"
        if not proposals:
            return
        strategy = self._task.strategy.sampler
        if strategy != "auto":
            yield f"the study's strategy is {strategy}, which chooses by itself: these are what auto would try"
        if any(one.value is not None for one in proposals):
            return
        finished = [trial for trial in trials if trial.state.finished]
        complete = sum(1 for trial in finished if trial.score is not None)
        if not finished:
            yield "no trial has finished, so nothing is predicted: these are the first configurations of auto"
        elif len(finished) < START or complete < 2:
            count = f"{len(finished)} trial{'s have' if len(finished) != 1 else ' has'} finished, {complete} complete"
            yield f"nothing is predicted: {count}; a model needs {START} finished trials, two of them complete"
        else:
            yield f"nothing is predicted: no model could be fitted to the {complete} complete trials"
