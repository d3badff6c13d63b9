"""The strategies that the lab compares. They propose configurations of a recorded table by their index."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from autotune_nb.search.lab_problem import Bools, Floats, LabProblem

_PROPOSALS = 50


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


class Tpe(WholeTrials):
    """Optuna's TPE: proposals that are not recorded or were tried are drawn again, as in a study."""

    def __init__(self, problem: LabProblem, seed: int) -> None:
        import optuna

        super().__init__(problem)
        self._optuna = optuna
        self._rng = np.random.default_rng(seed)
        self._left = set(range(len(problem)))
        self._codes, self._space = _codes(problem)
        self._index = {code: index for index, code in enumerate(self._codes)}
        # Not more random trials than a small budget allows, as in a study of 20 trials.
        self._startup = 6
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=False, n_startup_trials=self._startup
            )
        direction: Literal["minimize", "maximize"] = "maximize" if problem.maximize else "minimize"
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=self._sampler, direction=direction)
        optuna.logging.set_verbosity(verbosity)
        self._told = 0

    def ask(self) -> int | None:
        if not self._left:
            return None
        if self._told >= self._startup:
            running = self._optuna.trial.create_trial(state=self._optuna.trial.TrialState.RUNNING)
            for _ in range(_PROPOSALS):
                proposal = self._sampler.sample_relative(self._study, running, self._space)
                index = self._index.get(tuple(proposal[name] for name in self._space))
                if index in self._left:
                    self._left.discard(index)
                    return index
        index = sorted(self._left)[int(self._rng.integers(len(self._left)))]
        self._left.discard(index)
        return index

    def tell(self, outcome: Outcome) -> None:
        super().tell(outcome)
        self._told += 1
        value, excess = self.problem.score(outcome.values, outcome.excess)
        failed = outcome.failed or np.isnan(value)
        states = self._optuna.trial.TrialState
        trial = self._optuna.trial.create_trial(
            state=states.PRUNED if failed else states.COMPLETE,
            value=None if failed else value,
            params=dict(zip(self._space, self._codes[outcome.index], strict=True)),
            distributions=self._space,
            system_attrs={"constraints:limits": 1e9 if failed else float(max(excess, -1e9))},
        )
        self._study.add_trial(trial)


def _codes(problem: LabProblem) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """Return each configuration as the indices of its values, and Optuna's distributions of these."""
    from optuna.distributions import CategoricalDistribution

    names = list(dict.fromkeys(name for params in problem.params for name in params))
    texts = [[json.dumps(params.get(name), sort_keys=True) for name in names] for params in problem.params]
    values = [list(dict.fromkeys(row[j] for row in texts)) for j in range(len(names))]
    codes = [tuple(values[j].index(text) for j, text in enumerate(row)) for row in texts]
    return codes, {name: CategoricalDistribution(range(len(values[j]))) for j, name in enumerate(names)}
