"""The protocol of search strategies, and what they learn from: one observation a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autotune_nb.errors import Failure, FailureKind
from autotune_nb.task.space import Point, SearchSpace
from autotune_nb.trial.score import UNBOUND, Limit, Objective
from autotune_nb.trial.trial import Trial, Value

#: A predicted figure, and the interval that holds it with a probability of 90 %: value, low and high.
Predicted = tuple[float, float, float]
#: When a trial failed, by the phase.
_WHEN = {"deploy": "at start", "probe": "at the first request", "benchmark": "under load"}
#: Failures that say something about the configuration. Those of its surroundings do not.
OWN_FAILURES = (FailureKind.CONFIGURATION, FailureKind.OUT_OF_MEMORY, FailureKind.CRASH, FailureKind.TIMEOUT)


@dataclass(frozen=True)
class PreviousStudy:
    """What the trials of another study have shown at points of this space, scored by this study's objectives.

    Its values inform the shape of the models, not their level.
    """

    name: str
    observations: tuple[Observation, ...]


@dataclass(frozen=True)
class SearchProblem:
    """What is searched: the allowed points, the objectives and the limits.

    ``default`` is the point that equals the engine's default configuration, as far as its catalog has every value.
    ``headroom`` returns the logarithm of available over needed memory at the start of a point, None if it is unknown.
    ``compile_parameters`` are those that decide what the engine compiles, which it may find in its caches.
    ``previous`` are the studies of a warm start.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    default: Point | None = None
    headroom: Callable[[Point], float | None] | None = None
    compile_parameters: tuple[str, ...] = ()
    previous: tuple[PreviousStudy, ...] = ()

    @property
    def limits(self) -> tuple[Limit, ...]:
        return self.objectives[0].limits


@dataclass(frozen=True)
class Observation:
    """What a trial has shown.

    ``values`` are those of the objectives; None if it has none: it failed, or it is still running. ``excess`` is how
    far each limit is broken as a share of its bound, at most 0 if it is kept. ``failure`` is in words, ``own`` whether
    the configuration caused it, and ``started`` whether the engine was ready before.
    """

    number: int
    params: Mapping[str, Value]
    values: tuple[float, ...] | None = None
    excess: tuple[float, ...] = ()
    seconds: float = 0.0
    failure: str = ""
    own: bool = False
    started: bool = True
    baseline: bool = False

    @property
    def feasible(self) -> bool:
        """Whether it is complete and keeps every limit."""
        return self.values is not None and all(excess <= 0 for excess in self.excess)


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, and the reason in words. Without a model the predictions are None.

    ``predictions`` are the predictions in words. ``value`` is the predicted value of the first objective, ``interval``
    holds it with a probability of 90 %. ``limits`` is the same for the figure of each limit: value, low and high.
    ``gain`` is the expected improvement over the best as a share of its value, the risk of failing or of breaking a
    limit included.
    """

    params: Point
    reason: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    seconds: float | None = None
    p_limits: float = 1.0
    p_start: float = 1.0
    limits: tuple[Predicted, ...] = ()
    gain: float | None = None
    predictions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The reason and the predictions in one line."""
        return "; ".join((self.reason, *self.predictions))


@dataclass(frozen=True)
class Promise:
    """What another trial may bring: its expected gain as a share of the best value, and its predicted seconds."""

    gain: float
    seconds: float


class Strategy(Protocol):
    """Proposes configurations: a pure function of the observations, so that a resumed study proposes the same."""

    def propose(self, observations: Sequence[Observation], pending: Sequence[Point] = (), n: int = 1) -> list[Proposal]:
        """Return up to ``n`` allowed points that were neither observed nor are pending; fewer if no more are left."""


def observation(trial: Trial, problem: SearchProblem) -> Observation:
    """Return what a finished trial has shown."""
    seconds = trial.work_s
    if trial.state.scored and trial.score is not None:
        scored = trial.score
        # A limit that was not checked is not shown to be broken.
        excess = tuple(
            scored.limits.get(str(limit), 0.0) / (abs(limit.bound) or 1.0)
            if scored.level is None or limit.bounds(scored.level)
            else UNBOUND
            for limit in problem.limits
        )
        values = tuple(scored.values[one.figure] for one in problem.objectives)
        return Observation(trial.number, trial.params, values, excess, seconds, baseline=trial.baseline)
    failure = trial.failure
    return Observation(
        trial.number,
        trial.params,
        seconds=seconds,
        failure="" if failure is None else _failure_text(failure),
        own=failure is not None and failure.kind in OWN_FAILURES,
        started=failure is not None and failure.phase == "benchmark",
        baseline=trial.baseline,
    )


def _failure_text(failure: Failure) -> str:
    """Format what failed and when, such as ``out of memory at start``."""
    return f"{failure.kind.replace('_', ' ')} {_WHEN.get(failure.phase, f'({failure.phase})')}"
