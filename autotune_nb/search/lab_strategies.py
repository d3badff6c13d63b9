"""The strategies that the lab compares. They propose configurations of a recorded table by their index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from autotune_nb.search.lab_problem import Bools, Floats, LabProblem


@dataclass(eq=False)
class Outcome:
    """What a trial of configuration ``index`` has shown so far.

    ``values`` are by level and ``excess`` by level and limit, as in ``LabProblem``: NaN and inf where nothing was
    measured. ``ran`` are the levels that were run. ``failed`` is True if it did not start, or broke under the load.
    """

    index: int
    values: Floats
    excess: Floats
    ran: Bools
    seconds: float = 0.0
    failed: bool = False


class LabStrategy(Protocol):
    """Proposes configurations, one trial at a time."""

    def ask(self) -> int | None:
        """Return the index of the next configuration; None if there is nothing left to try."""

    def next_level(self, outcome: Outcome) -> int | None:
        """Return the index of the next level of the running trial; None to end the trial."""

    def tell(self, outcome: Outcome) -> None:
        """Learn from a trial that ended."""

    def named(self) -> int | None:
        """Return the index of the configuration to name as the best, or None."""


class WholeTrials:
    """The base of strategies that run every level of every trial and name the best configuration as measured."""

    def __init__(self, problem: LabProblem) -> None:
        self.problem = problem
        #: The best trial so far: its value, negative if less is better, and its configuration.
        self.best_gain = -np.inf
        self._best: int | None = None

    def gain(self, outcome: Outcome) -> float:
        """Return a trial's value, negative if less is better; -inf if it failed or breaks a limit."""
        value, excess = self.problem.score(outcome.values, outcome.excess)
        if outcome.failed or np.isnan(value) or excess > 0:
            return -np.inf
        return value if self.problem.maximize else -value

    def next_level(self, outcome: Outcome) -> int | None:
        left = np.flatnonzero(~outcome.ran & ~np.isnan(self.problem.level_s[outcome.index]))
        return int(left[0]) if len(left) else None

    def tell(self, outcome: Outcome) -> None:
        gain = self.gain(outcome)
        if gain > self.best_gain:
            self.best_gain, self._best = gain, outcome.index

    def named(self) -> int | None:
        return self._best


class RandomOrder(WholeTrials):
    """Tries the configurations in a random order."""

    def __init__(self, problem: LabProblem, seed: int) -> None:
        super().__init__(problem)
        self._order = iter(np.random.default_rng(seed).permutation(len(problem)).tolist())

    def ask(self) -> int | None:
        return next(self._order, None)
