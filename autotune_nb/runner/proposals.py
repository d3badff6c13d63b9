"""Connects a study with its search strategy, which sees the study's trials only."""

from __future__ import annotations

from collections.abc import Sequence

from autotune_nb.engines.base import Engine
from autotune_nb.search import (
    Observation,
    Proposal,
    SearchProblem,
    Strategy,
    check_options,
    create_strategy,
    observation,
)
from autotune_nb.search.base import OWN_FAILURES
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState


class Proposals:
    """Proposes the next configurations of a study by its task's strategy, or by another one."""

    def __init__(self, task: Task, engine: Engine, strategy: str | None = None) -> None:
        self._task, self._engine = task, engine
        self._name = strategy or task.strategy.sampler
        self._space: SearchSpace | None = None

    @classmethod
    def of(cls, task: Task, engine: Engine) -> Proposals | None:
        """Return the proposals of a task; None for a grid, which the study works through itself.

        Raises TaskError for an option that the strategy does not accept, SetupError if it needs a missing package.
        """
        if task.strategy.sampler == "grid":
            return None
        # Refuses invalid options before anything is created.
        check_options(task.strategy.sampler, task.strategy.options)
        return cls(task, engine)

    def __call__(self, space: SearchSpace, trials: Sequence[Trial]) -> tuple[Point, str] | None:
        """Return the next configuration and the reason for it; None if no allowed one is left."""
        found = self.next(space, trials, 1)
        return (found[0].params, found[0].text) if found else None

    def next(self, space: SearchSpace, trials: Sequence[Trial], n: int, queue: Sequence[Point] = ()) -> list[Proposal]:
        """Return the next ``n`` configurations, with what is predicted; none is in the queue."""
        self._search(space)
        pending = [
            dict(trial.params)
            for trial in trials
            if trial.state in (TrialState.RUNNING, TrialState.INTERRUPTED) and not trial.baseline
        ]
        for strategy in self._strategies:
            proposals = strategy.propose(self._observed(trials), [*pending, *queue], n)
            if proposals:
                return proposals
        return []

    def skipped(self, space: SearchSpace, trials: Sequence[Trial]) -> list[str]:
        """Return in words which untried configurations the strategy skips, since they resemble failures."""
        if not any(trial.failure is not None and trial.failure.kind in OWN_FAILURES for trial in trials):
            return []
        self._search(space)
        skipped = getattr(self._strategies[0], "skipped", None)
        return [] if skipped is None else skipped(self._observed(trials))

    def _search(self, space: SearchSpace) -> None:
        """Search this space from now on: edits may have changed what is allowed."""
        if space is self._space:
            return
        self._problem = SearchProblem(space, (self._task.goal,), default_point(space, self._engine))
        chosen, num_trials = self._task.strategy, self._task.num_trials
        options = chosen.options if self._name == chosen.sampler else {}
        self._strategies: tuple[Strategy, ...] = (
            create_strategy(self._name, self._problem, chosen.seed, options=options, num_trials=num_trials),
            # Where the first one has no candidate left: of a large space it scores a part.
            create_strategy("random", self._problem, chosen.seed),
        )
        self._space = space

    def _observed(self, trials: Sequence[Trial]) -> list[Observation]:
        return [observation(trial, self._problem) for trial in trials if trial.state.finished]


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
