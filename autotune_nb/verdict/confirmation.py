"""The confirmation of a search: its finalists and the default are started again, in rounds, until the answer is clear.

The replicate is a start of the server. The model of a start's value is logarithm = configuration + round + noise, so
that a drift of the machine between rounds cancels out. Values of the search are never used: the best of many is partly
the luckiest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: The quantile of a normal distribution for a power of 90 %.
_POWER_90 = 1.2816
_MAX_FINALISTS = 4


class Outcome(StrEnum):
    """What a study says about its best configuration and the default."""

    BETTER = "better"
    NO_DIFFERENCE = "no_difference"
    DEFAULT_BEST = "default_best"
    UNDECIDED = "undecided"
    MEASURED_ONCE = "measured_once"


@dataclass(frozen=True)
class Noise:
    """The noise between starts of one configuration: a sum of squared deviations of logarithms, and its degrees."""

    squares: float = 0.0
    degrees: int = 0

    @classmethod
    def of_repeats(cls, repeats: Sequence[Sequence[float]]) -> Noise:
        """Return the pooled noise of repeated starts, given the positive values of each configuration."""
        logs = [[math.log(v) for v in values] for values in repeats if len(values) > 1 and min(values) > 0]
        squares = (statistics.variance(one) * (len(one) - 1) for one in logs)
        return cls(math.fsum(squares), sum(len(one) - 1 for one in logs))

    def __add__(self, other: Noise) -> Noise:
        return Noise(self.squares + other.squares, self.degrees + other.degrees)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of a start's logarithm, about its relative noise; None without repeats."""
        return math.sqrt(self.squares / self.degrees) if self.degrees else None


