"""Simulates a study of one strategy on a recorded table."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from autotune_nb.search.lab_problem import Bools, Floats, LabProblem
from autotune_nb.search.lab_strategies import LabStrategy, Outcome

#: A configuration is found if it is at most this much worse than the best; with noise, twice that.
WITHIN = 0.02
#: The trials that every simulated study has at least, so that regrets can be compared at the same number of trials.
MIN_TRIALS = 40


@dataclass(frozen=True, eq=False)
class SimulatedStudy:
    """One simulated study: after each trial, the seconds so far and the regret of the best configuration.

    ``found`` is the number of trials and the seconds until a configuration within the tolerance was complete at every
    level, or None. ``failed`` is the number of failed trials until then, or in total.
    """

    seconds: Floats
    regret: Floats
    found: tuple[int, float] | None
    failed: int
    cpu_s: float

    @property
    def num_counted(self) -> int:
        """The number of trials until it was found, or in total."""
        return self.found[0] if self.found else len(self.seconds)


def simulate(
    problem: LabProblem,
    strategy: LabStrategy,
    *,
    seed: int,
    trials: int | None = None,
    noise: float = 0.0,
    min_trials: int = MIN_TRIALS,
) -> SimulatedStudy:
    """Run one study on a table; without ``trials`` until it has found one of the best configurations.

    It then has at least ``min_trials`` trials.
    """
    rng = np.random.default_rng(seed + 12345)
    good = problem.good(2 * WITHIN if noise else WITHIN)
    complete = np.zeros(problem.values.shape, dtype=bool)
    seconds: list[float] = []
    regrets: list[float] = []
    elapsed_s = cpu_s = 0.0
    best, failed, found = problem.worst_regret, 0, None
    while len(seconds) < (trials or max(min_trials, len(problem))):
        if trials is None and found is not None and len(seconds) >= min_trials:
            break
        began = time.process_time()
        index = strategy.ask()
        cpu_s += time.process_time() - began
        if index is None:
            break
        outcome = _run_trial(problem, strategy, index, complete, rng, noise)
        began = time.process_time()
        strategy.tell(outcome)
        named = strategy.named() if noise else None
        cpu_s += time.process_time() - began
        elapsed_s += outcome.seconds
        failed += outcome.failed and found is None
        if noise:
            # What counts is what the user is told, which noise may have made look better than it is.
            reached = named is not None and bool(good[named])
            best = problem.worst_regret if named is None else min(float(problem.regret[named]), problem.worst_regret)
        else:
            whole = bool(complete[index].all())
            reached = whole and bool(good[index])
            best = min(best, float(problem.regret[index])) if whole else best
        seconds.append(elapsed_s)
        regrets.append(best)
        if reached and found is None:
            found = len(seconds), elapsed_s
    return SimulatedStudy(np.array(seconds), np.array(regrets), found, failed, cpu_s / max(len(seconds), 1))


def _run_trial(
    problem: LabProblem,
    strategy: LabStrategy,
    index: int,
    complete: Bools,
    rng: np.random.Generator,
    noise: float,
) -> Outcome:
    outcome = Outcome(
        index,
        np.full(len(problem.levels), np.nan),
        np.full(problem.excess.shape[1:], np.inf),
        np.zeros(len(problem.levels), dtype=bool),
        float(problem.startup_s[index]),
    )
    factors = np.exp(noise * rng.standard_normal(1 + len(problem.upper)))
    while not (problem.failed[index] and np.isnan(problem.level_s[index]).all()):
        level = strategy.next_level(outcome)
        if level is None:
            break
        outcome.seconds += float(np.nan_to_num(problem.level_s[index, level]))
        outcome.ran[level] = True
        outcome.values[level] = problem.values[index, level] * factors[0]
        kept = problem.excess[index, level]
        outcome.excess[level] = np.where(problem.upper, (1 + kept) * factors[1:] - 1, 1 - (1 - kept) * factors[1:])
        complete[index, level] = True
    # Levels that were not recorded cannot be run.
    complete[index] |= np.isnan(problem.level_s[index])
    outcome.failed = bool(problem.failed[index])
    return outcome
