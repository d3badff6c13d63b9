"""Connects a study with its search strategy, which sees the study's trials only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from autotune_nb.engines.base import Engine
from autotune_nb.engines.memory import memory_headroom
from autotune_nb.engines.quality import goal_with_quality
from autotune_nb.search import (
    Observation,
    PreviousStudy,
    Promise,
    Proposal,
    SearchProblem,
    Strategy,
    check_options,
    create_strategy,
    observation,
)
from autotune_nb.search.base import OWN_FAILURES
from autotune_nb.search.saved_trials import SavedTrials, saved_trials
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState

#: As nvidia-smi lists a GPU: ``NVIDIA H200, 143771 MiB, 570.86``.
_GPU_MEMORY = re.compile(r", *(\d+) MiB")


class Proposals:
    """Proposes the next configurations of a study by its task's strategy, or by another one."""

    def __init__(
        self,
        task: Task,
        engine: Engine,
        strategy: str | None = None,
        previous: Sequence[PreviousStudy] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self._task, self._engine = task, engine
        self._previous = tuple(previous)
        #: What to report before the first trial: what is used of previous studies.
        self.notes = tuple(notes)
        self._name = strategy or task.strategy.sampler
        self._space: SearchSpace | None = None
        self._gpu_bytes: float | None = None

    @classmethod
    def of(
        cls, task: Task, engine: Engine, previous: Sequence[PreviousStudy] = (), notes: Sequence[str] = ()
    ) -> Proposals | None:
        """Return the proposals of a task; None for a grid, which the study works through itself.

        Raises TaskError for an option that the strategy does not accept, SetupError if it needs a missing package.
        """
        if task.strategy.sampler == "grid":
            return None
        # Refuses invalid options before anything is created.
        check_options(task.strategy.sampler, task.strategy.options)
        return cls(task, engine, previous=previous, notes=notes)

    def __call__(self, space: SearchSpace, trials: Sequence[Trial]) -> tuple[Point, str] | None:
        """Return the next configuration and the reason for it; None if no allowed one is left."""
        found = self.next(space, trials, 1)
        return (found[0].params, found[0].text) if found else None

    def next(self, space: SearchSpace, trials: Sequence[Trial], n: int, queue: Sequence[Point] = ()) -> list[Proposal]:
        """Return the next ``n`` configurations, with what is predicted; none is in the queue."""
        self._search(space, trials)
        pending = _pending(trials)
        for strategy in self._strategies:
            proposals = strategy.propose(self._observed(trials), [*pending, *queue], n)
            if proposals:
                return proposals
        return []

    def promise(self, space: SearchSpace, trials: Sequence[Trial]) -> Promise | None:
        """Return what another trial may bring; None if it is unknown, or if the strategy does not predict it."""
        self._search(space, trials)
        promise = getattr(self._strategies[0], "promise", None)
        return None if promise is None else promise(self._observed(trials), _pending(trials))

    def saved(self, space: SearchSpace, trials: Sequence[Trial]) -> SavedTrials | None:
        """Return how many trials a warm start has saved; None without one, or if it cannot be predicted."""
        if not self._previous:
            return None
        self._search(space, trials)
        searched = [trial for trial in trials if trial.confirmation is None]
        return saved_trials(self._problem, self._observed(searched))

    def skipped(self, space: SearchSpace, trials: Sequence[Trial]) -> list[str]:
        """Return in words which untried configurations the strategy skips, since they resemble failures."""
        if not any(trial.failure is not None and trial.failure.kind in OWN_FAILURES for trial in trials):
            return []
        self._search(space, trials)
        skipped = getattr(self._strategies[0], "skipped", None)
        return [] if skipped is None else skipped(self._observed(trials))

    def _search(self, space: SearchSpace, trials: Sequence[Trial]) -> None:
        """Search this space from now on: edits may have changed what is allowed."""
        gpu_bytes = smallest_gpu(trials)
        if space is self._space and gpu_bytes == self._gpu_bytes:
            return
        headroom = memory_headroom(self._task, self._engine, gpu_bytes) if self._name == "auto" else None
        self._problem = SearchProblem(
            space,
            goal_with_quality(self._task, self._engine).every,
            default_point(space, self._engine),
            headroom,
            tuple(name for name in space.parameters if self._engine.compiles(name)),
            self._previous,
        )
        chosen, num_trials = self._task.strategy, self._task.num_trials
        options = chosen.options if self._name == chosen.sampler else {}
        self._strategies: tuple[Strategy, ...] = (
            create_strategy(self._name, self._problem, chosen.seed, options=options, num_trials=num_trials),
            # Where the first one has no candidate left: of a large space it scores a part.
            create_strategy("random", self._problem, chosen.seed),
        )
        self._space, self._gpu_bytes = space, gpu_bytes

    def _observed(self, trials: Sequence[Trial]) -> list[Observation]:
        return [observation(trial, self._problem) for trial in trials if trial.state.finished]


def smallest_gpu(trials: Sequence[Trial]) -> float | None:
    """Return the memory in bytes of the smallest GPU that a trial has recorded; None if none has."""
    for trial in trials:
        gpus = trial.fingerprint.get("gpus")
        found = [match for one in gpus if (match := _GPU_MEMORY.search(str(one)))] if isinstance(gpus, list) else []
        if found:
            return min(float(match[1]) for match in found) * 2**20
    return None


def _pending(trials: Sequence[Trial]) -> list[Point]:
    """Return the points of the trials that have not ended."""
    return [
        dict(trial.params)
        for trial in trials
        if trial.state in (TrialState.RUNNING, TrialState.INTERRUPTED) and not trial.baseline
    ]


def default_point(space: SearchSpace, engine: Engine) -> Point | None:
    """Return the point of a space that equals the engine's default; None if the catalog lacks a value of it."""
    point: Point = {}
    for name, parameter in space.parameters.items():
        flag = engine.flag_named(name)
        default = None if flag is None else flag.default
        # Without a value the flag is left out.
        value = None if parameter.contains(None) else default
        if not parameter.contains(value):
            return None
        point[name] = value
    return space.canonical(point)