@dataclass(frozen=True)
class Difference:
    """The logarithm of a ratio with its interval; positive if the first of the two is better."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Conclusion:
    """What the rounds so far show.

    ``gains`` has the difference to the default of every finalist that is still compared. ``leader`` is the best of
    them, ``ties`` those that cannot be told apart from it, the default (0) among them if it cannot either.
    ``compared`` are those that the next round would start, beside the default.
    """

    outcome: Outcome
    decided: bool
    rounds: int
    gains: Mapping[int, Difference] = field(default_factory=dict)
    leader: int | None = None
    ties: tuple[int, ...] = ()
    compared: tuple[int, ...] = ()
    #: The standard deviation of one start's logarithm; None if it is not known yet.
    deviation: float | None = None
    #: How many further rounds would probably decide, if the estimates are right; None if that is no question.
    rounds_missing: int | None = None
    #: Whether the default could not be started, so that ``ties`` has the best finalist of the search.
    default_failed: bool = False


@dataclass(frozen=True)
class Confirmation:
    """The rules of a confirmation, fixed before its first start.

    Args:
        contenders: How many finalists are compared with the default in each round; where the next round has fewer,
            those with the lowest values are dropped. Finalists are numbered from 1, the default is 0.
        alpha: The probability to find a difference where there is none, over all rounds and finalists.
        margin: A difference below it, such as 0.03, is not worth another round.
        noise: What repeated starts outside of the rounds showed.
        searched: The logarithm of each finalist's value in the search, larger if better. It counts like one more start
            where finalists are dropped, but never towards a gain.
    """

    contenders: tuple[int, ...]
    alpha: float = 0.05
    margin: float = 0.03
    noise: Noise = Noise()
    searched: tuple[float, ...] = ()

    @classmethod
    def planned(cls, rounds: int, budget: int, *, alpha: float, margin: float, noise: Noise) -> Confirmation:
        """Return a confirmation of at most so many rounds and starts; the first rounds have more than one finalist.

        Raises ValueError if the budget does not allow two starts a round.
        """
        if budget < 2 * rounds:
            raise ValueError(f"{rounds} rounds need at least {2 * rounds} starts, not {budget}")
        contenders = [1] * rounds
        left = budget - 2 * rounds
        # Half of the rounds, so that the other half decides between the default and one finalist.
        wide = math.ceil(rounds / 2)
        for place in range(left):
            if contenders[wide - 1] >= _MAX_FINALISTS:
                break
            contenders[place % wide] += 1
        return cls(tuple(contenders), alpha, margin, noise)

    def order(self, round_: int, compared: Sequence[int]) -> list[int]:
        """Return the order of a round: 0 1, then 1 0; of more than two rotated, and reversed every second round."""
        contenders = [0, *compared]
        turn = (round_ // 2) % len(contenders)
        rotated = contenders[turn:] + contenders[:turn]
        return rotated[::-1] if round_ % 2 else rotated

    @property
    def critical(self) -> tuple[float, ...]:
        """The critical value of each round."""
        # Numpy takes long to import, and most studies have no confirmation.
        from autotune_nb.verdict.sequential import critical_values

        return critical_values(self.contenders, self.alpha, self.noise.degrees)

    def detectable(self, deviation: float | None = None) -> float | None:
        """Return the smallest true gain that all rounds find with a probability of 90 %, as a share: 0.09 for 9 %.

        ``deviation`` is the noise of a start; default: what is known before the first round. None without either.
        """
        deviation = self.noise.deviation if deviation is None else deviation
        if deviation is None or not math.isfinite(self.critical[-1]):
            return None
        return math.expm1((self.critical[-1] + _POWER_90) * deviation * math.sqrt(2 / len(self.contenders)))

    def conclude(self, starts: Sequence[Mapping[int, float]], excluded: Sequence[int] = ()) -> Conclusion:
        """Return what the complete rounds show.

        Args:
            starts: For each round the logarithm of each start's value by the finalist's number, larger if better. A
                start that failed is missing.
            excluded: Finalists that failed to start or broke a limit: they cannot be better than the default. If the
                default is among them, there is nothing to compare with.
        """
        alive = [one for one in range(1, self.contenders[0] + 1) if one not in set(excluded)]
        done, rounds = len(starts), len(self.contenders)
        if 0 in excluded:
            return Conclusion(Outcome.UNDECIDED, True, done, ties=tuple(alive[:1]) or (0,), default_failed=True)
        if not alive:
            return Conclusion(Outcome.DEFAULT_BEST, True, done, ties=(0,))
        critical = self.critical[min(done, rounds) - 1] if done else math.inf
        fit = _Fit.of(starts, alive, self.noise)
        started = self._compared(starts[:-1], alive)
        gains = {one: fit.difference(one, 0, critical) for one in alive if one in fit.known} if fit else {}
        candidates = [one for one in started if one in gains]
        if fit is None or not candidates or not math.isfinite(critical):
            following = self._compared(starts, alive)
            return Conclusion(Outcome.UNDECIDED, done >= rounds, done, ties=(0, *started), compared=following)
        leader = max(candidates, key=lambda one: (gains[one].estimate, -one))
        outcome, clear = self._outcome({one: gains[one] for one in candidates}, leader)
        ties = [one for one in gains if fit.difference(one, leader, critical).high >= 0]
        if outcome is Outcome.BETTER:
            ties = [one for one in ties if gains[one].low > 0]
        estimate, missing = gains[leader].estimate, None
        if outcome is Outcome.UNDECIDED:
            missing = max(1, math.ceil(2 * (critical * fit.deviation / estimate) ** 2) - done)
        return Conclusion(
            outcome,
            clear or done >= rounds,
            done,
            gains,
            leader,
            {Outcome.BETTER: tuple(ties), Outcome.DEFAULT_BEST: (0,)}.get(outcome, (0, *ties)),
            compared=self._compared(starts, alive),
            deviation=fit.deviation,
            rounds_missing=missing,
        )

    def _outcome(self, gains: Mapping[int, Difference], leader: int) -> tuple[Outcome, bool]:
        """Return the outcome of the rounds so far, and whether further ones cannot change it."""
        worth = math.log1p(self.margin)
        if gains[leader].low > 0:
            return Outcome.BETTER, True
        if all(one.high < 0 for one in gains.values()):
            return Outcome.DEFAULT_BEST, True
        if all(one.high <= worth for one in gains.values()):
            return Outcome.NO_DIFFERENCE, True
        return (Outcome.UNDECIDED if gains[leader].estimate > worth else Outcome.NO_DIFFERENCE), False

    def _compared(self, starts: Sequence[Mapping[int, float]], alive: Sequence[int]) -> tuple[int, ...]:
        """Return the finalists of the round after these: those with the highest values so far."""
        compared = tuple(alive)
        for done in range(1, len(starts) + 1):
            count = self.contenders[min(done, len(self.contenders) - 1)]
            fit = _Fit.of(starts[:done], alive, self.noise) if len(compared) > count else None
            if fit is not None:
                values = {
                    one: done * fit.difference(one, 0, 0.0).estimate
                    + (self.searched[one - 1] if self.searched else 0.0)
                    for one in compared
                    if one in fit.known
                }
                best = sorted(compared, key=lambda one: (-values.get(one, -math.inf), one))
                compared = tuple(sorted(best[:count]))
        return compared


@dataclass(frozen=True)
class _Fit:
    """A least-squares fit of configurations and rounds; ``known`` are those with at least one comparable start."""

    known: tuple[int, ...]
    effects: np.ndarray
    covariance: np.ndarray
    deviation: float

    @classmethod
    def of(cls, starts: Sequence[Mapping[int, float]], alive: Sequence[int], noise: Noise) -> _Fit | None:
        """Return the fit; None if the default or every finalist has no start in a round with another one."""
        import numpy as np

        numbers = {0, *alive}
        rounds = [{one: value for one, value in starts_.items() if one in numbers} for starts_ in starts]
        rounds = [one for one in rounds if len(one) > 1]
        known = tuple(sorted({number for one in rounds for number in one}))
        if 0 not in known or len(known) < 2:
            return None
        cells = [(known.index(number), turn, value) for turn, one in enumerate(rounds) for number, value in one.items()]
        columns = np.zeros((len(cells), len(known) - 1 + len(rounds)))
        for row, (place, turn, _) in enumerate(cells):
            if place:
                columns[row, place - 1] = 1.0
            columns[row, len(known) - 1 + turn] = 1.0
        values = np.array([value for _, _, value in cells])
        solution, _, rank, _ = np.linalg.lstsq(columns, values, rcond=None)
        free = len(cells) - int(rank) + noise.degrees
        if rank < columns.shape[1]:
            return None
        squares = float(((values - columns @ solution) ** 2).sum()) + noise.squares
        covariance = np.linalg.inv(columns.T @ columns)
        return cls(known, solution, covariance, math.sqrt(squares / free) if free else math.inf)

    def difference(self, first: int, second: int, critical: float) -> Difference:
        """Return by how much the first is better than the second, with the interval of a critical value."""
        weights = 0.0 * self.effects
        for number, sign in ((first, 1.0), (second, -1.0)):
            place = self.known.index(number)
            if place:
                weights[place - 1] += sign
        estimate = float(weights @ self.effects)
        half = critical * self.deviation * math.sqrt(float(weights @ self.covariance @ weights))
        return Difference(estimate, estimate - half, estimate + half)
