"""Random search on a recorded table without simulation: its expectation is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autotune_nb.search.lab_problem import Floats, LabProblem


def expected_seconds(problem: LabProblem, within: float) -> float:
    """Return the expected seconds to the first whole trial of a good configuration, drawn without replacement."""
    good = problem.good(within)
    before = _before_first_good(problem, within)
    mean_bad = float(problem.whole_s[~good].mean()) if before else 0.0
    return before * mean_bad + float(problem.whole_s[good].mean())


def expected_trials(problem: LabProblem, within: float) -> float:
    """Return the expected number of trials to the first good configuration, which is the last of them."""
    return _before_first_good(problem, within) + 1


def failed_share(problem: LabProblem, within: float) -> float:
    """Return the expected share of failures among the trials to the first good configuration."""
    return int(problem.failed.sum()) / (int(problem.good(within).sum()) + 1) / expected_trials(problem, within)


def _before_first_good(problem: LabProblem, within: float) -> float:
    # Each bad configuration comes before all of the g good ones with probability 1 / (g + 1).
    good = int(problem.good(within).sum())
    return (len(problem) - good) / (good + 1)


def regret_quantiles(problem: LabProblem, trials: Sequence[int], quantiles: Sequence[float]) -> Floats:
    """Return the quantiles of the regret after so many trials, by number of trials and quantile."""
    ordered = np.sort(np.minimum(problem.regret, problem.worst_regret))
    n = len(ordered)
    rows = np.empty((len(trials), len(quantiles)))
    for row, drawn in enumerate(trials):
        if drawn <= 0:
            rows[row] = problem.worst_regret
            continue
        # The probability that the best of the drawn ones has at most rank r: 1 - C(n - r - 1, k) / C(n, k).
        total = _log_choose(n, min(drawn, n))
        at_most = np.array([1 - math.exp(_log_choose(n - r - 1, min(drawn, n)) - total) for r in range(n)])
        rows[row] = [ordered[min(int(np.searchsorted(at_most, q - 1e-12)), n - 1)] for q in quantiles]
    return rows


def _log_choose(n: int, k: int) -> float:
    return -math.inf if k > n else math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def found_share(size: int, good: int, trials: int) -> float:
    """Return the probability that one of the good configurations is among the first so many trials."""
    return 1 - math.exp(_log_choose(size - good, min(trials, size)) - _log_choose(size, min(trials, size)))
