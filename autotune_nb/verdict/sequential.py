"""Critical values of a group-sequential comparison: several configurations with one default, looked at every round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

#: How many comparisons without a true difference are simulated; the error of ``alpha`` is then about 0.001.
_SIMULATED = 60_000
#: The share of ``alpha`` that is spent until a share t of the rounds is t to this power: little on the first rounds, in
#: which the noise is hardly known.
_SPENDING_POWER = 5.0
#: With fewer degrees of freedom the noise is not known well enough to decide anything.
_MIN_DEGREES = 2


def design(contenders: Sequence[int]) -> np.ndarray:
    """Return the design matrix of rounds in which the default and the first ``contenders[r]`` others were started.

    A row a start: by round, the default first. A column an effect: of each contender, then of each round.
    """
    rows = []
    for turn, count in enumerate(contenders):
        for place in range(count + 1):
            row = np.zeros(contenders[0] + len(contenders))
            if place:
                row[place - 1] = 1.0
            row[contenders[0] + turn] = 1.0
            rows.append(row)
    return np.array(rows)


#: The critical values of common confirmations at alpha 0.05, as ``simulated_critical_values`` finds them.
_KEPT = {
    ((1, 1, 1), 1): (math.inf, 12.526362525670969, 3.2732315644874572),
    ((1, 1, 1, 1, 1), 1): (math.inf, 44.97775987730351, 8.85303168074851, 4.241699647276142, 2.717186575452727),
    ((2, 1, 1, 1, 1), 1): (math.inf, 46.27006484776392, 8.248159371985055, 4.048939956963799, 2.701965267258917),
}


def critical_values(contenders: tuple[int, ...], alpha: float, degrees: int = 0) -> tuple[float, ...]:
    """Return the critical value of each round; see ``simulated_critical_values``."""
    kept = _KEPT.get((contenders, degrees)) if alpha == 0.05 else None
    return kept or simulated_critical_values(contenders, alpha, degrees)


@lru_cache(maxsize=64)
def simulated_critical_values(contenders: tuple[int, ...], alpha: float, degrees: int = 0) -> tuple[float, ...]:
    """Return the critical value of each round for the largest of several t statistics.

    In each round the default and ``contenders[r]`` others are started once; where the next round has fewer, those with
    the lowest means are dropped. (To drop them by other values too makes errors rarer.) The statistic of a contender is
    its mean difference to the default, divided by its standard error, with the noise estimated from what configurations
    and rounds do not explain, together with ``degrees`` degrees of freedom from elsewhere. If nothing differs, the
    probability that any statistic of any round exceeds its critical value is ``alpha``, two-sided. The values are found
    by simulation with a fixed seed; they are infinite where the noise is not yet known.

    The design is Dunnett's many-to-one comparison with an error-spending function (Lan and DeMets, 1983).
    """
    rounds = len(contenders)
    if not rounds or min(contenders) < 1 or any(a < b for a, b in pairwise(contenders)) or not 0 < alpha < 1:
        raise ValueError(f"cannot compare {contenders} contenders by round at alpha {alpha:g}")
    rng = np.random.default_rng(20_261)
    starts = rng.standard_normal((_SIMULATED, contenders[0] + 1, rounds))
    _sort_by_drop(starts, contenders)
    outside = rng.chisquare(degrees, _SIMULATED) if degrees else np.zeros(_SIMULATED)
    going_on = np.ones(_SIMULATED, dtype=bool)
    found: list[float] = []
    spent = 0.0
    for done in range(1, rounds + 1):
        matrix = design(contenders[:done])
        free = matrix.shape[0] - matrix.shape[1] + degrees
        if free < _MIN_DEGREES:
            found.append(math.inf)
            continue
        cells = np.concatenate([starts[:, : contenders[turn] + 1, turn] for turn in range(done)], axis=1)
        left = cells - cells @ (matrix @ np.linalg.pinv(matrix)).T
        variance = ((left**2).sum(axis=1) + outside) / free
        means = starts[:, : contenders[done - 1] + 1, :done].mean(axis=2)
        statistic = np.abs(means[:, 1:] - means[:, :1]).max(axis=1) / np.sqrt(variance * 2 / done)
        rejected = round((alpha * (done / rounds) ** _SPENDING_POWER - spent) * _SIMULATED)
        value = float(np.sort(statistic[going_on])[-rejected - 1])
        found.append(value)
        going_on &= statistic <= value
        spent = 1.0 - float(going_on.mean())
    return tuple(found)


def _sort_by_drop(starts: np.ndarray, contenders: Sequence[int]) -> None:
    """Sort the contenders of every simulated comparison so that those which are dropped first are the last."""
    for done, (before, after) in enumerate(pairwise(contenders), start=1):
        if after < before:
            means = starts[:, 1 : before + 1, :done].mean(axis=2)
            order = np.argsort(-means, axis=1)
            kept = starts[:, 1 : before + 1]
            starts[:, 1 : before + 1] = np.take_along_axis(kept, order[:, :, None], axis=1)
