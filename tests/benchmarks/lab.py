"""Search strategies on recorded tables: their time as a share of random search's, their mistakes and their CPU time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np

from autotune_nb.search import lab_random
from autotune_nb.search.lab import compare
from autotune_nb.search.lab_problem import LabProblem
from autotune_nb.search.lab_proposals import Proposed
from autotune_nb.search.lab_registry import DEFAULT
from autotune_nb.search.lab_strategies import Outcome, WholeTrials
from autotune_nb.search.lab_study import MIN_TRIALS, WITHIN, SimulatedStudy, simulate
from autotune_nb.search.lab_workers import simulated_studies
from tests.benchmarks.figure import Figure
from tests.benchmarks.lab_tables import all_problems, with_default
from tests.benchmarks.proposal_time import proposal_ms

_SEEDS, _TPE_SEEDS, _CUT_SEEDS, _NAMED_SEEDS = 30, 10, 5, 12
#: Tables with a larger share of failures count as those where a third cannot start.
_A_THIRD = 0.25
_NOISE = 0.03
#: The starts of the oracle with which the worst problem is compared.
_ORACLE_STARTS = 10


def lab() -> Iterator[Figure]:
    """Yield the figures of every strategy on every problem, with 30 studies each (10 of TPE)."""
    problems = all_problems()
    studies = [_studies("auto", one, _SEEDS) for one in problems]
    auto = [_shares(one, found) for one, found in zip(problems, studies, strict=True)]
    yield from _time_ratios("auto", problems, auto, 0.10, 0.20)
    yield Figure("lab_time_ratio_auto_p90", max(float(np.quantile(one, 0.9)) for one in auto), 0.40)
    yield _failed_share(problems, studies)
    defaults = [one for one in map(with_default, problems) if one.default is not None]
    yield from _time_ratios("default_first", defaults, [_ratios("auto", one, _SEEDS) for one in defaults], 0.13, 0.35)
    yield from _with_noise(problems)
    tpe = [_ratios("tpe", one, _TPE_SEEDS) for one in problems]
    yield Figure("lab_time_ratio_tpe", statistics.median(map(np.median, tpe)), 1.0, _note(problems, tpe))
    to_tpe = [float(np.median(own) / np.median(other)) for own, other in zip(auto, tpe, strict=True)]
    yield Figure("lab_auto_to_tpe", statistics.median(to_tpe), 0.4)
    yield Figure("lab_auto_to_tpe_worst", max(to_tpe), 1.0)
    cpu_ms = 1000 * max(float(np.median([study.cpu_s for study in found])) for found in studies)
    yield Figure("lab_cpu_auto", cpu_ms, 20, "of a proposal, up to 480 configurations", unit="ms")
    for trials, parameters, goal in ((30, 6, 100), (1000, 12, 200)):
        note = f"of a proposal after {trials} trials of 20 000 configurations, {parameters} parameters"
        yield Figure(f"lab_cpu_auto_{trials}_of_20000", proposal_ms(trials, 20_000, parameters), goal, note, unit="ms")
    yield _wrong_cuts(problems)
    yield _duration(problems[0])


class _CountedCuts(Proposed):
    """Counts the trials that were cut, and those of them whose true value was the best so far."""

    def __init__(self, problem: LabProblem, seed: int) -> None:
        super().__init__("auto", problem, seed, cut=True)
        self.cut = self.wrong = 0

    def tell(self, outcome: Outcome) -> None:
        i, problem = outcome.index, self.problem
        if not outcome.failed and (~outcome.ran & ~np.isnan(problem.level_s[i])).any():
            true = problem.value[i] if problem.maximize else -problem.value[i]
            self.cut += 1
            self.wrong += bool(problem.feasible[i]) and true > self.best_gain
        super().tell(outcome)


def _wrong_cuts(problems: Sequence[LabProblem]) -> Figure:
    counted = [(one, _CountedCuts(one, seed), seed) for one in problems for seed in range(_CUT_SEEDS)]
    for problem, strategy, seed in counted:
        simulate(problem, strategy, seed=seed, trials=MIN_TRIALS)
    cut, wrong = (sum(getattr(strategy, name) for _, strategy, _ in counted) for name in ("cut", "wrong"))
    return Figure("lab_wrong_cuts", 1000 * wrong / max(cut, 1), 0.0, f"of 1 000; {cut} trials were cut")


def _time_ratios(
    name: str, problems: Sequence[LabProblem], ratios: Sequence[Sequence[float]], goal: float, worst: float
) -> Iterator[Figure]:
    medians = [float(np.median(one)) for one in ratios]
    yield Figure(f"lab_time_ratio_{name}", statistics.median(medians), goal, _note(problems, ratios))
    # Where many configurations are good, random search is fast too.
    goals = [max(worst, _oracle_ratio(one)) for one in problems]
    median, its_goal, problem = max(zip(medians, goals, problems, strict=True), key=lambda row: row[0] / row[1])
    yield Figure(f"lab_time_ratio_{name}_worst", median, its_goal, _label(problem))


def _oracle_ratio(problem: LabProblem) -> float:
    """Return the time of an oracle whose tenth start is one of the best, as a share of random search's.

    Its other starts end after the level that decides, and take as long as those of the whole table on average.
    """
    assert problem.at is not None
    cut_s = problem.startup_s + np.nan_to_num(problem.level_s[:, problem.at])
    whole_s = float(problem.whole_s[problem.good(WITHIN)].mean())
    return ((_ORACLE_STARTS - 1) * float(cut_s.mean()) + whole_s) / lab_random.expected_seconds(problem, WITHIN)


def _failed_share(problems: Sequence[LabProblem], studies: Sequence[Sequence[SimulatedStudy]]) -> Figure:
    shares = {
        _label(one): sum(study.failed for study in found)
        / sum(study.num_counted for study in found)
        / lab_random.failed_share(one, WITHIN)
        for one, found in zip(problems, studies, strict=True)
        if one.failed.mean() > _A_THIRD
    }
    note = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    return Figure("lab_failed_share_auto", statistics.median(shares.values()), 0.4, f"to random's, {note}")


def _with_noise(problems: Sequence[LabProblem]) -> Iterator[Figure]:
    noisy = [float(np.median(_ratios("auto", one, _SEEDS, noise=_NOISE))) for one in problems]
    yield Figure("lab_time_ratio_auto_noise", statistics.median(noisy), 0.20, "3 % noise")
    named = [
        bool(study.regret[-1] > 2 * WITHIN)
        for one in problems
        for study in simulated_studies(one, "auto", range(_NAMED_SEEDS), trials=30, noise=_NOISE)
    ]
    note = f"of {len(named)} studies name a configuration after 30 trials at 3 % noise that is not within 4 %"
    yield Figure("lab_wrongly_named", sum(named) / len(named), 0.05, note)
    pairs = [(one, seed) for one in problems for seed in range(_NAMED_SEEDS)]
    measured = [
        bool(simulate(one, _BestMeasured(one, seed), seed=seed, trials=30, noise=_NOISE).regret[-1] > 2 * WITHIN)
        for one, seed in pairs
    ]
    note = f"of {len(measured)}, if the best measured value is named, as by a study without a confirmation"
    yield Figure("lab_wrongly_named_measured", sum(measured) / len(measured), 0.05, note)


class _BestMeasured(Proposed):
    """Names the configuration with the best measured value, not that with the best mean of the model."""

    def __init__(self, problem: LabProblem, seed: int) -> None:
        super().__init__("auto", problem, seed, cut=True)

    def named(self) -> int | None:
        return WholeTrials.named(self)


def _duration(problem: LabProblem) -> Figure:
    """Return the minutes that a comparison of all strategies takes on one table, with 30 studies each."""
    began = time.monotonic()
    compare([problem], DEFAULT, seeds=_SEEDS)
    minutes = (time.monotonic() - began) / 60
    return Figure("lab_minutes", minutes, 2.0, f"{len(DEFAULT)} strategies, {len(problem)} configurations", "min")


def _ratios(name: str, problem: LabProblem, seeds: int, noise: float = 0.0) -> list[float]:
    """Return the time of each study as a share of random search's expectation."""
    return _shares(problem, _studies(name, problem, seeds, noise), noise)


def _studies(name: str, problem: LabProblem, seeds: int, noise: float = 0.0) -> list[SimulatedStudy]:
    return simulated_studies(problem, name, range(seeds), trials=None, noise=noise, min_trials=0)


def _shares(problem: LabProblem, studies: Sequence[SimulatedStudy], noise: float = 0.0) -> list[float]:
    expected_s = lab_random.expected_seconds(problem, 2 * WITHIN if noise else WITHIN)
    # A study that has tried everything has found it, except with noise.
    return [(one.found[1] if one.found else 1.5 * float(one.seconds[-1])) / expected_s for one in studies]


def _note(problems: Sequence[LabProblem], ratios: Sequence[Sequence[float]]) -> str:
    return ", ".join(f"{_label(one)} {float(np.median(own)):.3f}" for one, own in zip(problems, ratios, strict=True))


def _label(problem: LabProblem) -> str:
    return f"{problem.name} {problem.objective.partition(' ')[2]}"
